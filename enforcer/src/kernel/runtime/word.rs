//! The word of `down`.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use super::{file_of, make_folder};
use crate::{
    kernel::{pins::PinDir, sys},
    printable::decode_path,
};

/// The word of `down` for a pin directory of this network namespace.
#[derive(Debug)]
pub(crate) struct Word(PathBuf);

impl Word {
    /// The word of a pin directory: `/run/enforcer/COOKIE-NAME.down`.
    ///
    /// # Errors
    /// The kernel does not tell the cookie.
    pub(crate) fn of(pins: &PinDir) -> Result<Self> {
        let cookie = sys::netns_cookie()?.to_string();
        Ok(Self(file_of(pins, &cookie, ".down")))
    }

    /// Leaves the word.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn leave(&self) -> Result<()> {
        make_folder()?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.0);
        file.map(drop).with_context(|| {
            format!(
                "failed to leave word for `enforcer run` in {}",
                decode_path(&self.0)
            )
        })
    }

    /// Whether `down` has left its word.
    pub(crate) fn is_left(&self) -> bool {
        fs::symlink_metadata(&self.0).is_ok()
    }

    /// Takes the word back: guards are wanted again, or `run` has read the word.
    pub(crate) fn take_back(&self) {
        fs::remove_file(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_left_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let word = Word(folder.path().join("1-enforcer.down"));
        assert!(!word.is_left());
        fs::write(&word.0, "").unwrap();
        assert!(word.is_left());
        word.take_back();
        word.take_back();
        assert!(!word.is_left());
    }
}
