//! Programs loaded ahead of their use: the verifier takes longer than a new interface may wait.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::{Context as _, Result};

use super::Instance;
use crate::kernel::{
    load::{Options, Programs},
    sys,
};

/// The result of a preload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preloaded {
    /// Every program of a wire guard is pinned.
    All,
    /// The pins were taken off or replaced in the meantime.
    OtherPins,
}

/// Loads and pins the programs of wire guards without a use so far. Blocks
/// the thread for seconds on a small machine; the lock of writers is held for a moment only.
///
/// # Errors
/// The kernel refuses a program.
pub fn preload(instance: &Instance) -> Result<Preloaded> {
    let inode = || fs::metadata(instance.pin_dir()).map(|pins| pins.ino()).ok();
    let before = inode();
    let Some(state) = instance.maps()?.map(|maps| maps.state()) else {
        return Ok(Preloaded::OtherPins);
    };
    let mut programs = Programs::of(instance.pins(), Options::of(state));
    let loaded = programs.load_all_wire()?;
    let prepared = {
        let _lock = instance.lock()?;
        // The loaded programs read the maps of the pins from before.
        if before.is_none() || inode() != before {
            return Ok(Preloaded::OtherPins);
        }
        programs
            .pin_wire(&loaded)
            .context("failed to keep programs ready")?;
        Preloaded::All
    };
    drop(programs);
    sys::trim_heap();
    Ok(prepared)
}
