//! The settings of the kernel, of which `run` reads some and writes the reserved ports.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::cell::Obstacle::ProcSys;
use super::cell::{Cell, State};
use super::files::GARBAGE;
use super::trial::{GOOD, GOOD_FRAGMENT, HEALING, Trial};
use crate::lab::mounts::{Change, with_mounts};

const NONE: Duration = Duration::ZERO;
const SETTINGS: &str = "/proc/sys";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        ProcSys,
        State::Absent,
        "settings_absent",
        "an empty folder at boot",
        absent,
    ),
    Cell::left_out(ProcSys, State::Hangs, "the kernel answers within the call"),
    Cell::left_out(ProcSys, State::Full, "a setting has room for every port"),
    Cell::tried(
        ProcSys,
        State::Foreign,
        "settings_read_only",
        "read-only at boot",
        read_only,
    ),
    Cell::tried(
        ProcSys,
        State::Garbage,
        "settings_garbage",
        "binary bytes in place of the reserved ports at boot",
        garbage,
    ),
    Cell::tried(
        ProcSys,
        State::Vanishes,
        "settings_vanish",
        "an empty folder over it",
        vanish,
    ),
    Cell::tried(
        ProcSys,
        State::Returns,
        "settings_return",
        "covered, and free again",
        come_back,
    ),
];

fn boot_with(trial: &mut Trial<'_>, change: Change) -> Result<()> {
    trial.boot(NONE, |command| {
        with_mounts(command, vec![change]);
        Ok(())
    })?;
    trial.says(&[SETTINGS, "outgoing connections"])?;
    trial.share_mounts()?;
    trial.guards_a_newcomer()
}

fn uncover(trial: &Trial<'_>, place: &str) -> Result<()> {
    // Lazily, as `run` may hold a setting open.
    trial.tool("umount", &["-l", place])
}

fn absent(trial: &mut Trial<'_>) -> Result<()> {
    boot_with(
        trial,
        Change::fresh("tmpfs", Path::new(SETTINGS), "size=4k")?,
    )?;
    trial.heals("uncovered", HEALING, |trial| uncover(trial, SETTINGS))
}

fn read_only(trial: &mut Trial<'_>) -> Result<()> {
    boot_with(trial, Change::read_only(Path::new(SETTINGS))?)?;
    trial.heals("writable again", HEALING, |trial| uncover(trial, SETTINGS))
}

fn garbage(trial: &mut Trial<'_>) -> Result<()> {
    let file = trial.rig.lab.scratch().join("garbage");
    fs::write(&file, GARBAGE)?;
    boot_with(trial, Change::bind(&file, Path::new(RESERVED))?)?;
    trial.heals("uncovered", HEALING, |trial| uncover(trial, RESERVED))
}

fn vanish(trial: &mut Trial<'_>) -> Result<()> {
    trial.live(|command| {
        with_mounts(command, Vec::new());
        Ok(())
    })?;
    trial.share_mounts()?;
    trial.tool("mount", &["-t", "tmpfs", "none", SETTINGS])?;
    trial
        .rig
        .enforcer
        .registry(&format!("{GOOD}{GOOD_FRAGMENT}"))?;
    trial.says(&[SETTINGS, "outgoing connections"])?;
    trial.guards_a_newcomer()
}

fn come_back(trial: &mut Trial<'_>) -> Result<()> {
    vanish(trial)?;
    uncover(trial, SETTINGS)?;
    trial.applies_an_edit()?;
    trial.heals("uncovered", HEALING, |_| Ok(()))
}
