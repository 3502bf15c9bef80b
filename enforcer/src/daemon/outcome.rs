//! Conversions: from results of `control` and `registry` to triggers of the reconciler.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::anyhow;

use super::reconciler::{FollowOutcome, PinnedState, Rejection, ReplaceOutcome};
use crate::{
    control::{self, Error, Followed, Instance, Kept, Look, Replaced, RolledBack},
    kernel::held::Held,
    note::Note,
    registry::{Diagnostics, Rejected},
};

/// The pinned state, after the repair of lost pins; `None` if `enforcer down` took the guards off.
///
/// # Errors
/// The pins cannot be read or put back, or are another namespace's.
pub(super) fn pinned_state(
    instance: &Instance,
    held: &mut Held,
) -> Result<Option<PinnedState>, Error> {
    let exists = || instance.pins().exists().unwrap_or(true);
    whole_look(exists, || look_at_pins(instance, held))
}

/// Looks at the pins, and once more if the pins vanished during the look: the failure then tells
/// of the first file that was missing, and nothing was put back.
fn whole_look<T, E>(
    exists: impl Fn() -> bool,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let existed = exists();
    match look() {
        Err(_) if existed && !exists() => look(),
        looked => looked,
    }
}

fn look_at_pins(instance: &Instance, held: &mut Held) -> Result<Option<PinnedState>, Error> {
    let Kept::Whole(notes) = control::keep(instance, held)? else {
        return Ok(None);
    };
    let gone = || anyhow!("another command has taken the pins off a moment ago");
    let maps = instance.maps()?.ok_or_else(gone)?;
    let generation = maps.state().generation;
    let directory = fs::metadata(instance.pin_dir()).ok();
    // Maps of generation 0 hold no policy: an `up` was interrupted.
    if generation == 0 {
        return Err(Error::Interrupted);
    }
    Ok(Some(PinnedState {
        generation,
        directory: directory.map(|pins| pins.ino()),
        pending: maps.pending().awaiting().map(|pending| pending.left),
        provenance: maps.provenance(),
        missing: Instance::missing_file_of(&maps),
        has_lost_guard: held.take_lost(),
        notes,
    }))
}

/// The rejection of a registry, whose main file may be missing.
pub(super) fn rejection(rejected: Rejected, is_missing: bool) -> Rejection {
    Rejection {
        text: rejected.to_string(),
        errors: rejected.errors,
        is_missing,
    }
}

/// The outcome of [`crate::control::replace`].
pub(super) fn replaced(result: Result<Replaced, Error>) -> ReplaceOutcome {
    match result {
        Ok(Replaced::By(reloaded)) => ReplaceOutcome::InForce {
            generation: reloaded.generation,
            notes: reloaded.notes,
            warnings: Diagnostics::default(),
        },
        Ok(Replaced::Foreign) => ReplaceOutcome::Foreign,
        Ok(Replaced::Gone) => ReplaceOutcome::Gone,
        Err(Error::Pending(_)) => ReplaceOutcome::Pending,
        Err(error @ Error::LockOut(_)) => ReplaceOutcome::Refused(text(&error)),
        Err(error @ Error::AlreadyRolledBack) => ReplaceOutcome::AlreadyRolledBack(text(&error)),
        Err(error) => ReplaceOutcome::Failed(text(&error)),
    }
}

/// The outcome of [`crate::control::follow`].
pub(super) fn followed(result: Result<Look, Error>) -> FollowOutcome {
    let look = match result {
        Ok(look) => look,
        Err(error) => return FollowOutcome::Failed(text(&error)),
    };
    let switched_to = match look.followed {
        Followed::Unchanged => None,
        Followed::Switched(generation) => Some(generation),
        Followed::Foreign => return FollowOutcome::Foreign(look.notes),
        Followed::Gone => return FollowOutcome::Gone,
    };
    FollowOutcome::Done {
        switched_to,
        notes: look.notes,
        keys: look.keys,
    }
}

/// The outcome of [`crate::control::roll_back_if_due`].
pub(super) fn rolled_back(
    result: Result<Option<RolledBack>, Error>,
) -> Result<Option<Vec<Note>>, String> {
    let notes = result.map(|rolled_back| rolled_back.map(RolledBack::into_notes));
    notes.map_err(|error| text(&error))
}

/// An error with all causes.
pub(super) fn text(error: &Error) -> String {
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The result of a look at pins that vanish in a given look, and the number of looks.
    fn look(existed: bool, vanish_in: Option<u32>) -> (Result<u32, u32>, u32) {
        let (exists, looks) = (Cell::new(existed), Cell::new(0));
        let result = whole_look(
            || exists.get(),
            || {
                looks.set(looks.get() + 1);
                if vanish_in == Some(looks.get()) {
                    exists.set(false);
                }
                match exists.get() {
                    true => Ok(looks.get()),
                    false => Err(looks.get()),
                }
            },
        );
        (result, looks.get())
    }

    #[test]
    fn pins_that_vanish_during_a_look_are_looked_at_again() {
        assert_eq!(look(true, None), (Ok(1), 1));
        assert_eq!(
            look(true, Some(1)),
            (Err(2), 2),
            "the reason of the whole look"
        );
        assert_eq!(look(false, None), (Err(1), 1), "gone before the look");
    }

    #[test]
    fn a_failure_beside_pins_is_told_as_found() {
        let mut looks = 0;
        let failing = || -> Result<(), u32> {
            looks += 1;
            Err(looks)
        };
        assert_eq!(whole_look(|| true, failing), Err(1));
    }
}
