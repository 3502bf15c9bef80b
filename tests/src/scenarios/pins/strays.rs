//! Guards that no pin reaches.

use anyhow::{Context, Result, ensure};

use crate::lab::bpf::{Foreign, Hook, TCX_PASS, XDP_PASS, programs_on};
use crate::lab::command::{Finished, finish};
use crate::lab::mounts::{Change, with_mounts};
use crate::lab::{Feature, Guards, Patience};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::super::runner::{answered, expect_state, unanswered};
use super::{from_lan, service};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("pins::a_second_bpffs_hides_no_guard", second_bpffs).host_only(LOADER),
        Scenario::new("pins::a_program_of_the_same_name_is_not_ours", same_name).host_only(LOADER),
    ]
}

fn second_bpffs(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    rig.enforcer.up(Guards::Both)?;
    let pins = rig.lab.pin_dir();
    let parent = pins.parent().context("no parent")?;
    let covered = |arguments: &[&str]| -> Result<Finished> {
        let mut command = rig.enforcer.command(arguments)?;
        with_mounts(&mut command, vec![Change::fresh("bpf", parent, "")?]);
        finish(command, "")
    };
    let status = covered(&["status"])?;
    ensure!(
        status.code == Some(3)
            && status.stdout.contains("the socket guard")
            && status.stdout.contains("a wire guard on ifindex")
            && status.stdout.contains("down --all"),
        "expected `status` to name the guards, but {status}"
    );
    let down = covered(&["down"])?;
    ensure!(
        down.code == Some(1) && down.stderr.contains("guards remain"),
        "expected `down` to tell that guards remain, but {down}"
    );
    unanswered(from_lan(rig, Patience::Brief)?).context("after a `down` that reached nothing")?;
    // The control: where the pins are in reach, nothing is astray.
    expect_state(rig, 0, "enforcing")?;
    let all = covered(&["down", "--all"])?;
    ensure!(
        all.code == Some(0) && all.stderr.contains("were taken off"),
        "expected `down --all` to take the guards off, but {all}"
    );
    answered(from_lan(rig, Patience::Long)?).context("after `down --all`")?;
    let (code, status) = rig.enforcer.status()?;
    ensure!(
        code == Some(3) && status.state == "degraded",
        "expected the pins of links without an interface, but saw {status:?}"
    );
    rig.enforcer.down()?;
    let nothing = rig.enforcer.expect(&["down", "--all"], 0)?;
    ensure!(nothing.stdout.contains("nothing was pinned"), "{nothing}");
    Ok(())
}

/// Another program of root's has the name of a guard's program.
fn same_name(rig: &Rig<'_>) -> Result<()> {
    let (hook, number, name) = match Feature::Tcx.is_here() {
        true => (Hook::Tcx, TCX_PASS, "wire_tcx_ethern"),
        false => (Hook::XdpGeneric, XDP_PASS, "wire_xdp_ethern"),
    };
    let _foreign = Foreign::named_on_interface(&rig.lab.host, "eth0", hook, number, name)?;
    let index = rig.lab.host.ifindex("eth0")?;
    expect_state(rig, 4, "off")?;
    rig.enforcer.expect(&["down", "--all"], 0)?;
    let left = rig.lab.host.run(|| programs_on(index, hook));
    if hook == Hook::Tcx {
        ensure!(left?? == 1, "`down --all` took another's program off");
    }
    Ok(())
}
