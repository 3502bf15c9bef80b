//! The file with a guest's initramfs.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    os::fd::AsRawFd as _,
    path::PathBuf,
};

use anyhow::Result;

/// Initramfs in an unnamed file, gone with this process in any case.
pub(crate) struct Initramfs {
    file: File,
    size: u64,
}

impl Initramfs {
    /// Joins archives; the kernel unpacks one after the other.
    pub(crate) fn new(archives: &[&[u8]]) -> Result<Self> {
        let write = || {
            let mut file = tempfile::tempfile()?;
            for archive in archives {
                file.write_all(archive)?;
            }
            let size = file.stream_position()?;
            Ok(Self { file, size })
        };
        write().map_err(|error: std::io::Error| {
            let dir = std::env::temp_dir();
            anyhow::Error::new(error)
                .context(format!("failed to write an initramfs in {}", dir.display()))
        })
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns a path by which a process of the same user can open the file during the life of this
    /// value.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }
}
