//! A folder of the lab at /run, for single programs: sockets and records there are the machine's.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::UnshareFlags;

use super::Lab;

/// The folder at /run for the programs of a scenario.
pub struct PrivateRun(PathBuf);

impl PrivateRun {
    /// Makes the folder, empty.
    pub fn new(lab: &Lab) -> Result<Self> {
        let run = Self(lab.scratch().join("run"));
        std::fs::create_dir_all(&run.0)?;
        // Absent from the barest of guests.
        std::fs::create_dir_all("/var/run")?;
        Ok(run)
    }

    /// The path of the folder outside the programs.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Mounts the folder there for a single program.
    pub fn guide(&self, command: &mut Command) {
        let Ok(folder) = CString::new(self.0.as_os_str().as_bytes()) else {
            return;
        };
        let hide = move || {
            // SAFETY: only the mount namespace is left behind, in a child with a single thread.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
            let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            mount_change(c"/", slave)?;
            mount_bind(folder.as_c_str(), c"/var/run")?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes three system calls and allocates nothing.
        unsafe { command.pre_exec(hide) };
    }
}
