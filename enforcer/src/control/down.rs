//! `down`: the only way to open.

use anyhow::{Context as _, Result};

use super::{Error, Instance, reserve};
use crate::{
    kernel::{
        maps::Reserved,
        mounts::is_bpffs,
        pins::{Content, PinDir},
        strays::Stray,
    },
    note::{Note, NoteKind},
};

/// The result of `down`.
#[derive(Clone, Debug)]
pub struct Removed {
    /// Whether anything was pinned.
    pub was_pinned: bool,
    /// Notes for the operator.
    pub notes: Vec<Note>,
}

/// Takes every guard off, gives reserved ports back and removes the pin directory.
///
/// The directory is renamed first: a directory with the name of pins is always whole, and the next
/// command continues an interrupted removal.
///
/// # Errors
/// The pins are another namespace's, or a pin cannot be removed.
pub fn down(instance: &Instance) -> Result<Removed, Error> {
    let pins = instance.pins();
    let mut removed = Removed {
        was_pinned: false,
        notes: Vec::new(),
    };
    let mut places = instance.places_beside()?;
    places.extend([pins.clone(), pins.scratch()]);
    let is_free = |place: &PinDir| matches!(place.content(), Ok(Content::Nothing));
    if places.iter().all(is_free) {
        // A `run` may hold guards whose pins are gone.
        if instance.is_followed() {
            instance.word()?.leave()?;
        }
        return Ok(removed);
    }
    // Before anything is moved: whoever says `down` needs no room.
    refuse_others(pins)?;
    let lock = instance.lock()?;
    instance.refuse_others_beside()?;
    removed.notes = instance.recover()?;
    if !pins.exists()? {
        return Ok(removed);
    }
    let going = instance.staging(false)?;
    instance.owner(pins)?;
    // `run` puts guards back that go without a word.
    if let Err(error) = instance.word()?.leave() {
        let text = format!(
            "{error:#}: an `enforcer run` that lives puts the guards back, so stop `run` first"
        );
        removed.notes.push(Note::new(NoteKind::Obstacle, text));
    }
    let reserved = Reserved::of(pins)?;
    going
        .rename_from(pins)
        .and_then(|notes| {
            going
                .remove_links(None)
                .map(|()| removed.notes.extend(notes))
        })
        .context("failed to take the guards off: run `enforcer down` again")?;
    let left = "the guards are off, but something is left: run `enforcer down` again";
    match reserved {
        // The pins alone tell the added ports, so the pins stay until the ports are given back.
        Some(ours) => reserve::release(&ours).context(left)?,
        None => removed.notes.push(Note::new(
            NoteKind::ReservedPorts,
            "reserved ports were left as they are: pins of this layout do not tell which of them \
             enforcer added",
        )),
    }
    removed.notes.extend(going.remove(None).context(left)?);
    lock.retire();
    removed.was_pinned = true;
    Ok(removed)
}

/// Names the guards of this network namespace that no pin reaches, and with `all` takes them off.
/// Returns the guards that remain, in words. Without CAP_SYS_ADMIN, nobody can tell.
///
/// # Errors
/// The pins cannot be read, or the kernel's refusal.
pub fn strays(instance: &Instance, all: bool) -> Result<Strays> {
    let found = instance.strays()?;
    let words: Vec<String> = found.iter().map(ToString::to_string).collect();
    if all {
        found.iter().try_for_each(Stray::detach)?;
    }
    Ok(match all {
        true => Strays {
            detached: words,
            left: Vec::new(),
        },
        false => Strays {
            detached: Vec::new(),
            left: words,
        },
    })
}

/// Guards that no pin reaches, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// The guards that were taken off.
    pub detached: Vec<String>,
    /// The guards that remain.
    pub left: Vec<String>,
}

/// Refuses a folder of root's with other files than enforcer's, alone or beside pins: a wrong
/// `--pin-dir`, or files that root put among the pins. What a stranger made is moved aside.
fn refuse_others(pins: &PinDir) -> Result<(), Error> {
    match pins.content()? {
        Content::Foreign(foreign) if foreign.owner != 0 && is_bpffs(pins.parent())? => Ok(()),
        _ => Ok(pins.check()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_removed_where_nothing_is_pinned() {
        let folder = tempfile::tempdir().unwrap();
        let instance = Instance::new(&folder.path().join("pins"), None).unwrap();
        let removed = down(&instance).unwrap();
        assert!(!removed.was_pinned);
        assert_eq!(removed.notes, []);
    }

    #[test]
    fn a_folder_of_other_files_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let instance = Instance::new(&folder.path().join("pins"), None).unwrap();
        std::fs::create_dir(instance.pin_dir()).unwrap();
        let file = instance.pin_dir().join("mine");
        std::fs::write(&file, "").unwrap();
        assert!(down(&instance).is_err());
        assert!(file.exists());
    }
}
