//! The kernel's data about a process.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::lab::command::Daemon;

/// Upper bound of the resident memory of `run`, in KiB.
pub(super) const MOST_RESIDENT: u64 = 15_000;

/// The resident memory, in KiB.
pub(super) fn resident(daemon: &Daemon) -> Result<u64> {
    field(
        Path::new(&format!("/proc/{}/status", daemon.id())),
        "VmRSS:",
    )
}

/// The process's own part of the resident memory, in KiB: not the pages of the file, which the
/// kernel brings in and takes away at will.
pub(in crate::scenarios) fn anonymous(daemon: &Daemon) -> Result<u64> {
    field(
        Path::new(&format!("/proc/{}/status", daemon.id())),
        "RssAnon:",
    )
}

/// The highest resident memory ever, in KiB.
pub(in crate::scenarios) fn most_resident(daemon: &Daemon) -> Result<u64> {
    field(
        Path::new(&format!("/proc/{}/status", daemon.id())),
        "VmHWM:",
    )
}

/// Number of open descriptors.
pub(in crate::scenarios) fn descriptors(daemon: &Daemon) -> Result<usize> {
    let folder = format!("/proc/{}/fd", daemon.id());
    Ok(fs::read_dir(&folder).context(folder)?.count())
}

/// Number of times the threads have gone to sleep by themselves, and so were woken up.
pub(super) fn sleeps(daemon: &Daemon) -> Result<u64> {
    let tasks = format!("/proc/{}/task", daemon.id());
    let tasks = fs::read_dir(&tasks).context(tasks)?;
    tasks
        .map(|task| field(&task?.path().join("status"), "voluntary_ctxt_switches:"))
        .sum()
}

fn field(file: &Path, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("no {}", file.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .with_context(|| format!("no {name} in {}", file.display()))?
        .parse()
        .context("a number")
}
