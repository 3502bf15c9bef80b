//! Situations in which the enforcer must refuse to act, with a reason.

use anyhow::{Context, Result, ensure};

use crate::lab::cleanup;
use crate::lab::command::{PrivateMount, finish, in_private_mounts};
use crate::lab::{Guards, Patience};

use super::super::runner::{expect_state, unanswered};
use super::service::{from_lan, serve};
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("refuses::another_network_namespace", another_namespace),
        Scenario::new(
            "refuses::a_private_mount_namespace::like_ip_netns_exec",
            |rig| private_mounts(rig, PrivateMount::Sysfs),
        ),
        Scenario::new(
            "refuses::a_private_mount_namespace::with_a_bpffs_of_its_own",
            |rig| private_mounts(rig, PrivateMount::Bpffs),
        ),
        Scenario::new("refuses::without_privileges_and_names_them", unprivileged),
        Scenario::new("refuses::pins_that_are_not_its_own", foreign_pins),
    ]
}

fn another_namespace(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 9200)?;
    rig.enforcer.up(Guards::Both)?;
    for arguments in [
        &["up"][..],
        &["down"],
        &["reload"],
        &["counters"],
        &["status"],
    ] {
        let command = rig.enforcer.command_in(&rig.lab.lan, arguments)?;
        let finished = finish(command, "")?;
        ensure!(
            finished.code == Some(1) && finished.stderr.contains("namespace"),
            "expected a refusal that names the namespace, but {finished}"
        );
    }
    // The policy in force guards another namespace: `run` holds nothing here.
    let run = finish(rig.enforcer.command_in(&rig.lab.lan, &["run"])?, "")?;
    let says = |words: &str| run.stderr.contains(words);
    ensure!(
        run.code == Some(1) && says("namespace") && says("--pin-dir") && !says("stays in force"),
        "expected `run` to refuse and to name --pin-dir, but {run}"
    );
    unanswered(from_lan(rig, 9200, Patience::Brief)?)?;
    expect_state(rig, 0, "enforcing")
}

fn private_mounts(rig: &Rig<'_>, private: PrivateMount) -> Result<()> {
    // The name is free in a private bpffs, and in the machine's bpffs would be swept.
    let pins = format!("{}/enforcer-lab-private", cleanup::BPFFS);
    let mut command = rig.lab.host.command(rig.enforcer.binary());
    command.args(["--pin-dir", &pins, "up", "--config"]);
    command.arg(rig.enforcer.config_path()?);
    in_private_mounts(&mut command, private);
    let finished = finish(command, "")?;
    ensure!(
        finished.code == Some(1) && finished.stderr.contains("nsenter --net"),
        "expected `up` to refuse and to name `nsenter --net`, but {finished}"
    );
    expect_state(rig, 4, "off")
}

fn unprivileged(rig: &Rig<'_>) -> Result<()> {
    // The built binary may lie in a folder closed to other users.
    let copy = rig.lab.scratch().join("enforcer");
    std::fs::copy(rig.enforcer.binary(), &copy).context("failed to copy the enforcer")?;
    let as_nobody = |arguments: &[&str]| {
        let mut command = rig.lab.host.command("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .arg("--config")
            .arg(rig.enforcer.config_path()?)
            .args(arguments);
        finish(command, "")
    };
    let finished = as_nobody(&["check"])?;
    ensure!(
        finished.code == Some(0),
        "`check` needs no privileges, but {finished}"
    );
    let pins = rig.lab.pin_dir();
    let pins = pins.to_str().context("the pin directory is no UTF-8")?;
    let finished = as_nobody(&["--pin-dir", pins, "up"])?;
    ensure!(
        finished.code == Some(1) && finished.stderr.contains("CAP_BPF"),
        "expected the missing privileges to be named, but {finished}"
    );
    expect_state(rig, 4, "off")?;
    // A reader names them too, and says nothing else first.
    rig.enforcer.up(Guards::Both)?;
    let finished = as_nobody(&["--pin-dir", pins, "status"])?;
    ensure!(
        finished.code == Some(1)
            && finished.stderr.starts_with("error:")
            && finished.stderr.contains("CAP_BPF"),
        "expected `status` to name the missing privileges, but {finished}"
    );
    rig.enforcer.down()
}

fn foreign_pins(rig: &Rig<'_>) -> Result<()> {
    // A foreign directory of root's, with a foreign entry.
    let theirs = rig.lab.pin_dir().join("theirs");
    std::fs::create_dir_all(&theirs)?;
    let refused = rig.enforcer.expect(&["down"], 1)?;
    ensure!(
        refused.stderr.contains("it holds theirs") && theirs.exists(),
        "expected `down` to leave a foreign directory alone, but {refused}"
    );
    let up = rig.enforcer.expect(&["up"], 0)?;
    ensure!(
        up.stderr.contains("was in the way") && !theirs.exists(),
        "expected `up` to move a foreign directory aside, but {up}"
    );
    rig.enforcer.down()
}
