//! Files in the way: pipes, full disks, foreign folders and locks, a missing cgroup2.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{BPFFS, FRAGMENTS, PINS, Undo, as_nobody, drop_in, plug, registry, start_behind};
use crate::lab::command::{Daemon, eventually};
use crate::system::host::Host;
use crate::system::scenario::SystemScenario;

/// Limit for the files of the registry.
const FILES: Duration = Duration::from_secs(5);
/// Limit for a lock.
const LOCK: Duration = Duration::from_secs(1);

/// A disk of four kilobytes, all full, for the journal of a unit.
const DISK: &str = "/run/full";
const LOG: &str = "/run/full/log";

pub(super) fn scenarios() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "obstacles::none",
            body: |host| start_behind(host, Duration::ZERO, |_, _| Ok(())),
        },
        SystemScenario {
            name: "obstacles::a_dangling_fragment_folder",
            body: |host| start_behind(host, Duration::ZERO, dangling),
        },
        SystemScenario {
            name: "obstacles::stderr_on_a_full_disk",
            body: |host| start_behind(host, Duration::ZERO, full_disk),
        },
        SystemScenario {
            name: "obstacles::no_cgroup2",
            body: |host| start_behind(host, Duration::ZERO, no_cgroup2),
        },
        SystemScenario {
            name: "obstacles::a_pipe_among_the_fragments",
            body: |host| start_behind(host, FILES, pipe),
        },
        SystemScenario {
            name: "obstacles::a_squatted_pin_directory",
            body: |host| start_behind(host, Duration::ZERO, squatted),
        },
        SystemScenario {
            name: "obstacles::a_lock_of_a_stranger",
            body: |host| start_behind(host, LOCK, locked),
        },
        SystemScenario {
            name: "obstacles::no_bpffs",
            body: |host| start_behind(host, Duration::ZERO, no_bpffs),
        },
        SystemScenario {
            name: "obstacles::all_of_the_files_at_once",
            body: |host| {
                start_behind(host, FILES + LOCK, |host, undo| {
                    full_disk(host, undo)?;
                    pipe(host, undo)?;
                    squatted(host, undo)?;
                    locked(host, undo)
                })
            },
        },
    ]
}

fn dangling(_: &Host, _: &mut Undo) -> Result<()> {
    registry("")?;
    Ok(std::os::unix::fs::symlink("/nonexistent", FRAGMENTS)?)
}

/// Both outputs of the unit end on a full disk, and a bad registry gives cause for words.
fn full_disk(host: &Host, undo: &mut Undo) -> Result<()> {
    fill_disk()?;
    undo.later(|| {
        unmount(DISK, UnmountFlags::DETACH).ok();
    });
    fs::create_dir_all("/etc/enforcer")?;
    fs::write(super::REGISTRY, "[services.bad]\nports = [0]\n")?;
    drop_in(
        host,
        &format!("[Service]\nStandardOutput=append:{LOG}\nStandardError=append:{LOG}\n"),
    )
}

fn fill_disk() -> Result<()> {
    fs::create_dir_all(DISK)?;
    mount("full", DISK, "tmpfs", MountFlags::empty(), Some(c"size=4k"))
        .context("failed to mount a small disk")?;
    let mut log = fs::File::create(LOG)?;
    while log.write_all(&[b'.'; 512]).is_ok() {}
    ensure!(log.write_all(b"one more").is_err(), "{DISK} is not full");
    Ok(())
}

/// The real unit's settings, but for the mount namespace: systemd needs its own cgroup2.
fn no_cgroup2(host: &Host, _: &mut Undo) -> Result<()> {
    let enforcer = host.enforcer_path().display();
    drop_in(
        host,
        &format!(
            "[Service]\nExecStart=\nExecStart=+/usr/bin/unshare --mount /bin/sh -c \
             'umount --lazy /sys/fs/cgroup && exec {enforcer} run'\n"
        ),
    )?;
    // An interface that comes up later has no wire guard for a moment, and the socket guard is
    // missing: docs/failure-modes.md.
    plug(host)
}

fn pipe(_: &Host, _: &mut Undo) -> Result<()> {
    fs::create_dir_all(FRAGMENTS)?;
    make_pipe()
}

fn make_pipe() -> Result<()> {
    let path = Path::new(FRAGMENTS).join("x.toml");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &path, FileType::Fifo, mode, 0).context("failed to make a pipe")
}

fn squatted(host: &Host, undo: &mut Undo) -> Result<()> {
    open_parent(undo)?;
    let folder = format!("{PINS}/a");
    let ended = as_nobody(host, &["mkdir", "-p", &folder])?.expect_end(Duration::from_secs(20))?;
    ensure!(ended.success(), "a user could not make {folder}");
    undo.later(|| {
        fs::remove_dir_all(PINS).ok();
        sweep_aside();
    });
    Ok(())
}

/// Removes the folders that a start moved aside.
fn sweep_aside() {
    let entries = fs::read_dir(BPFFS).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with("enforcer") {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// The file system of the pins is as `mount -t bpf` makes one.
fn open_parent(undo: &mut Undo) -> Result<()> {
    fs::set_permissions(BPFFS, Permissions::from_mode(0o1777))?;
    undo.later(|| {
        fs::set_permissions(BPFFS, Permissions::from_mode(0o700)).ok();
    });
    Ok(())
}

fn locked(host: &Host, undo: &mut Undo) -> Result<()> {
    open_parent(undo)?;
    let holder = hold_parent(host)?;
    undo.keep(holder);
    Ok(())
}

/// A user holds a lock on the parent of the pins.
fn hold_parent(host: &Host) -> Result<Daemon> {
    let holder = as_nobody(host, &["flock", "--exclusive", BPFFS, "sleep", "600"])?;
    let is_held = || {
        let file = fs::File::open(BPFFS).ok()?;
        file.try_lock().is_err().then_some(())
    };
    eventually(Duration::from_secs(20), is_held).context("the lock was not taken")?;
    Ok(holder)
}

fn no_bpffs(_: &Host, undo: &mut Undo) -> Result<()> {
    unmount(BPFFS, UnmountFlags::DETACH).context("failed to unmount the bpffs")?;
    undo.later(|| {
        if fs::metadata(BPFFS).is_ok_and(|meta| meta.permissions().mode() & 0o777 != 0o700) {
            mount("bpf", BPFFS, "bpf", MountFlags::empty(), Some(c"mode=700")).ok();
        }
    });
    Ok(())
}

/// Puts the obstacles of a boot in place, before the unit starts; the drop-in is part of the disk.
pub(in crate::system) fn obstruct(host: &Host) -> Result<Daemon> {
    fill_disk()?;
    fs::create_dir_all(FRAGMENTS)?;
    make_pipe()?;
    // Kept: the guest ends with the boot.
    let mut undo = Undo::default();
    squatted(host, &mut undo)?;
    std::mem::forget(undo);
    hold_parent(host)
}
