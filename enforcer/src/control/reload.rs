//! `reload`: another registry in the same pins, at once and as a whole.

use std::time::Duration;

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::State;

use super::{
    Error, Instance, confirm, executor, lockout, reconcile_in_place, reserve, rollback_timer, sent,
};
use crate::{
    decisions::{
        candidate::{Candidate, Recipe},
        lockout::Consent,
        peers,
        pending::Change,
        reconcile::{AttachReport, HookPolicy},
    },
    host::{self, HostSnapshot, interfaces_with_keys, snapshot_of},
    interfaces::{Interface, InterfaceOptions},
    kernel::maps::Maps,
    note::{Note, NoteKind},
    policy::{PolicyTables, released},
    registry::{Loaded, Origin},
};

/// The result of a reload.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The generation in force.
    pub generation: u32,
    /// Notes for the operator.
    pub notes: Vec<Note>,
}

/// The terms of a reload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// The time after which the policy is rolled back unless it is confirmed.
    pub confirm: Option<Duration>,
    /// The author and the consent.
    pub consent: Consent,
}

/// The result of a reload by a caller who knows the policy in force.
#[derive(Clone, Debug)]
pub enum Replaced {
    /// The registry is in force.
    By(Reloaded),
    /// The generation is unknown to the caller.
    Foreign,
    /// Nothing is pinned.
    Gone,
}

/// Puts a registry in force; `None` if nothing is pinned.
///
/// The reload also looks at interfaces and WireGuard: a new interface gets a guard, and a peer
/// by key the AllowedIPs of this moment.
///
/// # Errors
/// The old policy is in force then, unless the message says otherwise.
pub async fn reload(
    instance: &Instance,
    loaded: &Loaded,
    terms: Terms,
) -> Result<Option<Reloaded>, Error> {
    Ok(match replace_any(instance, loaded, terms, None).await? {
        Replaced::By(reloaded) => Some(reloaded),
        Replaced::Foreign | Replaced::Gone => None,
    })
}

/// As [`reload`], provided that the policy in force is still of this generation: a registry
/// that was read under another generation may be older than the policy in force.
///
/// # Errors
/// As for [`reload`].
pub async fn replace(
    instance: &Instance,
    loaded: &Loaded,
    terms: Terms,
    generation: u32,
) -> Result<Replaced, Error> {
    replace_any(instance, loaded, terms, Some(generation)).await
}

async fn replace_any(
    instance: &Instance,
    loaded: &Loaded,
    terms: Terms,
    known: Option<u32>,
) -> Result<Replaced, Error> {
    if !instance.is_pinned()? {
        return Ok(Replaced::Gone);
    }
    let keys = host::ask(interfaces_with_keys(&loaded.registry)).await;
    let _lock = instance.lock()?;
    let Some(mut maps) = instance.maps_to_change()? else {
        return Ok(Replaced::Gone);
    };
    if known.is_some_and(|known| known != maps.state().generation) {
        return Ok(Replaced::Foreign);
    }
    let mut notes = Vec::new();
    if let Some(rolled_back) = confirm::settle(instance, &mut maps).await? {
        notes.extend(rolled_back.into_notes());
    }
    maps.pending().admit(Change {
        author: terms.consent.author,
        ends_pending: false,
        is_last_pending: maps.was_last_pending(&loaded.provenance),
    })?;
    // Under the lock: another command's new program must not look like a stranger's.
    let snapshot = &snapshot_of(&loaded.registry, &keys).await?;
    let recipe = Recipe {
        loaded,
        snapshot,
        flags: maps.state().flags,
    };
    let consent = Consent {
        is_pending: terms.confirm.is_some(),
        ..terms.consent
    };
    notes.extend(lockout::check(instance, Some(&maps), &recipe, consent).await?);
    let by = match terms.confirm {
        Some(time) => Some((time, rollback_timer::arrange(instance, time).await?)),
        None => None,
    };
    let generation = switch(instance, &mut maps, &recipe, terms, &mut notes)?;
    if let Some((time, by)) = by {
        let text = format!(
            "awaiting confirmation: in {} s the policy before it is rolled back to, unless \
             `enforcer confirm` follows ({by})",
            time.as_secs()
        );
        notes.push(Note::new(NoteKind::Pending, text));
    }
    Ok(Replaced::By(Reloaded { generation, notes }))
}

/// Switches to a recipe's policy. Returns its generation.
fn switch(
    instance: &Instance,
    maps: &mut Maps,
    recipe: &Recipe<'_>,
    terms: Terms,
    notes: &mut Vec<Note>,
) -> Result<u32> {
    let state = maps.state();
    let loaded = recipe.loaded;
    let (report, tables) = attach_and_compile(instance, maps, recipe, terms.confirm.is_some())?;
    // Words about the switch do not prevent it.
    notes.extend(
        maps.tables()
            .map_or_else(|_| Vec::new(), |now| released(&now, &tables)),
    );
    let generation = match terms.confirm {
        Some(time) => {
            notes.extend(pending_unchanged(maps, &tables)?);
            maps.switch_pending(&tables, time)?
        }
        None => maps.switch_to(&tables)?,
    };
    // A good registry ends the time of the embedded registry.
    let embedded = match loaded.origin {
        Origin::Embedded => State::EMBEDDED,
        Origin::Files(_) => 0,
    };
    let flags = state.flags & !(State::FALLBACK | State::EMBEDDED) | embedded;
    maps.describe(state.netns_cookie, flags);
    if terms.confirm.is_none() {
        // The rollback of an earlier pending policy is old news.
        maps.end_pending(false);
    }
    notes.extend(finish(instance, maps, report, &tables)?);
    notes.extend(peers::all_waiting(&tables, recipe.snapshot));
    if state.flags & State::STATIC_PEERS == 0 && !instance.is_followed() {
        notes.extend(peers::unfollowed(&loaded.registry));
    }
    Ok(generation)
}

/// The note of a pending policy equal to the policy in force.
fn pending_unchanged(maps: &Maps, tables: &PolicyTables) -> Result<Option<Note>> {
    let in_force = PolicyTables {
        provenance: tables.provenance.clone(),
        ..maps.tables()?
    };
    Ok((in_force == *tables).then(|| {
        Note::new(
            NoteKind::PendingUnchanged,
            "this policy is in force already, so a rollback will change nothing. `run` applies \
             edits of its registry by itself: give the registry to be confirmed as another file \
             (`--config FILE`)",
        )
    }))
}

/// Attaches the guards of a recipe, and compiles the policy for these guards.
pub(super) fn attach_and_compile(
    instance: &Instance,
    maps: &mut Maps,
    recipe: &Recipe<'_>,
    is_pending: bool,
) -> Result<(AttachReport, PolicyTables)> {
    let options = |interface: &Interface| InterfaceOptions::of(&recipe.loaded.registry, interface);
    let hooks = match is_pending {
        true => HookPolicy::Keep,
        false => HookPolicy::AsPlanned,
    };
    let (plan, mut report) =
        reconcile_in_place(instance, maps.state(), recipe.snapshot, options, hooks)?;
    if is_pending {
        keep_for_rollback(&mut report, recipe.snapshot);
    }
    maps.watch_bypasses(&report.guards.keys().copied().collect())?;
    let guards = report.guards.clone();
    let candidate = Candidate::compile_for(recipe, &plan, guards, &maps.slots()?)?;
    let note = sent::attach_in_place(instance, maps, &candidate.tables);
    report.notes.extend(note);
    Ok((report, candidate.tables))
}

/// Keeps the guards of the policy before, until the pending policy is confirmed.
fn keep_for_rollback(report: &mut AttachReport, snapshot: &HostSnapshot) {
    for ifindex in report.keep_detached() {
        let Some(interface) = snapshot.by_index(ifindex) else {
            continue;
        };
        let name = &interface.name;
        let text =
            format!("{name} keeps its guard until the new policy, which wants none, is confirmed");
        report
            .notes
            .push(Note::new(NoteKind::GuardKept, text).on(name));
    }
}

/// Ends a change in place, after the switch.
pub(super) fn finish(
    instance: &Instance,
    maps: &Maps,
    report: AttachReport,
    tables: &PolicyTables,
) -> Result<Vec<Note>> {
    // Until the switch, the old policy may have wanted these guards.
    executor::detach_unwanted(instance.pins(), &report)
        .context("the new policy is in force, but a guard that it has no use for stays attached")?;
    // The policy before a pending policy may come back.
    if maps.pending().awaiting().is_none() {
        sent::detach_unwanted(instance.pins(), tables)?;
    }
    let mut notes = report.notes;
    notes.extend(reserve::reserve_or_note(maps, tables));
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        interfaces::{Hook, Interface},
        wireguard::Answer,
    };

    #[test]
    fn guards_of_the_policy_before_stay_until_the_confirmation() {
        let eth0 = Interface {
            index: 2,
            name: "eth0".to_owned(),
            ..Interface::default()
        };
        let snapshot = HostSnapshot::of(vec![(eth0, Answer::NotWireGuard)]);
        let mut report = AttachReport {
            // Ifindex 9 has left the host meanwhile.
            detach_later: vec![(2, Hook::Tcx), (9, Hook::Tcx)],
            ..AttachReport::default()
        };
        keep_for_rollback(&mut report, &snapshot);
        assert_eq!(report.detach_later, []);
        assert!(report.guards.contains_key(&2) && report.guards.contains_key(&9));
        let [note] = &report.notes[..] else {
            panic!("one note: {:?}", report.notes);
        };
        assert_eq!(note.kind, NoteKind::GuardKept);
        assert_eq!(note.interface.as_deref(), Some("eth0"));
    }

    #[test]
    fn by_default_a_reload_is_an_operators_and_final() {
        let terms = Terms::default();
        assert_eq!(terms.confirm, None);
        assert!(!terms.consent.force && !terms.consent.is_pending);
    }
}
