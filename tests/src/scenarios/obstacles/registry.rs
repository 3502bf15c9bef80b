//! The registry's main file.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::cell::Obstacle::Registry;
use super::cell::{Cell, State};
use super::files::{GARBAGE, NOBODY, fifo, give, remove};
use super::trial::{GOOD, HEALING, Trial};

/// The built-in registry needs no file: the guards wait for no answer.
const NONE: Duration = Duration::ZERO;

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
