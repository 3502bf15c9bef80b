//! The owner of pins, and the ways from what an earlier command left to a set in use.

use std::{iter, time::Duration};

use anyhow::{Context as _, Result, anyhow};

use super::Instance;
use crate::{
    control::Error,
    kernel::{
        maps::{self, Maps, OpenError, OtherLayout},
        namespace,
        pins::{Content, PinDir},
        runtime::Lock,
        strays::{self, Stray},
        sys,
    },
    note::{Note, NoteKind},
    printable::decode_path,
};

/// The time that a command at work may take from the attachment of a guard to its pin.
const AT_WORK: Duration = Duration::from_millis(200);
/// The words of a rest that stays in the way.
const CLEAN_UP: &str = "failed to clean up after an interrupted command";

impl Instance {
    /// Finds the attached guards of this network namespace that no pin reaches, here or beside;
    /// none without CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// The pins cannot be read, or the kernel's refusal.
    pub(crate) fn strays(&self) -> Result<Vec<Stray>> {
        let find = || {
            let beside = self.places_beside()?;
            let places: Vec<&PinDir> = iter::once(&self.pins).chain(&beside).collect();
            strays::find(sys::netns_cookie()?, &places)
        };
        let first = find()?;
        if first.is_empty() {
            return Ok(first);
        }
        // A command at work pins a guard a moment after its attachment, and renames directories.
        std::thread::sleep(AT_WORK);
        let mut second = find()?;
        second.retain(|stray| first.iter().any(|earlier| earlier.id() == stray.id()));
        Ok(second)
    }

    /// The pinned maps, if a new set of pins can use them; else the reason why not.
    ///
    /// # Errors
    /// The maps guard another or an unknown namespace.
    pub(in crate::control) fn adoptable_maps(&self) -> Result<Adoptable, Error> {
        let beside = match self.pins.content()? {
            Content::Pins(beside) => beside,
            Content::Nothing | Content::Empty | Content::Foreign(_) => {
                return Ok(Adoptable::Nothing);
            }
        };
        let why = match Maps::open(&self.pins) {
            // An interrupted `up` may have left maps without a policy.
            Ok(maps) if maps.state().generation == 0 => {
                self.are_ours_or_of_nobody(&maps)?;
                return Ok(Adoptable::Nothing);
            }
            Ok(maps) => match beside {
                None if !self.are_ours_or_of_nobody(&maps)? => return Ok(Adoptable::Nothing),
                None => return Ok(Adoptable::Maps(Box::new(maps))),
                Some(entry) => OtherLayout::beside(&self.pins, entry),
            },
            // A fault is no reason to give the counters up.
            Err(OpenError::Failed(error)) => return Err(error.into()),
            Err(OpenError::OtherLayout(why)) => why,
        };
        if self.owner(&self.pins)? == Owner::Gone {
            return Ok(Adoptable::Nothing);
        }
        Ok(Adoptable::Replace(Note::new(
            NoteKind::LayoutReplaced,
            why.replaced(),
        )))
    }

    /// Whether maps are this namespace's; `false` for those of a namespace that is gone, which only a
    /// caller without the lock finds.
    ///
    /// # Errors
    /// [`Error::OtherNamespace`], or the kernel's refusal.
    fn are_ours_or_of_nobody(&self, maps: &Maps) -> Result<bool, Error> {
        match self.check_namespace(maps) {
            Err(Error::OtherNamespace { .. }) if is_gone(&self.pins)? => Ok(false),
            checked => checked.map(|()| true),
        }
    }

    /// Ends the work of an interrupted command, found beside the pins, and makes room: what is not
    /// enforcer's is moved aside, and pins of a network namespace that is gone are removed.
    ///
    /// Without pins, an `up` from nothing or a `down` was interrupted: the rest takes the place of
    /// the pins, so that its guards hold until the caller acts. Beside pins, the
    /// rest has no use, because the pins have guards of their own. The rest of a `down` without all
    /// maps has no guards. The rest of another living network namespace stays as it is.
    ///
    /// # Errors
    /// The pins are another living network namespace's, the owner of the rest cannot be told, or the
    /// kernel's refusal.
    pub(in crate::control) fn recover(&self) -> Result<Vec<Note>, Error> {
        let mut notes = self.pins.clear()?;
        notes.extend(self.remove_if_gone()?);
        notes.extend(self.pins.scratch().remove(None).context(CLEAN_UP)?);
        notes.extend(self.end_work_in(&self.places_beside()?)?);
        Ok(notes)
    }

    /// As [`Self::recover`], for a caller without the lock: another command may be at work in the
    /// places of a caller with the lock.
    ///
    /// # Errors
    /// As for [`Self::recover`].
    pub(in crate::control) fn recover_without_lock(&self) -> Result<Vec<Note>, Error> {
        let mut notes = self.pins.clear()?;
        notes.extend(self.remove_if_gone()?);
        notes.extend(self.end_work_in(&self.pins.rescue(sys::netns_cookie()?))?);
        Ok(notes)
    }

    /// Ends the work of interrupted commands in these places.
    fn end_work_in(&self, places: &[PinDir]) -> Result<Vec<Note>, Error> {
        let mut notes = Vec::new();
        for beside in places {
            if beside.content()? != Content::Nothing {
                // Beside another namespace's pins, a rest of ours has the only guards.
                self.refuse_others()?;
                notes.extend(self.end_work_at(beside)?);
            }
        }
        Ok(notes)
    }

    fn end_work_at(&self, beside: &PinDir) -> Result<Vec<Note>, Error> {
        let mut notes = beside.clear().context(CLEAN_UP)?;
        let Some(owner) = self.owner_beside(beside)? else {
            return Ok(notes);
        };
        let is_whole = beside.has_links()? || beside.has_all_maps()?;
        notes.extend(match owner {
            Owner::Us if is_whole && !self.pins.exists()? => {
                self.pins.rename_from(beside).context(CLEAN_UP)?
            }
            Owner::Us | Owner::Nobody | Owner::Gone => {
                beside.remove(Some(&self.pins)).context(CLEAN_UP)?
            }
        });
        Ok(notes)
    }

    /// The directory in which a new set is built: beside the pins, and not another namespace's.
    ///
    /// # Errors
    /// As for [`Self::owner`].
    pub(in crate::control) fn staging(&self, without_lock: bool) -> Result<PinDir, Error> {
        let cookie = sys::netns_cookie()?;
        let [first, own] = match without_lock {
            true => self.pins.rescue(cookie),
            false => self.pins.staging(cookie),
        };
        let is_anothers = first.exists()? && self.owner_beside(&first)?.is_none();
        Ok(if is_anothers { own } else { first })
    }

    /// The places beside the pins in which a command of this namespace may have built a set.
    pub(in crate::control) fn places_beside(&self) -> Result<Vec<PinDir>> {
        let cookie = sys::netns_cookie()?;
        let places = [self.pins.staging(cookie), self.pins.rescue(cookie)];
        Ok(places.into_iter().flatten().collect())
    }

    /// The owner of pins beside the pins; `None` without pins there, and for another living
    /// namespace's.
    ///
    /// # Errors
    /// The owner cannot be told.
    fn owner_beside(&self, beside: &PinDir) -> Result<Option<Owner>, Error> {
        if !beside.exists()? {
            return Ok(None);
        }
        match self.owner(beside) {
            Err(Error::OtherNamespace { .. }) => Ok(None),
            owner => owner.map(Some),
        }
    }

    /// Refuses a rest of another living network namespace where nothing is pinned: the operator may
    /// have come to the wrong namespace. `run` goes on beside such a rest.
    ///
    /// # Errors
    /// [`Error::OtherNamespace`], or as for [`Self::owner`].
    pub(in crate::control) fn refuse_others_beside(&self) -> Result<(), Error> {
        if self.pins.exists()? {
            return Ok(());
        }
        for beside in self.places_beside()? {
            if beside.exists()? {
                self.owner(&beside)?;
            }
        }
        Ok(())
    }

    /// Refuses the pins of another living network namespace. Pins that name no owner pass.
    ///
    /// # Errors
    /// [`Error::OtherNamespace`], or the kernel's refusal.
    pub(crate) fn refuse_others(&self) -> Result<(), Error> {
        if !self.pins.exists()? {
            return Ok(());
        }
        let namespace = namespace::look(&self.pins)?;
        let is_gone = namespace.is_some_and(|namespace| namespace.is_gone);
        let cookie = maps::pinned_netns_cookie(&self.pins)?;
        match cookie.or_else(|| Some(namespace?.cookie)) {
            // 0 is the value of a new map, before any guard is attached.
            None | Some(0) => Ok(()),
            Some(_) if is_gone => Ok(()),
            Some(cookie) => ensure_ours(cookie, &self.pins),
        }
    }

    /// Removes the pins of a network namespace that is gone. Its reserved ports went with it.
    fn remove_if_gone(&self) -> Result<Vec<Note>, Error> {
        if !self.pins.exists()? || !is_gone(&self.pins)? {
            return Ok(Vec::new());
        }
        let removed = self.pins.remove(None);
        let mut notes = removed.context("failed to remove the pins of a namespace that is gone")?;
        let text = format!(
            "the pins in {} guarded a network namespace that is gone, and were removed",
            decode_path(self.pins.path())
        );
        notes.push(Note::new(NoteKind::NamespaceGone, text));
        Ok(notes)
    }

    /// Whether guards of this namespace are pinned beside the pins, by a command at work or an
    /// interrupted one.
    pub(super) fn has_guards_beside(&self) -> Result<bool, Error> {
        for beside in self.places_beside()? {
            if beside.exists()? && beside.has_links()? && self.owner_beside(&beside)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an interrupted command left guards beside the pins.
    pub(crate) fn is_interrupted(&self) -> Result<bool, Error> {
        Ok(
            self.has_guards_beside()?
                && !Lock::is_taken(&self.pins)?
                && self.has_guards_beside()?,
        )
    }

    /// The owner of pins of any layout, with or without all maps.
    ///
    /// # Errors
    /// The pins are another living or an unknown network namespace's.
    pub(in crate::control) fn owner(&self, pins: &PinDir) -> Result<Owner, Error> {
        let namespace = namespace::look(pins)?;
        let cookie = match (maps::pinned_netns_cookie(pins), namespace) {
            (Ok(Some(cookie)), _) => cookie,
            // STATE is made before the first guard, and removed after the last.
            (Ok(None) | Err(_), _) if !pins.has_links()? => return Ok(Owner::Nobody),
            // STATE alone may be missing, or be another map's pin.
            (Ok(None), Some(namespace)) => namespace.cookie,
            (Ok(None), None) => {
                let why = anyhow!("the map STATE is missing, or has another shape");
                return Err(unknown_owner(pins, why).into());
            }
            (Err(why), _) => return Err(unknown_owner(pins, why).into()),
        };
        match cookie {
            // The value of a new map, before any guard is attached.
            0 => Ok(Owner::Nobody),
            _ if namespace.is_some_and(|namespace| namespace.is_gone) => Ok(Owner::Gone),
            _ => ensure_ours(cookie, pins).map(|()| Owner::Us),
        }
    }
}

/// The maps of earlier pins.
pub(in crate::control) enum Adoptable {
    /// Nothing is pinned, or maps without a policy.
    Nothing,
    /// The maps can be used by a new set of pins.
    Maps(Box<Maps>),
    /// The pins cannot be used, and a new set replaces them, as the note tells.
    Replace(Note),
}

/// The owner of pins in reach of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Owner {
    /// The network namespace of this process.
    Us,
    /// None yet: the pins hold no guard.
    Nobody,
    /// A network namespace that is gone.
    Gone,
}

/// Whether the kernel wants privileges that this process lacks.
fn is_denied(error: &anyhow::Error) -> bool {
    let source = error.downcast_ref::<std::io::Error>();
    source.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Whether pins are those of a network namespace that is gone. Pins that do not tell are taken for
/// a living namespace's.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn is_gone(pins: &PinDir) -> Result<bool> {
    let cookie = match maps::pinned_netns_cookie(pins) {
        Err(error) if is_denied(&error) => None,
        cookie => cookie?,
    };
    // This process's own namespace lives: two calls instead of four.
    if cookie.is_some() && cookie == Some(sys::netns_cookie()?) {
        return Ok(false);
    }
    let namespace = namespace::look(pins)?;
    Ok(namespace.is_some_and(|namespace| namespace.is_gone))
}

fn unknown_owner(pins: &PinDir, why: anyhow::Error) -> anyhow::Error {
    why.context(format!(
        "nobody can tell which network namespace the pins in {} guard: take them off with the \
         `enforcer down` of the version that made them, or remove the folder by hand",
        decode_path(pins.path())
    ))
}

/// Refuses the pins of another network namespace.
pub(in crate::control) fn ensure_ours(cookie: u64, pins: &PinDir) -> Result<(), Error> {
    let ours = sys::netns_cookie()?;
    if cookie == ours {
        return Ok(());
    }
    Err(Error::OtherNamespace {
        pins: pins.path().to_owned(),
        theirs: cookie,
        ours,
    })
}
