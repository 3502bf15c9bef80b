//! The cgroup2 file system, which the socket guard needs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::cell::Obstacle::Cgroup2;
use super::cell::{Cell, State};
use super::trial::{HEALING, Trial};
use crate::lab::bpf::{CGROUP_ALLOW, Foreign};
use crate::lab::cleanup::cgroup2_root;
use crate::lab::mounts::{Change, with_mounts};

const NONE: Duration = Duration::ZERO;
/// linux/bpf-cgroup-defs.h: BPF_CGROUP_MAX_PROGS.
const MOST_PROGRAMS: usize = 64;

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        Cgroup2,
        State::Absent,
        "cgroup2_absent",
        "not mounted at boot",
        absent,
    )
    .in_guests(),
    Cell::left_out(Cgroup2, State::Hangs, "the kernel answers within the call"),
    Cell::tried(
        Cgroup2,
        State::Full,
        "cgroup2_full",
        "64 foreign programs on the cgroup at boot",
        full,
    ),
    Cell::left_out(
        Cgroup2,
        State::Foreign,
        "the owner of a cgroup attaches no program",
    ),
    Cell::tried(
        Cgroup2,
        State::Garbage,
        "cgroup2_covered",
        "a plain folder over the mount at boot",
        covered,
    ),
    Cell::tried(
        Cgroup2,
        State::Garbage,
        "cgroup2_beside_bytes",
        "beside a mount whose path is no UTF-8, at boot",
        beside_bytes,
    ),
    Cell::tried(
        Cgroup2,
        State::Vanishes,
        "cgroup2_vanishes",
        "unmounted",
        vanishes,
    ),
    Cell::tried(
        Cgroup2,
        State::Returns,
        "cgroup2_returns",
        "unmounted, and mounted",
        returns,
    ),
];

fn root() -> Result<PathBuf> {
    cgroup2_root().context("no cgroup2 file system is mounted")
}

fn mount(trial: &Trial<'_>, root: &Path) -> Result<()> {
    trial.tool("mount", &["-t", "cgroup2", "none", &root.to_string_lossy()])
}

fn absent(trial: &mut Trial<'_>) -> Result<()> {
    let root = root()?;
    trial.boot(NONE, |command| {
        with_mounts(command, vec![Change::without(&root)?]);
        Ok(())
    })?;
    trial.says(&["cgroup"])?;
    trial.share_mounts()?;
    trial.guards_a_newcomer()?;
    trial.heals("mounted again", HEALING, |trial| mount(trial, &root))
}

fn full(trial: &mut Trial<'_>) -> Result<()> {
    let root = root()?;
    let cgroup = trial.rig.lab.cgroup()?;
    let _foreigners = (0..MOST_PROGRAMS)
        .map(|_| Foreign::on_cgroup(cgroup.path(), CGROUP_ALLOW))
        .collect::<Result<Vec<_>>>()?;
    trial.boot(NONE, |command| {
        with_mounts(command, vec![Change::bind(cgroup.path(), &root)?]);
        Ok(())
    })?;
    trial.says(&["socket guard"])?;
    trial.guards_a_newcomer()
}

fn covered(trial: &mut Trial<'_>) -> Result<()> {
    let root = root()?;
    let plain = trial.rig.lab.scratch().join("plain");
    fs::create_dir(&plain)?;
    trial.boot(NONE, |command| {
        with_mounts(command, vec![Change::bind(&plain, &root)?]);
        Ok(())
    })?;
    trial.says(&["cgroup"])?;
    trial.share_mounts()?;
    trial.guards_a_newcomer()?;
    trial.heals("the folder is unmounted", HEALING, |trial| {
        trial.tool("umount", &[&root.to_string_lossy()])
    })
}

/// Any user may make such a mount, by fusermount(1).
fn beside_bytes(trial: &mut Trial<'_>) -> Result<()> {
    let bytes = OsStr::from_bytes(b"bytes\xff");
    let place = trial.rig.lab.scratch().join(bytes);
    fs::create_dir(&place)?;
    trial.boot(NONE, |command| {
        with_mounts(command, vec![Change::fresh("tmpfs", &place, "")?]);
        Ok(())
    })?;
    trial.needs_no_word("nothing: the other mounts are read");
    trial.share_mounts()?;
    trial.guards_a_newcomer()?;
    trial.heals("nothing", NONE, |_| Ok(()))
}

fn vanishes(trial: &mut Trial<'_>) -> Result<()> {
    let root = root()?;
    trial.live(|command| {
        with_mounts(command, Vec::new());
        Ok(())
    })?;
    trial.share_mounts()?;
    trial.tool("umount", &["-l", &root.to_string_lossy()])?;
    trial.guards_a_newcomer()?;
    trial.needs_no_word("nothing: a link needs no mount");
    trial.stays_closed(Duration::from_secs(2))
}

fn returns(trial: &mut Trial<'_>) -> Result<()> {
    vanishes(trial)?;
    let root = root()?;
    trial.heals("mounted again", HEALING, |trial| mount(trial, &root))
}
