//! `down`: the only way to open.

use anyhow::{Context as _, Result};

use super::{Place, reserve};
use crate::kernel::maps::Maps;

/// Takes every guard off, gives reserved ports back and removes the pin directory.
///
/// Returns whether anything was pinned, and what the operator should know.
///
/// # Errors
/// The pins are another namespace's, or something cannot be removed.
pub fn down(place: &Place) -> Result<(bool, Vec<String>)> {
    let mut notes = Vec::new();
    if !place.pins.exists()? && !place.pins.staging().exists()? {
        return Ok((false, notes));
    }
    let _lock = place.lock()?;
    let found = place.pins.exists()?;
    if found {
        match Maps::open(&place.pins) {
            Ok(maps) => {
                place.check_namespace(&maps)?;
                if let Err(error) = reserve::release(&maps) {
                    notes.push(format!("{error:#}"));
                }
            }
            // Pins of another version come off too; only their reserved ports cannot be known.
            Err(error) => {
                place.refuse_foreign(&place.pins)?;
                notes.push(format!("reserved ports were left as they are: {error:#}"));
            }
        }
        place
            .pins
            .remove()
            .context("failed to take the guards off")?;
    }
    place.clear_staging()?;
    Ok((found, notes))
}
