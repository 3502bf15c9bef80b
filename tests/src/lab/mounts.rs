//! Private mount namespaces for single programs.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};
use rustix::thread::UnshareFlags;

use super::command::{Daemon, eventually};
use super::enforcer::SETTLE;
use super::netns::Netns;

/// A change to the mounts of a program.
#[derive(Clone, Debug)]
pub enum Change {
    /// A fresh file system of this type, with these options.
    Fresh(CString, CString, CString),
    /// A file or folder at another place.
    Bind(CString, CString),
    /// A place that takes no write any more.
    ReadOnly(CString),
    /// A place without its file system.
    Without(CString),
}

impl Change {
    /// A file system of a type at a place, with options as for mount(8).
    pub fn fresh(kind: &str, at: &Path, options: &str) -> Result<Self> {
        Ok(Self::Fresh(text(kind)?, text(at)?, text(options)?))
    }

    /// A file or folder `from` at the place `at`.
    pub fn bind(from: &Path, at: &Path) -> Result<Self> {
        Ok(Self::Bind(text(from)?, text(at)?))
    }

    /// A place that takes no write.
    pub fn read_only(at: &Path) -> Result<Self> {
        Ok(Self::ReadOnly(text(at)?))
    }

    /// A place without its file system.
    pub fn without(at: &Path) -> Result<Self> {
        Ok(Self::Without(text(at)?))
    }

    fn make(&self) -> io::Result<()> {
        match self {
            Self::Fresh(kind, at, options) => {
                let (none, options) = (MountFlags::empty(), Some(options.as_c_str()));
                mount(
                    c"enforcer-lab",
                    at.as_c_str(),
                    kind.as_c_str(),
                    none,
                    options,
                )?;
            }
            Self::Bind(from, at) => mount_bind(from.as_c_str(), at.as_c_str())?,
            Self::ReadOnly(at) => {
                mount_bind(at.as_c_str(), at.as_c_str())?;
                let flags = MountFlags::BIND | MountFlags::RDONLY;
                mount_remount(at.as_c_str(), flags, c"")?;
            }
            Self::Without(at) => unmount(at.as_c_str(), UnmountFlags::DETACH)?,
        }
        Ok(())
    }
}

fn text(of: &(impl AsRef<OsStr> + ?Sized)) -> Result<CString> {
    CString::new(of.as_ref().as_bytes()).context("a place with a NUL")
}

/// Gives a command a mount namespace with these changes, in turn. Mounts of the machine appear
/// there too; none leaves.
pub fn with_mounts(command: &mut Command, changes: Vec<Change>) {
    let hide = move || {
        // SAFETY: only the mount namespace is left behind, in a child with a single thread.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change(c"/", slave)?;
        changes.iter().try_for_each(Change::make)
    };
    // SAFETY: between fork and exec the closure makes system calls with strings made before, and
    // allocates nothing.
    unsafe { command.pre_exec(hide) };
}

/// Makes changes, in turn, to the mounts that a command finds, whoever else has these mounts.
pub(super) fn make(command: &mut Command, changes: Vec<Change>) {
    let change = move || changes.iter().try_for_each(Change::make);
    // SAFETY: between fork and exec the closure makes system calls with strings made before, and
    // allocates nothing.
    unsafe { command.pre_exec(change) };
}

/// Runs a command in the mount namespace of a process.
pub fn in_mounts_of(command: &mut Command, process: u32) -> Result<()> {
    let namespace = File::open(format!("/proc/{process}/ns/mnt"))
        .context("failed to open a mount namespace")?;
    let enter = move || {
        // SAFETY: setns takes a descriptor that the closure owns; the child has a single thread.
        match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(enter) };
    Ok(())
}

/// Wraps a program for a namespace in a small machine: a first process and mounts of its own, which
/// the program takes for the machine's. The shell runs `prelude` there first. The machine ends with
/// the program, or as many seconds later as the environment variable LINGER says.
pub fn in_a_machine(namespace: &Netns, prelude: &str, program: &Command) -> Command {
    let mut command = namespace.command("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    // The shell stays, as the first process gets no signal that it does not ask for.
    let linger = "test -z \"$LINGER\" || sleep \"$LINGER\"";
    // A machine has a /run/enforcer of its own.
    let run = "mkdir -p /run/enforcer; mount -t tmpfs -o mode=700 tmpfs /run/enforcer";
    let script = format!("{run}; {prelude}\n\"$@\" & wait $!; code=$?; {linger}; exit $code");
    command.args(["sh", "-c", &script, "sh"]);
    command.arg(program.get_program()).args(program.get_args());
    command.env("NO_COLOR", "1");
    command
}

/// The first process of a small machine.
pub fn first_process(machine: &Daemon) -> Result<u32> {
    let first = eventually(SETTLE, || first_child(machine.id()));
    first.context("the machine has no first process")
}

/// The first child of a process, if there is one.
pub fn first_child(process: u32) -> Option<u32> {
    let children = format!("/proc/{process}/task/{process}/children");
    let listed = std::fs::read_to_string(children).ok()?;
    listed.split_whitespace().next()?.parse().ok()
}

/// A program for a namespace, in the small machine of a first process.
pub fn inside_machine(namespace: &Netns, first: u32, program: &Command) -> Command {
    let mut command = namespace.command("nsenter");
    command.args(["--mount", "--pid", "--target", &first.to_string(), "--"]);
    command.arg(program.get_program()).args(program.get_args());
    command.env("NO_COLOR", "1");
    command
}

/// The child of a process with this name.
pub fn child_of(parent: u32, name: &str) -> Result<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .context("the parent is gone")?;
    let is_named = |id: &&str| {
        let comm = std::fs::read_to_string(format!("/proc/{id}/comm"));
        comm.is_ok_and(|comm| comm.starts_with(name))
    };
    let found = listed.split_whitespace().find(is_named);
    let id = found.with_context(|| format!("process {parent} has no child {name}"))?;
    id.parse().context("a process id")
}
