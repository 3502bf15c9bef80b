//! Programs that are not needed yet, loaded before they are: the verifier takes longer than an
//! interface that comes up may wait.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::{Context as _, Result};

use super::Place;
use crate::kernel::{
    load::{Options, Programs},
    sys,
};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// Every program that an interface may ask for is pinned.
    All,
    /// The pins were taken off or replaced in the meantime.
    OtherPins,
}

/// Loads the programs of wire guards that no interface has needed so far, and pins them. Blocks
/// the thread for seconds on a small machine; the lock of writers is held for a moment only.
///
/// # Errors
/// The kernel refuses a program.
pub fn prepare(place: &Place) -> Result<Prepared> {
    let inode = || fs::metadata(place.pin_dir()).map(|pins| pins.ino()).ok();
    let before = inode();
    let Some(state) = place.maps()?.map(|maps| maps.state()) else {
        return Ok(Prepared::OtherPins);
    };
    let mut programs = Programs::of(&place.pins, Options::of(state));
    let loaded = programs.load_all_wire()?;
    let prepared = {
        let _lock = place.lock()?;
        // What was loaded reads the maps that were pinned then.
        if before.is_none() || inode() != before {
            return Ok(Prepared::OtherPins);
        }
        programs
            .pin_wire(&loaded)
            .context("failed to keep programs ready")?;
        Prepared::All
    };
    drop(programs);
    sys::give_memory_back();
    Ok(prepared)
}
