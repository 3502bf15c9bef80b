//! The lock of writers, in /run/enforcer.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::bpffs::{machine, mounted};
use super::cell::Obstacle::Lock;
use super::cell::{Cell, State};
use super::files::{NOBODY, give, mode};
use super::trial::{HEALING, Trial};
use crate::lab::command::finish;
use crate::lab::mounts::{Change, with_mounts};
use crate::scenario::Rig;

const NONE: Duration = Duration::ZERO;
/// The time limit of a lock.
const LIMIT: Duration = Duration::from_secs(1);
const RUN: &str = "/run";

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        Lock,
        State::Absent,
        "lock_absent",
        "a read-only /run at boot",
        absent,
    ),
    Cell::tried(
        Lock,
        State::Hangs,
        "lock_hangs",
        "held for ever by root at boot",
        hangs,
    ),
    Cell::tried(
        Lock,
        State::Full,
        "lock_full",
        "no inode left in /run at boot",
        full,
    ),
    Cell::tried(
        Lock,
        State::Foreign,
        "lock_of_a_user",
        "a user locks the parent of the pins, 0755, at boot",
        |trial| of_a_user(trial, "755"),
    ),
    Cell::tried(
        Lock,
        State::Foreign,
        "lock_of_a_user_1777",
        "a user locks the parent of the pins, 1777, at boot",
        |trial| of_a_user(trial, "1777"),
    )
    .in_guests(),
    Cell::tried(
        Lock,
        State::Foreign,
        "lock_folder_of_a_user",
        "/run/enforcer is a user's, 0777, at boot",
        folder_of_a_user,
    ),
    Cell::tried(
        Lock,
        State::Garbage,
        "lock_garbage",
        "/run/enforcer is a file at boot",
        garbage,
    ),
    Cell::tried(
        Lock,
        State::Vanishes,
        "lock_vanishes",
        "/run/enforcer is removed",
        vanishes,
    ),
    Cell::tried(
        Lock,
        State::Returns,
        "lock_returns",
        "removed, and made again",
        returns,
    ),
];

/// A folder of a trial's own at /run. Returns the folder.
pub(super) fn own_run(rig: &Rig<'_>) -> Result<PathBuf> {
    let run = rig.lab.scratch().join("run");
    fs::create_dir(&run)?;
    mode(&run, 0o755)?;
    Ok(run)
}

fn boot_with(trial: &mut Trial<'_>, limit: Duration, run: &Path, more: &[Change]) -> Result<()> {
    let mut changes = vec![Change::bind(run, Path::new(RUN))?];
    changes.extend_from_slice(more);
    trial.boot(limit, |command| {
        with_mounts(command, changes);
        Ok(())
    })?;
    trial.share_mounts()
}

fn absent(trial: &mut Trial<'_>) -> Result<()> {
    let run = own_run(trial.rig)?;
    boot_with(trial, LIMIT, &run, &[Change::read_only(Path::new(RUN))?])?;
    trial.says(&["/run/enforcer", "lock"])?;
    trial.guards_a_newcomer()?;
    trial.heals("/run takes writes", HEALING, |trial| {
        trial.tool("mount", &["-o", "remount,bind,rw", RUN])
    })
}

fn full(trial: &mut Trial<'_>) -> Result<()> {
    let run = own_run(trial.rig)?;
    let small = Change::fresh("tmpfs", Path::new(RUN), "nr_inodes=1")?;
    boot_with(trial, LIMIT, &run, &[small])?;
    trial.says(&["/run/enforcer", "lock", "No space left"])?;
    trial.guards_a_newcomer()?;
    trial.heals("room in /run", HEALING, |trial| {
        trial.tool("mount", &["-o", "remount,nr_inodes=100", RUN])
    })
}

/// Holds every lock that `enforcer` could take: the files that the command `make` leaves in a folder
/// at /run, and both folders. The commands `undo` run before the locks are taken.
pub(super) fn hold_all(rig: &Rig<'_>, run: &Path, make: &str, undo: &[&str]) -> Result<Vec<File>> {
    let folder = run.join("enforcer");
    let command = |word: &str| -> Result<()> {
        let mut command = rig.enforcer.command(&[word])?;
        with_mounts(&mut command, vec![Change::bind(run, Path::new(RUN))?]);
        finish(command, "")?.ok().map(drop)
    };
    command(make)?;
    let mut paths = vec![folder.clone(), rig.lab.pin_dir().with_file_name("")];
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            paths.push(entry.path());
        }
    }
    ensure!(paths.len() > 2, "`{make}` has made no lock");
    undo.iter().try_for_each(|word| command(word))?;
    paths.iter().map(|path| hold(path)).collect()
}

fn hold(path: &Path) -> Result<File> {
    let file = match path.is_dir() {
        true => File::open(path),
        false => File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path),
    };
    let file = file.with_context(|| format!("failed to open {}", path.display()))?;
    file.lock()
        .with_context(|| format!("failed to lock {}", path.display()))?;
    Ok(file)
}

fn hangs(trial: &mut Trial<'_>) -> Result<()> {
    let run = own_run(trial.rig)?;
    let mut locks = hold_all(trial.rig, &run, "up", &["down"])?;
    boot_with(trial, LIMIT, &run, &[])?;
    trial.says(&["the lock of"])?;
    trial.heals("the holder lets go", HEALING, |_| {
        locks.clear();
        Ok(())
    })?;
    trial.guards_a_newcomer()
}

/// Reading the folder is enough for a lock on the folder.
fn of_a_user(trial: &mut Trial<'_>, parent_mode: &str) -> Result<()> {
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups flock -x /sys/fs/bpf sleep 60";
    let locked = "while flock -n /sys/fs/bpf true; do sleep 0.02; done";
    let command = machine(
        trial,
        &format!("{}; {user} & {locked}", mounted(parent_mode)),
    )?;
    trial.boot_command(LIMIT, command)?;
    trial.enter_machine()?;
    let free = trial.tool("flock", &["-n", "/sys/fs/bpf", "true"]);
    ensure!(free.is_err(), "the control: the user holds no lock");
    match parent_mode {
        "755" => trial.needs_no_word("nothing: the lock of `enforcer` lies elsewhere"),
        _ => trial.says(&["chmod"])?,
    }
    trial.guards_a_newcomer()?;
    trial.heals("chmod 700", HEALING, |trial| {
        trial.tool("chmod", &["700", "/sys/fs/bpf"])
    })?;
    trial.obeys()
}

fn folder_of_a_user(trial: &mut Trial<'_>) -> Result<()> {
    let run = own_run(trial.rig)?;
    let folder = run.join("enforcer");
    fs::create_dir(&folder)?;
    mode(&folder, 0o777)?;
    give(&folder, NOBODY)?;
    boot_with(trial, LIMIT, &run, &[])?;
    trial.says(&["/run/enforcer", "lock"])?;
    trial.guards_a_newcomer()?;
    trial.heals("chown root, chmod 700", HEALING, |_| {
        give(&folder, 0)?;
        mode(&folder, 0o700)
    })
}

fn garbage(trial: &mut Trial<'_>) -> Result<()> {
    let run = own_run(trial.rig)?;
    let file = run.join("enforcer");
    fs::write(&file, "no folder")?;
    boot_with(trial, LIMIT, &run, &[])?;
    trial.says(&["/run/enforcer", "lock"])?;
    trial.guards_a_newcomer()?;
    trial.heals("the file is removed", HEALING, |_| {
        Ok(fs::remove_file(&file)?)
    })
}

/// Lives with a folder, which goes. Returns the folder.
fn gone(trial: &mut Trial<'_>) -> Result<PathBuf> {
    let run = own_run(trial.rig)?;
    let change = Change::bind(&run, Path::new(RUN))?;
    trial.live(|command| {
        with_mounts(command, vec![change]);
        Ok(())
    })?;
    trial.share_mounts()?;
    let folder = run.join("enforcer");
    fs::remove_dir_all(&folder).context("there was no /run/enforcer")?;
    Ok(folder)
}

fn vanishes(trial: &mut Trial<'_>) -> Result<()> {
    gone(trial)?;
    trial.needs_no_word("nothing: the next lock makes the folder");
    trial.guards_a_newcomer()?;
    trial.applies_an_edit()?;
    trial.heals("`run` itself", HEALING, |_| Ok(()))
}

fn returns(trial: &mut Trial<'_>) -> Result<()> {
    let folder = gone(trial)?;
    trial.stays_closed(NONE)?;
    let _ = fs::create_dir(&folder);
    mode(&folder, 0o700)?;
    trial.needs_no_word("nothing");
    trial.guards_a_newcomer()?;
    trial.applies_an_edit()?;
    trial.heals("made again", HEALING, |_| Ok(()))
}
