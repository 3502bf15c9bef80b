//! The bpffs, and the pins there.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cell::Obstacle::Bpffs;
use super::cell::{Cell, State};
use super::trial::{HEALING, Trial};
use crate::lab::mounts::in_a_machine;

const NONE: Duration = Duration::ZERO;
const BPFFS: &str = "/sys/fs/bpf";

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        Bpffs,
        State::Absent,
        "bpffs_absent",
        "not mounted at boot",
        absent,
    ),
    Cell::left_out(Bpffs, State::Hangs, "the kernel answers within the call"),
    Cell::left_out(Bpffs, State::Full, "a bpffs has no size"),
    Cell::tried(
        Bpffs,
        State::Foreign,
        "bpffs_squatted",
        "a user's folder at the place of the pins at boot, parent 1777",
        squatted,
    )
    .in_guests(),
    Cell::tried(
        Bpffs,
        State::Garbage,
        "bpffs_pins_exchanged",
        "the pins of two maps exchanged at boot, guards in force",
        exchanged,
    ),
    Cell::tried(
        Bpffs,
        State::Vanishes,
        "bpffs_pins_removed",
        "all pins removed",
        removed,
    )
    .in_guests(),
    Cell::tried(
        Bpffs,
        State::Vanishes,
        "bpffs_unmounted",
        "unmounted",
        unmounted,
    ),
    Cell::tried(
        Bpffs,
        State::Returns,
        "bpffs_returns",
        "unmounted, and mounted",
        returns,
    ),
];

/// `run` in a small machine, whose bpffs is the machine's own.
pub(super) fn machine(trial: &mut Trial<'_>, prelude: &str) -> Result<Command> {
    machine_at(trial, prelude, &Path::new(BPFFS).join("enforcer"))
}

/// As [`machine`], with another pin directory.
fn machine_at(trial: &mut Trial<'_>, prelude: &str, pins: &Path) -> Result<Command> {
    trial.pin_at(pins.to_owned());
    let run = trial.command(&["run"])?;
    let mut command = in_a_machine(&trial.rig.lab.host, prelude, &run);
    trial.equip(&mut command)?;
    Ok(command)
}

/// The lines of a shell that mount a bpffs of this mode.
pub(super) fn mounted(mode: &str) -> String {
    format!("umount -l {BPFFS}; mount -t bpf -o mode={mode} bpf {BPFFS}")
}

fn absent(trial: &mut Trial<'_>) -> Result<()> {
    let command = machine(trial, "umount -l /sys/fs/bpf")?;
    trial.boot_command(NONE, command)?;
    trial.enter_machine()?;
    trial.needs_no_word("nothing: `run` mounts the file system");
    trial.heals("`run` itself", HEALING, |_| Ok(()))
}

fn squatted(trial: &mut Trial<'_>) -> Result<()> {
    let squat =
        "setpriv --reuid 65534 --regid 65534 --clear-groups mkdir -p /sys/fs/bpf/enforcer/a";
    let command = machine(trial, &format!("{}; {squat}", mounted("1777")))?;
    trial.boot_command(NONE, command)?;
    trial.enter_machine()?;
    trial
        .tool("sh", &["-c", "ls -d /sys/fs/bpf/*/a"])
        .context("the user made nothing")?;
    trial.says(&["aside", "chmod"])?;
    trial.guards_a_newcomer()?;
    trial.heals("chmod 700", HEALING, |trial| {
        trial.tool("chmod", &["700", BPFFS])
    })
}

fn exchanged(trial: &mut Trial<'_>) -> Result<()> {
    trial.rig.enforcer.expect(&["up"], 0)?;
    let pins = trial.rig.lab.pin_dir();
    for (from, to) in [("STATE", "x"), ("PORTS", "STATE"), ("x", "PORTS")] {
        fs::rename(pins.join(from), pins.join(to))?;
    }
    trial.boot_guarded()?;
    trial.says(&["replace", "layout", "aside", "pin"])?;
    trial.guards_a_newcomer()?;
    trial.heals("`run` itself", HEALING, |_| Ok(()))
}

fn removed(trial: &mut Trial<'_>) -> Result<()> {
    trial.live(|_| Ok(()))?;
    match fs::remove_dir_all(trial.rig.lab.pin_dir()) {
        // `run` was faster, and has pinned again already.
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
        removed => removed?,
    }
    trial.heals("`run` itself", HEALING, |_| Ok(()))?;
    trial.says(&["put back", "again", "restored", "gone", "removed"])?;
    trial.guards_a_newcomer()
}

/// The guards hold by the descriptors of `run`, which mounts the file system again.
fn unmounted(trial: &mut Trial<'_>) -> Result<()> {
    let command = machine(trial, &mounted("700"))?;
    trial.live_command(command)?;
    trial.enter_machine()?;
    trial.tool("umount", &["-l", BPFFS])?;
    trial.says(&["pinned again"])?;
    trial.stays_closed(Duration::from_secs(5))?;
    trial.heals("`run` itself", HEALING, |_| Ok(()))
}

/// At another place, only the operator mounts a file system. An interface comes at the moment of the
/// unmount, so that a look at the host may be the first to find the pins gone.
fn returns(trial: &mut Trial<'_>) -> Result<()> {
    let place = trial.rig.lab.scratch().join("bpf");
    fs::create_dir(&place)?;
    let place = place.to_str().context("no UTF-8")?;
    let mount = ["-t", "bpf", "-o", "mode=700", "bpf", place];
    let command = machine_at(
        trial,
        &format!("mount {}", mount.join(" ")),
        &Path::new(place).join("enforcer"),
    )?;
    trial.live_command(command)?;
    trial.enter_machine()?;
    // `run` is at rest then: no look at the pins is under way.
    trial.stays_closed(Duration::from_secs(2))?;
    trial.while_stopped(|trial| {
        trial.tool("umount", &["-l", place])?;
        let host = &trial.rig.lab.host;
        host.ip("link add both0 type veth peer name both1\nlink set both0 up")
    })?;
    trial.says(&["the pins are gone"])?;
    trial.stays_closed(Duration::from_secs(5))?;
    trial.heals("mounted, and `run` itself", HEALING, |trial| {
        trial.tool("mount", &mount)
    })?;
    trial.guards_a_newcomer()
}
