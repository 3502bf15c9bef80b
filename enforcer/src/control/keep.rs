//! `run` keeps the pins: pins that another program removed are pinned again.

use anyhow::{Context as _, anyhow};

use super::{Error, Instance, remount};
use crate::{
    kernel::{held::Held, pins::PinDir},
    note::{Note, NoteKind},
};

/// The state of the pins after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The pins are whole; with notes of a repair, if there was one.
    Whole(Vec<Note>),
    /// `down` took the guards off.
    Down,
}

/// Looks at the pins, and pins lost objects again. `held` follows the pins.
///
/// # Errors
/// The pins cannot be put back; the guards hold by the descriptors of this process.
pub(crate) fn keep(instance: &Instance, held: &mut Held) -> Result<Kept, Error> {
    let pins = instance.pins();
    // The guards of this namespace hold by their descriptors meanwhile.
    if !held.is_of(pins) {
        instance.refuse_others()?;
    }
    if is_whole(held, pins)? {
        held.refresh(pins)?;
        forget_word(instance, held)?;
        return Ok(Kept::Whole(Vec::new()));
    }
    // Another command may be at work.
    let lock = instance.lock()?;
    let mut notes = Vec::new();
    if !held.is_of(pins) {
        instance.refuse_others()?;
    }
    let number = if is_whole(held, pins)? {
        0
    } else if held.is_of(pins) {
        held.put_back(pins)?
    } else {
        let word = instance.word()?;
        if !pins.exists()? && word.is_left() {
            word.take_back();
            lock.retire();
            return Ok(Kept::Down);
        }
        put_back_all(instance, held, &mut notes)?
    };
    held.refresh(pins)?;
    if number > 0 {
        let text = format!(
            "{number} pins were removed by another program than `enforcer down`, and are pinned \
             again; the guards held in the meantime"
        );
        notes.push(Note::new(NoteKind::PinsRestored, text));
    }
    Ok(Kept::Whole(notes))
}

/// Takes back the word of a `down` that ended before the guards went: pins that vanish later were
/// removed by another program.
fn forget_word(instance: &Instance, held: &Held) -> Result<(), Error> {
    let word = instance.word()?;
    if !word.is_left() {
        return Ok(());
    }
    // A `down` at work holds the lock.
    if let Ok(_lock) = instance.lock()
        && is_whole(held, instance.pins())?
    {
        word.take_back();
    }
    Ok(())
}

/// Whether a directory holds the whole set, or the whole set of another command.
fn is_whole(held: &Held, pins: &PinDir) -> Result<bool, Error> {
    Ok(match held.is_of(pins) {
        true => held.missing(pins)?.is_empty(),
        // The first look finds pins of any layout.
        false if held.is_empty() => pins.exists()?,
        false => {
            pins.exists()?
                && pins.is_roots()?
                && pins.has_all_maps()?
                && !held.is_newer_than(pins)?
        }
    })
}

/// The words of pins that cannot be put back.
const GUARDS_HOLD: &str = "the pins are gone without a word of `enforcer down`, and cannot be put \
                           back: the guards hold while this process lives";
/// The words of pins that vanished before this process had a descriptor.
const GUARDS_ARE_GONE: &str = "the pins are gone without a word of `enforcer down`, and the guards \
                               with the pins: start `enforcer run` again";

/// Makes the directory again, and pins every object.
fn put_back_all(
    instance: &Instance,
    held: &mut Held,
    notes: &mut Vec<Note>,
) -> Result<usize, Error> {
    let pins = instance.pins();
    let what = match held.is_empty() {
        false => GUARDS_HOLD,
        true => GUARDS_ARE_GONE,
    };
    remount::ensure_bpffs(pins.parent()).context(what)?;
    notes.extend(instance.recover()?);
    if is_whole(held, pins)? {
        return Ok(0);
    }
    if held.is_empty() {
        return Err(anyhow!("no descriptor of a pin is left")
            .context(what)
            .into());
    }
    let staging = instance.staging(false)?;
    staging.create().context(what)?;
    // Pins from before an unmounted file system change places with the pins in force.
    let number = held
        .put_back(&staging)
        .and_then(|number| pins.replace_with(&staging).map(|()| number))
        .context(what)?;
    held.moved_to(pins)?;
    notes.extend(
        staging
            .remove(Some(pins))
            .context("the pins are put back, but older pins beside them cannot be removed")?,
    );
    Ok(number)
}
