//! The registry's main file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::cell::Obstacle::Registry;
use super::cell::{Cell, State};
use super::files::{GARBAGE, NOBODY, fifo, give, remove};
use super::trial::{GOOD, HEALING, Trial};
use crate::lab::Feature;
use crate::lab::mounts::with_mounts;
use crate::lab::silent::SilentServer;

/// The built-in registry needs no file: the guards wait for no answer.
const NONE: Duration = Duration::ZERO;
/// The time for which the guards wait for a file (`GRACE`, enforcer/src/daemon/startup.rs).
const GRACE: Duration = Duration::from_millis(500);

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        Registry,
        State::Absent,
        "registry_absent",
        "no file at boot",
        absent,
    ),
    Cell::tried(
        Registry,
        State::Hangs,
        "registry_hangs_at_boot",
        "a FIFO at boot",
        hangs,
    )
    .in_guests(),
    Cell::tried(
        Registry,
        State::Hangs,
        "registry_hangs_later",
        "a FIFO while `run` lives",
        later,
    ),
    Cell::tried(
        Registry,
        State::Hangs,
        "registry_silent_at_boot",
        "a file system without an answer at boot",
        silent,
    )
    .needing(Feature::Fuse),
    Cell::tried(
        Registry,
        State::Hangs,
        "registry_silent_later",
        "a file system without an answer while `run` lives",
        silent_later,
    )
    .needing(Feature::Fuse),
    Cell::left_out(Registry, State::Full, "`run` writes nothing there"),
    Cell::tried(
        Registry,
        State::Foreign,
        "registry_of_a_user",
        "a user's file at boot",
        foreign,
    ),
    Cell::tried(
        Registry,
        State::Garbage,
        "registry_garbage",
        "binary bytes at boot",
        garbage,
    ),
    Cell::tried(
        Registry,
        State::Vanishes,
        "registry_vanishes",
        "the file is removed",
        vanishes,
    ),
    Cell::tried(
        Registry,
        State::Returns,
        "registry_returns",
        "removed, and written",
        returns,
    ),
];

fn absent(trial: &mut Trial<'_>) -> Result<()> {
    remove(trial.rig.enforcer.config_path()?)?;
    trial.boot(NONE, |_| Ok(()))?;
    trial.says(&["enforcer.toml"])?;
    trial.heals("the file is written", HEALING, |trial| {
        trial.rig.enforcer.registry(GOOD)
    })
}

fn hangs(trial: &mut Trial<'_>) -> Result<()> {
    fifo(trial.rig.enforcer.config_path()?)?;
    trial.boot(NONE, |_| Ok(()))?;
    trial.says(&["pipe", "fifo", "did not answer", "regular file"])?;
    trial.guards_a_newcomer()?;
    trial.heals("a file in its place", HEALING, write_again)
}

fn later(trial: &mut Trial<'_>) -> Result<()> {
    trial.live(|_| Ok(()))?;
    fifo(trial.rig.enforcer.config_path()?)?;
    trial.says(&["pipe", "fifo", "did not answer", "regular file"])?;
    trial.guards_a_newcomer()?;
    trial.heals("a file in its place", HEALING, write_again)?;
    fifo(trial.rig.enforcer.config_path()?)?;
    trial.stays_closed(Duration::from_millis(500))?;
    trial.obeys()
}

fn silent(trial: &mut Trial<'_>) -> Result<()> {
    let file = trial.rig.enforcer.config_path()?.to_owned();
    let server = SilentServer::start()?;
    boot_silent(trial, &server, &file)?;
    trial.heals("the server ends, unmounted", HEALING, |trial| {
        end(trial, server, &file)
    })
}

fn silent_later(trial: &mut Trial<'_>) -> Result<()> {
    let file = trial.rig.enforcer.config_path()?.to_owned();
    let server = live_silent(trial, &file)?;
    trial.heals("the server ends, unmounted", HEALING, |trial| {
        end(trial, server, &file)
    })?;
    cover_again(trial, &file)
}

/// Boots with a silent file system over a path of the registry.
pub(super) fn boot_silent(
    trial: &mut Trial<'_>,
    server: &SilentServer,
    place: &Path,
) -> Result<()> {
    let change = server.over(place)?;
    trial.boot(GRACE, |command| {
        with_mounts(command, vec![change]);
        Ok(())
    })?;
    trial.says(&["have not answered"])?;
    trial.share_mounts()?;
    trial.guards_a_newcomer()
}

/// Covers a path of the registry of a living `run` with a silent file system. Returns the server.
pub(super) fn live_silent(trial: &mut Trial<'_>, place: &Path) -> Result<SilentServer> {
    trial.live(|command| {
        with_mounts(command, Vec::new());
        Ok(())
    })?;
    trial.share_mounts()?;
    let server = cover(trial, place)?;
    trial.says(&["have not answered"])?;
    trial.guards_a_newcomer()?;
    Ok(server)
}

/// A mount is no event for `run`, and a write is.
fn cover(trial: &mut Trial<'_>, place: &Path) -> Result<SilentServer> {
    let server = SilentServer::start()?;
    server.cover(place, trial.daemon()?.id())?;
    trial.rig.enforcer.registry(GOOD)?;
    Ok(server)
}

/// Covers the path once more: SIGTERM ends a `run` that reads there.
pub(super) fn cover_again(trial: &mut Trial<'_>, place: &Path) -> Result<()> {
    let _server = cover(trial, place)?;
    trial.stays_closed(Duration::from_secs(1))?;
    trial.obeys()
}

/// Ends the server, takes the file system away, and writes the registry.
pub(super) fn end(trial: &mut Trial<'_>, server: SilentServer, place: &Path) -> Result<()> {
    drop(server);
    trial.tool("umount", &["-l", &place.to_string_lossy()])?;
    trial.rig.enforcer.registry(GOOD)
}

fn write_again(trial: &mut Trial<'_>) -> Result<()> {
    remove(trial.rig.enforcer.config_path()?)?;
    trial.rig.enforcer.registry(GOOD)
}

fn foreign(trial: &mut Trial<'_>) -> Result<()> {
    give(trial.rig.enforcer.config_path()?, NOBODY)?;
    trial.boot(NONE, |_| Ok(()))?;
    trial.says(&["chown", "root"])?;
    trial.heals("chown root", HEALING, |trial| {
        give(trial.rig.enforcer.config_path()?, 0)
    })
}

fn garbage(trial: &mut Trial<'_>) -> Result<()> {
    fs::write(trial.rig.enforcer.config_path()?, GARBAGE)?;
    trial.boot(NONE, |_| Ok(()))?;
    trial.says(&["enforcer.toml"])?;
    trial.heals("a good text", HEALING, |trial| {
        trial.rig.enforcer.registry(GOOD)
    })
}

fn vanishes(trial: &mut Trial<'_>) -> Result<()> {
    trial.live(|_| Ok(()))?;
    remove(trial.rig.enforcer.config_path()?)?;
    trial.says(&["registry", "enforcer.toml"])?;
    trial.guards_a_newcomer()?;
    trial.stays_closed(Duration::from_secs(1))
}

fn returns(trial: &mut Trial<'_>) -> Result<()> {
    vanishes(trial)?;
    trial.heals("the file is written", HEALING, |trial| {
        trial.rig.enforcer.registry(GOOD)
    })
}
