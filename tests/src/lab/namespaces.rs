//! Commands with mount and cgroup namespaces of their own.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::thread::UnshareFlags;

/// Shows a command an empty bpffs in place of a folder.
pub fn with_bpffs_over(command: &mut Command, folder: &Path) -> Result<()> {
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    let cover = move || {
        own_mounts(UnshareFlags::empty())?;
        mount("none", &folder, "bpf", MountFlags::empty(), None)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls alone.
    unsafe { command.pre_exec(cover) };
    Ok(())
}

/// Shows a command no cgroup2: the mount at `root` is gone.
pub fn without_cgroup2(command: &mut Command, root: &Path) -> Result<()> {
    let root = CString::new(root.as_os_str().as_bytes())?;
    let hide = move || {
        own_mounts(UnshareFlags::empty())?;
        unmount(&root, UnmountFlags::DETACH)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls alone.
    unsafe { command.pre_exec(hide) };
    Ok(())
}

/// Moves a command into a cgroup, and shows that cgroup as the root of a cgroup2 mounted at `root`.
pub fn in_cgroup_namespace(command: &mut Command, cgroup: &Path, root: &Path) -> Result<()> {
    let processes = CString::new(cgroup.join("cgroup.procs").as_os_str().as_bytes())?;
    let root = CString::new(root.as_os_str().as_bytes())?;
    let enter = move || {
        let file = open(&processes, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, b"0")?;
        own_mounts(UnshareFlags::NEWCGROUP)?;
        // One place shows a file system once, whatever the root.
        unmount(&root, UnmountFlags::DETACH)?;
        mount("none", &root, "cgroup2", MountFlags::empty(), None)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls alone.
    unsafe { command.pre_exec(enter) };
    Ok(())
}

fn own_mounts(more: UnshareFlags) -> io::Result<()> {
    // SAFETY: only namespaces are left behind, in a child with a single thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | more) }?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(mount_change("/", slave)?)
}
