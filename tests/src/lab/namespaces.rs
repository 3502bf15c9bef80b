//! Commands in a cgroup namespace of their own.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use rustix::fs::{Mode, OFlags, open};
use rustix::thread::UnshareFlags;

use super::mounts::{Change, with_mounts};

/// Moves a command into a cgroup, and shows that cgroup as the root of a cgroup2 mounted at `root`.
pub fn in_cgroup_namespace(command: &mut Command, cgroup: &Path, root: &Path) -> Result<()> {
    let processes = CString::new(cgroup.join("cgroup.procs").as_os_str().as_bytes())?;
    let enter = move || {
        let file = open(&processes, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, b"0")?;
        // SAFETY: only the cgroup namespace is left behind, in a child with a single thread.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls alone.
    unsafe { command.pre_exec(enter) };
    // One place shows a file system once, whatever the root.
    let anew = vec![Change::without(root)?, Change::fresh("cgroup2", root, "")?];
    with_mounts(command, anew);
    Ok(())
}
