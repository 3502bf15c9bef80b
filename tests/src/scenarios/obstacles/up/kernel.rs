//! File systems and sockets of the kernel.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::super::bpffs::mounted;
use super::super::cell::Obstacle::{Bpffs, Cgroup2, Netlink, ProcSys};
use super::super::cell::State;
use super::super::refuse::refuse;
use super::attempt::{Attempt, Placed};
use super::cell::{Pins, UpCell, guards, refusal};
use crate::lab::cleanup::{BPFFS, cgroup2_root};
use crate::lab::mounts::{Change, with_mounts};

const SETTINGS: &str = "/proc/sys";

pub(super) const CELLS: &[UpCell] = &[
    UpCell {
        obstacle: Cgroup2,
        state: State::Absent,
        name: "cgroup2_absent",
        made: "not mounted",
        needs: None,
        place: |_| with_change(Change::without(&root()?)?),
        first: Ok(guards(3, &["no cgroup2 file system is mounted"])),
        over_pins: Ok(guards(0, &[])),
    },
    UpCell {
        obstacle: Cgroup2,
        state: State::Garbage,
        name: "cgroup2_covered",
        made: "a plain folder over the mount",
        needs: None,
        place: |attempt| {
            let plain = attempt.rig.lab.scratch().join("plain");
            fs::create_dir(&plain)?;
            with_change(Change::bind(&plain, &root()?)?)
        },
        first: Ok(guards(3, &["there is no socket guard"])),
        over_pins: Ok(refusal(1, &["failed to attach to"])),
    },
    UpCell {
        obstacle: Bpffs,
        state: State::Absent,
        name: "bpffs_absent",
        made: "not mounted",
        needs: None,
        place: |_| Ok(Placed::in_a_machine("umount -l /sys/fs/bpf")),
        first: Ok(guards(0, &[])),
        over_pins: Err("pins in force are on a bpffs"),
    },
    UpCell {
        obstacle: Bpffs,
        state: State::Foreign,
        name: "bpffs_squatted",
        made: "a user's folder at the place of the pins, parent 1777",
        needs: None,
        place: |_| {
            let squat = "setpriv --reuid 65534 --regid 65534 --clear-groups \
                         mkdir -p /sys/fs/bpf/enforcer/a";
            let prelude = format!("{}; {squat}", mounted("1777"));
            Ok(Placed::in_a_machine(prelude))
        },
        first: Ok(guards(3, &["was in the way"])),
        over_pins: Err("the place is taken by the pins"),
    },
    UpCell {
        obstacle: Bpffs,
        state: State::Foreign,
        name: "bpffs_read_only",
        made: "read-only",
        needs: None,
        place: |_| with_change(Change::read_only(Path::new(BPFFS))?),
        first: Ok(refusal(1, &["read-only"])),
        over_pins: Ok(refusal(1, &["read-only"])),
    },
    UpCell {
        obstacle: Bpffs,
        state: State::Garbage,
        name: "bpffs_elsewhere",
        made: "`--pin-dir` names a folder of another file system",
        needs: None,
        place: |attempt| {
            let folder = attempt.rig.lab.scratch().join("pins");
            Ok(Placed::anywhere().pinned_at(folder))
        },
        first: Ok(refusal(1, &["bpffs"])),
        over_pins: Ok(refusal(1, &["bpffs"])),
    },
    UpCell {
        obstacle: Bpffs,
        state: State::Garbage,
        name: "bpffs_pins_exchanged",
        made: "the pins of two maps exchanged",
        needs: None,
        place: exchanged,
        first: Err("there are no pins"),
        over_pins: Ok(guards(0, &["of another layout and are replaced"])),
    },
    UpCell {
        obstacle: Netlink,
        state: State::Absent,
        name: "netlink_absent",
        made: "no such socket family",
        needs: None,
        place: |_| {
            let call = u32::try_from(libc::SYS_socket)?;
            let family = u32::try_from(libc::AF_NETLINK)?;
            let error = u32::try_from(libc::EAFNOSUPPORT)?;
            Ok(Placed::for_command(move |command| {
                refuse(command, call, Some(family), error);
                Ok(())
            }))
        },
        first: Ok(refusal(1, &["failed to list the network interfaces"])),
        over_pins: Ok(refusal(1, &["failed to list the network interfaces"])),
    },
    UpCell {
        obstacle: ProcSys,
        state: State::Foreign,
        name: "settings_read_only",
        made: "read-only",
        needs: None,
        place: |_| with_change(Change::read_only(Path::new(SETTINGS))?),
        first: Ok(guards(0, &["outgoing connections"])),
        over_pins: Ok(guards(0, &[])),
    },
];

fn root() -> Result<PathBuf> {
    cgroup2_root().context("no cgroup2 file system is mounted")
}

fn with_change(change: Change) -> Result<Placed> {
    Ok(Placed::for_command(move |command| {
        with_mounts(command, vec![change]);
        Ok(())
    }))
}

fn exchanged(attempt: &Attempt<'_>) -> Result<Placed> {
    debug_assert_eq!(attempt.pins, Pins::InForce, "there are pins");
    let pins = attempt.rig.lab.pin_dir();
    for (from, to) in [("STATE", "x"), ("PORTS", "STATE"), ("x", "PORTS")] {
        fs::rename(pins.join(from), pins.join(to))?;
    }
    Ok(Placed::anywhere())
}
