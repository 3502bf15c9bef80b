//! The pending policy: confirmation and rollback.
//!
//! The first process to see the deadline pass rolls the policy back: `run`, a timer of systemd, a
//! writing command, or `status`. The writers' lock makes the rollback happen once.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{
    Error, Instance, executor, instance::ensure_ours, reconcile_in_place, reserve::reserve_or_note,
    sent,
};
use crate::{
    decisions::{
        lockout::Author,
        pending::{Change, Confirmation, PendingPolicy, PendingState, Rollback},
        reconcile::HookPolicy,
    },
    host::snapshot,
    interfaces::Interface,
    kernel::{maps::Maps, pending::PendingReader},
    note::{Note, NoteKind},
    registry::Loaded,
};

/// A rollback.
#[derive(Clone, Debug)]
pub struct RolledBack {
    /// The generation of the policy before the pending policy, in force again.
    pub generation: u32,
    /// Notes for the operator, beside the rollback itself.
    notes: Vec<Note>,
}

impl RolledBack {
    /// The rollback itself and the other notes, for the operator.
    pub fn into_notes(self) -> Vec<Note> {
        let text = format!(
            "no `enforcer confirm` came in time, so the pending policy was rolled back: the policy \
             before it is in force again, as generation {}; the registry's files are as they were \
             edited",
            self.generation
        );
        let mut notes = vec![Note::new(NoteKind::RolledBack, text)];
        notes.extend(self.notes);
        notes
    }
}

/// The answer to `confirm`.
#[derive(Clone, Debug)]
pub enum Confirmed {
    /// The policy of this generation stays; with notes for the operator.
    Kept(u32, Vec<Note>),
    /// The policy before the pending policy is in force again; by this command's rollback, if its
    /// deadline had passed without one.
    TooLate(Option<RolledBack>),
    /// No policy awaits confirmation.
    NothingPending,
    /// Nothing is pinned.
    NothingPinned,
}

/// The policy that awaits confirmation, if any. The answer takes two maps.
///
/// # Errors
/// The pins cannot be read, or are another namespace's.
pub fn pending(instance: &Instance) -> Result<Option<PendingPolicy>, Error> {
    Ok(state(instance)?.awaiting())
}

fn state(instance: &Instance) -> Result<PendingState, Error> {
    if !instance.is_pinned()? {
        return Ok(PendingState::None);
    }
    let Some(reader) = PendingReader::open(instance.pins())? else {
        return Ok(PendingState::None);
    };
    ensure_ours(reader.netns_cookie(), instance.pins())?;
    Ok(reader.pending())
}

/// Rolls the pending policy back if its deadline has passed. A look before the
/// deadline opens two maps.
///
/// # Errors
/// The pins cannot be read or written; the pending policy may be in force still.
pub async fn roll_back_if_due(instance: &Instance) -> Result<Option<RolledBack>, Error> {
    if state(instance)?.due() == Rollback::None {
        return Ok(None);
    }
    let _lock = instance.lock()?;
    match instance.maps()? {
        Some(mut maps) => settle(instance, &mut maps).await,
        None => Ok(None),
    }
}

/// Waits for the deadline of the pending policy, and rolls it back then: for a timer, possibly
/// early.
///
/// # Errors
/// As for [`roll_back_if_due`].
pub async fn roll_back_when_due(instance: &Instance) -> Result<Option<RolledBack>, Error> {
    while let Some(pending) = pending(instance)?.filter(|pending| !pending.left.is_zero()) {
        // After a suspension of the host, less time is left than the sleep takes.
        tokio::time::sleep(pending.left.min(Duration::from_secs(1))).await;
    }
    roll_back_if_due(instance).await
}

/// Carries out a due rollback, under the writers' lock: every writer's first act.
///
/// # Errors
/// As for [`roll_back_if_due`].
pub(super) async fn settle(
    instance: &Instance,
    maps: &mut Maps,
) -> Result<Option<RolledBack>, Error> {
    match maps.pending().due() {
        Rollback::None => return Ok(None),
        // The policy first: the rest may take time, and fail.
        Rollback::Whole => drop(maps.roll_back()?),
        Rollback::Rest => {}
    }
    maps.restore_flags();
    let notes = guards_as_in_force(instance, maps).await;
    let notes = notes.unwrap_or_else(|error| {
        let text = format!("the guards are still the pending policy's: {error:#}");
        vec![Note::new(NoteKind::GuardsNotRestored, text)]
    });
    maps.end_pending(true);
    Ok(Some(RolledBack {
        generation: maps.state().generation,
        notes,
    }))
}

/// Carries out the rest of a rollback, under the writers' lock, after the failure of a command that
/// had begun the rollback. The next writer carries out whatever fails here.
pub(super) async fn finish_rollback(instance: &Instance) {
    if let Ok(Some(mut maps)) = instance.maps()
        && maps.pending().due() == Rollback::Rest
    {
        settle(instance, &mut maps).await.ok();
    }
}

/// Ends the pending policy of pins that a new set replaces, as far as the record can be read: out of
/// incomplete pins, or pins of another layout, nobody rolls a policy back at its deadline. An
/// operator's command ends the pending policy; `run` rolls back at once, where the layout is known.
///
/// # Errors
/// `run` may not put the last pending policy's registry in force by itself; or the pins cannot be
/// read.
pub(super) fn settle_replaced(
    instance: &Instance,
    loaded: &Loaded,
    author: Author,
) -> Result<Option<Note>, Error> {
    let Some(reader) = PendingReader::open(instance.pins())? else {
        return Ok(None);
    };
    let was_awaiting = reader.pending().awaiting().is_some();
    if was_awaiting && author == Author::Run {
        reader.roll_back_if_known();
    }
    let state = match was_awaiting {
        // As good as rolled back: a new set takes the place of the policy, or `run` refuses.
        true => PendingState::RolledBack,
        false => reader.pending(),
    };
    state.admit(Change {
        author,
        ends_pending: author == Author::Command,
        is_last_pending: reader.was_last_pending(&loaded.provenance),
    })?;
    Ok(was_awaiting.then(|| {
        let text = "a policy awaited confirmation in these pins: the registry takes its place, and \
                    there is no rollback at the deadline";
        Note::new(NoteKind::PendingReplaced, text)
    }))
}

/// Gives the policy in force exactly its guards and its reserved ports.
///
/// Hooks stay as they are, because the policy was compiled for them.
async fn guards_as_in_force(instance: &Instance, maps: &mut Maps) -> Result<Vec<Note>> {
    let tables = maps.tables()?;
    let mut notes: Vec<Note> = reserve_or_note(maps, &tables).into_iter().collect();
    let snapshot = &snapshot().await?;
    let options = |interface: &Interface| tables.options_of(interface.names());
    let (_, report) =
        reconcile_in_place(instance, maps.state(), snapshot, options, HookPolicy::Keep)?;
    maps.watch_bypasses(&report.guards.keys().copied().collect())?;
    executor::detach_unwanted(instance.pins(), &report)
        .context("a guard that the policy has no use for stays attached")?;
    notes.extend(report.notes);
    notes.extend(sent::attach_in_place(instance, maps, &tables));
    sent::detach_unwanted(instance.pins(), &tables)?;
    Ok(notes)
}

/// Accepts the pending policy.
///
/// # Errors
/// The pins cannot be read or written; unless the message says otherwise, the policy still awaits
/// confirmation.
pub async fn confirm(instance: &Instance) -> Result<Confirmed, Error> {
    if !instance.is_pinned()? {
        return Ok(Confirmed::NothingPinned);
    }
    let _lock = instance.lock()?;
    let Some(mut maps) = instance.maps()? else {
        return Ok(Confirmed::NothingPinned);
    };
    if let Some(rolled_back) = settle(instance, &mut maps).await? {
        return Ok(Confirmed::TooLate(Some(rolled_back)));
    }
    Ok(match maps.pending().confirm() {
        Confirmation::Accept(generation) => {
            maps.end_pending(false);
            let notes = guards_as_in_force(instance, &mut maps).await.context(
                "the policy is confirmed, but its guards are not all attached: run `enforcer \
                 reload`",
            )?;
            Confirmed::Kept(generation, notes)
        }
        Confirmation::TooLate => Confirmed::TooLate(None),
        Confirmation::NothingPending => Confirmed::NothingPending,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_is_the_first_of_its_notes() {
        let kept = Note::new(NoteKind::HookKept, "eth0 keeps its guard");
        let rolled_back = RolledBack {
            generation: 9,
            notes: vec![kept.clone()],
        };
        let notes = rolled_back.into_notes();
        assert_eq!(notes.len(), 2);
        assert_eq!(notes[0].kind, NoteKind::RolledBack);
        assert!(
            notes[0].text.contains("as generation 9"),
            "{}",
            notes[0].text
        );
        assert_eq!(notes[1], kept);
    }
}
