//! A file system that never answers, like a share whose server is gone: fuse(4) without a server.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::command::finish;
use super::mounts::{Change, in_mounts_of, make};

/// The device of fuse servers.
const DEVICE: &str = "/dev/fuse";

/// Whether the kernel has fuse, and this process may serve.
pub(super) fn is_possible() -> bool {
    device().is_ok()
}

fn device() -> Result<File> {
    let device = OpenOptions::new().read(true).write(true).open(DEVICE);
    device.with_context(|| format!("failed to open {DEVICE}"))
}

/// The server of one file system, who reads no request. Even the first, FUSE_INIT, stays without an
/// answer, so each call waits for as long as this value lives (`fuse_block_alloc`, fs/fuse/dev.c);
/// the drop fails the calls with ENOTCONN or ECONNABORTED. SIGKILL ends a caller at any time.
#[derive(Debug)]
pub struct SilentServer(File);

impl SilentServer {
    /// Begins to be silent.
    ///
    /// # Errors
    /// The kernel has no fuse, or this process may not serve.
    pub fn start() -> Result<Self> {
        device().map(Self)
    }

    /// The mount of the file system over a file or a folder, for one command: the command inherits
    /// the server's descriptor by fork(2), mounts, and closes the descriptor by execve(2).
    ///
    /// The options are those of Documentation/filesystems/fuse.rst; `rootmode` is octal.
    ///
    /// # Errors
    /// The place does not exist.
    pub fn over(&self, place: &Path) -> Result<Change> {
        let rootmode = match std::fs::metadata(place)?.is_dir() {
            true => "40755",
            false => "100644",
        };
        let descriptor = self.0.as_raw_fd();
        let options = format!("fd={descriptor},rootmode={rootmode},user_id=0,group_id=0");
        Change::fresh("fuse", place, &options)
    }

    /// Mounts the file system over a file or a folder, among the mounts of a process.
    ///
    /// # Errors
    /// The place does not exist, or the kernel refuses the mount.
    pub fn cover(&self, place: &Path, process: u32) -> Result<()> {
        let change = self.over(place)?;
        let mut command = Command::new("true");
        in_mounts_of(&mut command, process)?;
        make(&mut command, vec![change]);
        finish(command, "")?.ok().map(drop)
    }
}
