//! `run` beside other commands that replace its pins or take its turns.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::lab::bpf::{Foreign, Hook, XDP_PASS, detach_pinned, programs_on};
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::{Feature, Guards};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};
use crate::scenarios::events::Follower;

use super::plug::{NEAR, Plug, look_again};
use super::timing::{figure, within};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::programs_are_ready_after_another_up", programs).host_only(LOADER),
        Scenario::new("live::an_early_guard_outlives_another_up", early).needs(Feature::Tcx),
        Scenario::new(
            "live::a_socket_guard_that_was_taken_off_comes_back",
            taken_off,
        )
        .host_only(LOADER),
        Scenario::new("live::ends_at_once_while_events_reads_alone", ends_at_once)
            .host_only(LOADER),
    ]
}

/// Programs of pinned wire guards.
fn ready(rig: &Rig<'_>) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(rig.lab.pin_dir()).context("no pins")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("prog_wire_") {
            found.insert(name);
        }
    }
    Ok(found)
}

/// The pins with which `up` replaces those of `run` hold only the programs that `up` needed itself.
fn programs(rig: &Rig<'_>) -> Result<()> {
    let inode = || -> Result<u64> { Ok(fs::metadata(rig.lab.pin_dir())?.ino()) };
    let _run = rig.enforcer.run(&[])?;
    // The lab's interfaces all have the same hook and Ethernet headers: they need a single program.
    let took = within(SETTLE, "more programs than are needed", || {
        Ok(ready(rig)?.len() > 1)
    })?;
    // Pinning holds the writers' lock: once another command had the lock, all pins are there.
    rig.enforcer.reload()?;
    let (at_first, old) = (ready(rig)?, inode()?);
    // The kernel's choice does not matter, but for missing hooks.
    let hooks = match Feature::Tcx.is_here() {
        true => &["xdp", "tcx"][..],
        false => &["xdp"],
    };
    for hook in hooks {
        for link in ["ethernet", "ip"] {
            let name = format!("prog_wire_{hook}_{link}");
            ensure!(at_first.contains(&name), "no {name} among {at_first:?}");
        }
    }

    rig.enforcer.up(Guards::Both)?;
    ensure!(inode()? != old, "`up` has put no other pins in place");
    let again = within(SETTLE, "the programs in the new pins", || {
        Ok(ready(rig)? == at_first)
    })
    .with_context(|| format!("{:?} and not {at_first:?}", ready(rig)))?;
    figure(
        "programs_are_ready_after_another_up",
        &format!(
            "{} are ready after {took:.1?}, and after `up` again after {again:.1?}",
            at_first.len()
        ),
    );
    Ok(())
}

/// An interface that refuses its designated hook keeps the guard attached while the interface was
/// down: an `up` must not take that guard off with the old set.
fn early(rig: &Rig<'_>) -> Result<()> {
    let rule = format!("[interfaces.{NEAR}]\nside = \"outside\"\nhook = \"xdp-native\"\n");
    rig.enforcer.registry(&format!("{REGISTRY}{rule}"))?;
    let plug = Plug::new(rig.lab)?;
    let _other = Foreign::on_interface(&rig.lab.host, NEAR, Hook::XdpNative, XDP_PASS)?;
    let _run = rig.enforcer.run(&[])?;
    let programs = || rig.lab.host.run(|| programs_on(plug.index, Hook::Tcx));
    let pin = || {
        let name = format!("link_early_{}", plug.index);
        rig.lab.pin_dir().join(name).exists()
    };
    within(SETTLE, "a guard on what is down", || Ok(pin()))?;
    plug.up()?;
    look_again(rig.lab)?;
    ensure!(pin() && programs()?? == 1, "it went when {NEAR} came up");
    rig.enforcer.expect(&["up"], 3)?;
    ensure!(pin() && programs()?? == 1, "it went with the old set");
    // The control: the guard is no more than a stand-in.
    drop(_other);
    rig.enforcer.reload()?;
    ensure!(
        plug.is_guarded()? && !pin() && programs()?? == 0,
        "it stays beside the guard on the hook that {NEAR} is to have"
    );
    Ok(())
}

/// Root can undo anything; an apparent accident is repaired at the next look of `run`.
fn taken_off(rig: &Rig<'_>) -> Result<()> {
    let has = || -> Result<bool> {
        let (_, status) = rig.enforcer.status()?;
        Ok(status.guards.iter().any(|line| line.guard == "socket"))
    };
    let _run = rig.enforcer.run(&[])?;
    ensure!(has()?, "there was none");
    let link = rig.lab.pin_dir().join("link_socket");
    // A removed pin takes no guard off, because `run` holds the link. A look of `run` after READY may
    // repair the guard at once: the guard is detached once more.
    within(SETTLE, "the guard taken off", || {
        match detach_pinned(&link) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        Ok(!has()?)
    })?;
    look_again(rig.lab)?;
    within(SETTLE, "a socket guard", has)?;
    let (code, status) = rig.enforcer.status()?;
    ensure!(code == Some(0), "not whole: {status:?}");
    Ok(())
}

/// `run` waits for its turn to read the drops, which a stopped pager, say, never gives back. The
/// wait is no reason to delay the end.
fn ends_at_once(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    let alone = Follower::start(rig, "alone")?;
    alone.process.signal(Signal::STOP)?;
    // Under a bad registry `run` keeps the existing pins, and so the holder of the turn.
    rig.enforcer
        .registry("[services.elasticsearch]\nports = [0]\n")?;
    let mut run = rig.enforcer.run(&[])?;
    let _second = Follower::spawn(rig, "second")?;
    within(SETTLE, "a follower at the socket of `run`", || {
        Ok(followers(rig)? > 0)
    })?;
    rig.enforcer.registry(REGISTRY)?;
    rig.enforcer.reload()?;
    // `run` has seen the follower by then as well.
    look_again(rig.lab)?;
    let start = Instant::now();
    run.signal(Signal::TERM)?;
    let status = run.expect_end(SETTLE)?;
    ensure!(
        status.success(),
        "`run` ended with {status}:\n{}",
        rig.enforcer.run_log()
    );
    figure(
        "ends_at_once_while_events_reads_alone",
        &format!("it ended {:.1?} after SIGTERM", start.elapsed()),
    );
    Ok(())
}

/// Number of connections to the socket of `run`: proc(5) has a line with the socket's name for
/// each, and another for the listener.
fn followers(rig: &Rig<'_>) -> Result<usize> {
    let sockets = rig
        .lab
        .host
        .run(|| fs::read_to_string("/proc/thread-self/net/unix"))?
        .context("no list of sockets")?;
    let of_run = sockets
        .lines()
        .filter(|line| line.contains(" /run/enforcer/"));
    Ok(of_run.count().saturating_sub(1))
}
