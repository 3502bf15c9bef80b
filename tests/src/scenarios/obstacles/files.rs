//! Files of unusual kinds and owners.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A user without any right: `nobody`.
pub(super) const NOBODY: u32 = 65_534;

/// Bytes without a meaning.
pub(super) const GARBAGE: &[u8] = b"\x00\xff\xfe[services.\x1b]0;x\x07 = = ]]\n\x00\x00";

/// Makes a FIFO that nobody opens at the other end, in the place of any file.
pub(super) fn fifo(path: &Path) -> Result<()> {
    remove(path)?;
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0)
        .with_context(|| format!("failed to make a FIFO at {}", path.display()))
}

/// Removes a file, if there is one.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Gives a file to a user.
pub(super) fn give(path: &Path, user: u32) -> Result<()> {
    chown(path, Some(user), Some(user))
        .with_context(|| format!("failed to give away {}", path.display()))
}

/// Sets the mode.
pub(super) fn mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("failed to set the mode of {}", path.display()))
}
