//! `down`: the only way to open.

use anyhow::Context as _;

use super::{Error, Instance, reserve};
use crate::{
    kernel::maps::Reserved,
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
    let nothing = Removed {
        was_pinned: false,
        notes: Vec::new(),
    };
    let pins = instance.pins();
    let going = pins.staging();
    let beside = [&going, &pins.rescue(), &pins.scratch()];
    let mut found = pins.exists()?;
    for directory in beside {
        found |= directory.exists()?;
    }
    if !found {
        // A `run` may hold guards whose pins are gone.
        if instance.is_followed() {
            instance.word()?.leave()?;
        }
        return Ok(nothing);
    }
    let lock = instance.lock()?;
    instance.recover()?;
    if !pins.exists()? {
        return Ok(nothing);
    }
    instance.owner(pins)?;
    pins.check()?;
    // `run` puts guards back that go without a word.
    instance.word()?.leave()?;
    let reserved = Reserved::of(pins)?;
    going
        .rename_from(pins)
        .and_then(|()| going.remove_links(None))
        .context("failed to take the guards off: run `enforcer down` again")?;
    let mut notes = Vec::new();
    let left = "the guards are off, but something is left: run `enforcer down` again";
    match reserved {
        // The pins alone tell the added ports, so the pins stay until the ports are given back.
        Some(ours) => reserve::release(&ours).context(left)?,
        None => notes.push(Note::new(
            NoteKind::ReservedPorts,
            "reserved ports were left as they are: pins of this layout do not tell which of them \
             enforcer added",
        )),
    }
    going.remove(None).context(left)?;
    lock.retire();
    Ok(Removed {
        was_pinned: true,
        notes,
    })
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
