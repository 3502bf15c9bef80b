//! `down`: the only way to open.

use anyhow::{Context as _, Result};

use super::{Instance, reserve};
use crate::kernel::maps::Reserved;

/// Takes every guard off, gives reserved ports back and removes the pin directory.
///
/// The directory gets its other name first: whatever has the name of pins is whole, and the next
/// command goes on where this one is cut short. Returns whether anything was pinned, and what the
/// operator should know.
///
/// # Errors
/// The pins are another namespace's, or something cannot be removed.
pub fn down(instance: &Instance) -> Result<(bool, Vec<String>)> {
    let mut notes = Vec::new();
    let going = instance.pins.staging();
    if !instance.pins.exists()? && !going.exists()? && !instance.pins.scratch().exists()? {
        return Ok((false, notes));
    }
    let _lock = instance.lock()?;
    instance.recover()?;
    if !instance.pins.exists()? {
        return Ok((false, notes));
    }
    instance.owner(&instance.pins)?;
    instance.pins.check()?;
    let reserved = Reserved::of(&instance.pins)?;
    going
        .rename_from(&instance.pins)
        .and_then(|()| going.remove_links())
        .context("failed to take the guards off: run `enforcer down` again")?;
    match reserved {
        // What was added is known from the pins alone: they stay until it is given back.
        Some(ours) => reserve::release(&ours)
            .context("the guards are off, but something is left: run `enforcer down` again")?,
        None => notes.push(
            "reserved ports were left as they are: pins of this layout do not say which are ours"
                .to_owned(),
        ),
    }
    going
        .remove()
        .context("the guards are off, but something is left: run `enforcer down` again")?;
    Ok((true, notes))
}
