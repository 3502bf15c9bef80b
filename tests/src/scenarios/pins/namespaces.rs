//! A25: the pins of a network namespace that is gone.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::lab::command::{eventually, finish};
use crate::lab::enforcer::SETTLE;
use crate::lab::netns::Netns;
use crate::lab::{Guards, Patience};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::super::runner::{answered, expect_nothing_pinned, expect_state, unanswered};
use super::{expect_words, from_lan, service};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("a25_a_namespace_that_is_gone::up_takes_over", |rig| {
            left_behind(rig)?;
            let up = rig.enforcer.expect(&["up"], 0)?;
            ensure!(up.stderr.contains("that is gone"), "{up}");
            hold(rig)
        }),
        Scenario::new("a25_a_namespace_that_is_gone::run_takes_over", |rig| {
            left_behind(rig)?;
            let run = rig.enforcer.run(&[])?;
            let log = rig.enforcer.run_log();
            ensure!(log.contains("that is gone"), "{log}");
            drop(run);
            hold(rig)
        }),
        Scenario::new("a25_a_namespace_that_is_gone::down_removes", |rig| {
            left_behind(rig)?;
            let down = rig.enforcer.expect(&["down"], 0)?;
            ensure!(down.stderr.contains("that is gone"), "{down}");
            expect_nothing_pinned(rig)?;
            expect_words(rig, 4, &["off", "nothing is pinned"])
        }),
        Scenario::new(
            "pins::without_their_map_nobody_tells_a_dead_namespace",
            untold,
        )
        .host_only(LOADER),
    ]
}

/// The control: pins of an earlier version lack the map, and are refused for good.
fn untold(rig: &Rig<'_>) -> Result<()> {
    left_behind(rig)?;
    fs::remove_file(rig.lab.pin_dir().join("NAMESPACE"))?;
    for command in ["up", "down", "status"] {
        let refused = rig.enforcer.expect(&[command], 1)?;
        ensure!(
            refused.stderr.contains("another network namespace"),
            "{refused}"
        );
    }
    fs::remove_dir_all(rig.lab.pin_dir())?;
    Ok(())
}

/// Pins guard a namespace that ends; a living one's are refused.
fn left_behind(rig: &Rig<'_>) -> Result<()> {
    let old = Netns::new("old")?;
    // The new host has the same ifindexes.
    let index = rig.lab.host.ifindex("eth0")?;
    old.ip(&format!(
        "link set lo up
         link add eth0 index {index} type veth peer name eth1 index 4711
         link set eth0 up"
    ))?;
    let up = finish(rig.enforcer.command_in(&old, &["up"])?, "")?;
    ensure!(up.code == Some(0), "in the namespace to be left: {up}");
    for command in [&["up"][..], &["down"], &["status"], &["reload"]] {
        let refused = rig.enforcer.expect(command, 1)?;
        ensure!(
            refused.stderr.contains("another network namespace"),
            "{refused}"
        );
    }
    drop(old);
    // The end of a namespace takes the kernel a moment.
    let gone = || {
        let status = rig.enforcer.call(&["status"]).ok()?;
        let is_told = status.stdout.contains("a network namespace that is gone");
        (status.code == Some(4) && is_told).then_some(())
    };
    eventually(SETTLE, gone).context("`status` never told the end of the namespace")
}

/// The new guards hold, and the whole set is this namespace's.
fn hold(rig: &Rig<'_>) -> Result<()> {
    expect_state(rig, 0, "enforcing")?;
    rig.enforcer.down()?;
    let _server = service(rig)?;
    left_behind(rig)?;
    rig.enforcer.up(Guards::Both)?;
    unanswered(from_lan(rig, Patience::Brief)?)?;
    rig.enforcer.reload()?;
    rig.enforcer.down()?;
    answered(from_lan(rig, Patience::Long)?).context("after `down`")
}
