//! `run` follows the host: the same registry on changed interfaces and WireGuard devices.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{
    Error, Instance, confirm, instance::lock_note, reconcile_in_place, reload, reserve, sent,
};
use crate::{
    decisions::{
        candidate::{Recipe, with_host_of_now},
        peers,
        reconcile::HookPolicy,
    },
    host::{self, Keys, interfaces_with_keys, snapshot_of, snapshot_with},
    interfaces::Interface,
    kernel::{grants::Bank, maps::Maps},
    note::{Note, NoteKind},
    registry::Loaded,
};

/// The result of a look at the host.
#[derive(Clone, Debug)]
pub struct Look {
    /// The change of the policy, if there was one.
    pub followed: Followed,
    /// Notes for the operator.
    pub notes: Vec<Note>,
    /// The answers of WireGuard; `None` if no device was asked.
    pub keys: Option<Keys>,
}

impl Look {
    const fn only(followed: Followed) -> Self {
        Self {
            followed,
            notes: Vec::new(),
            keys: None,
        }
    }
}

/// The change of the policy by a look at the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The policy in force fits the host.
    Unchanged,
    /// Another generation is in force, for the present host.
    Switched(u32),
    /// The generation is unknown to the caller: another command was at work.
    Foreign,
    /// Nothing is pinned.
    Gone,
}

/// Brings guards and policy up to the host: new, removed and changed interfaces, AllowedIPs,
/// reserved ports. `loaded` is the registry in force, under `generation`.
///
/// Without the registry, and while a policy awaits confirmation, only guards follow, and grants to
/// keys are taken away without WireGuard's confirmation; new grants wait.
///
/// A new interface does not wait for a process: `keys` has the last answers of WireGuard devices, and
/// a userspace device without an answer has not answered yet. Only the first look, without `keys`,
/// asks the devices, for a second at most and before the lock, and after the guards of new
/// interfaces.
///
/// # Errors
/// As for [`super::reload()`].
pub async fn follow(
    instance: &Instance,
    loaded: Option<&Loaded>,
    generation: u32,
    keys: &Keys,
) -> Result<Look, Error> {
    if !instance.is_pinned()? {
        return Ok(Look::only(Followed::Gone));
    }
    if keys.were_asked() {
        return follow_with(instance, loaded, generation, keys).await;
    }
    let names = names_to_ask(instance, loaded)?;
    let guarded = match names.is_empty() {
        true => Vec::new(),
        false => guard_newcomers(instance).await.unwrap_or_default(),
    };
    let names = names.iter().map(String::as_str).collect();
    let mut look = follow_with(instance, loaded, generation, &host::ask(names).await).await?;
    look.notes.extend(guarded);
    Ok(look)
}

/// As [`follow`], with the last answers of WireGuard.
async fn follow_with(
    instance: &Instance,
    loaded: Option<&Loaded>,
    generation: u32,
    keys: &Keys,
) -> Result<Look, Error> {
    let lock = match instance.lock() {
        Ok(lock) => lock,
        Err(error) => match error.without_lock() {
            Some(why) => return guard_without_lock(instance, &why).await,
            None => return Err(error),
        },
    };
    let Some(mut maps) = instance.maps_to_change()? else {
        return Ok(Look::only(Followed::Gone));
    };
    if maps.state().generation != generation {
        return Ok(Look::only(Followed::Foreign));
    }
    if let Some(rolled_back) = confirm::settle(instance, &mut maps).await? {
        return Ok(Look {
            notes: rolled_back.into_notes(),
            ..Look::only(Followed::Foreign)
        });
    }
    let is_pending = maps.pending().awaiting().is_some();
    let Some(loaded) = loaded.filter(|_| !is_pending) else {
        return follow_without_registry(instance, &mut maps, is_pending, keys).await;
    };
    let snapshot = &snapshot_of(&loaded.registry, keys).await?;
    let recipe = Recipe {
        loaded,
        snapshot,
        flags: maps.state().flags,
    };
    let (followed, mut notes) = match follow_registry(instance, &mut maps, &recipe) {
        Ok(done) => done,
        Err(error) => {
            // The policy in force stays, but for grants that WireGuard has taken back.
            let in_force = maps.tables()?;
            maps.set_grants(Bank::InForce, &peers::revoked(&in_force, snapshot))?;
            return Err(error);
        }
    };
    notes.extend(lock_note(&lock));
    Ok(Look {
        followed,
        notes,
        keys: Some(Keys::of(snapshot)),
    })
}

/// Attaches the guards of a registry on the host of a snapshot, and switches to its policy there.
/// Returns the notes of both.
fn follow_registry(
    instance: &Instance,
    maps: &mut Maps,
    recipe: &Recipe<'_>,
) -> Result<(Followed, Vec<Note>), Error> {
    let (report, tables) = reload::attach_and_compile(instance, maps, recipe, false)?;
    let followed = match tables == maps.tables()? {
        true => Followed::Unchanged,
        false => Followed::Switched(maps.switch_to(&tables)?),
    };
    let notes = reload::finish(instance, maps, report, &tables)?;
    Ok((followed, notes))
}

/// Attaches the guards that interfaces lack under the pinned policy, and changes nothing else: for a
/// caller that waits for files or WireGuard before the look at the whole. Returns the notes of
/// guards that are attached again; the look that follows tells of failures.
///
/// # Errors
/// The pins cannot be used, or the interfaces cannot be listed.
pub async fn guard_newcomers(instance: &Instance) -> Result<Vec<Note>, Error> {
    if !instance.is_pinned()? {
        return Ok(Vec::new());
    }
    let lock = instance.lock();
    if let Err(error) = &lock
        && error.without_lock().is_none()
    {
        return lock.map(|_| Vec::new());
    }
    let Some(maps) = instance.maps_to_change()? else {
        return Ok(Vec::new());
    };
    let mut notes = attach_missing(instance, &maps).await?;
    let is_repair = |kind| {
        matches!(
            kind,
            NoteKind::GuardRestored | NoteKind::SocketGuardRestored
        )
    };
    notes.retain(|note| is_repair(note.kind));
    Ok(notes)
}

/// Attaches the guards of new interfaces and changes nothing else, because no lock can be
/// had. At worst, the other process attaches the same guard or takes the guard off with the set
/// before, and the next look attaches a guard again.
async fn guard_without_lock(instance: &Instance, why: &str) -> Result<Look, Error> {
    let Some(maps) = instance.maps()? else {
        return Ok(Look::only(Followed::Gone));
    };
    let mut notes = attach_missing(instance, &maps).await?;
    let text =
        format!("{why}: new interfaces get their guards, and other changes of the host wait");
    notes.push(Note::new(NoteKind::LockHeld, text));
    Ok(Look {
        notes,
        ..Look::only(Followed::Unchanged)
    })
}

/// Attaches missing guards by the options of the policy in force. Returns the notes.
async fn attach_missing(instance: &Instance, maps: &Maps) -> Result<Vec<Note>> {
    let snapshot = &host::snapshot().await?;
    let tables = maps.tables()?;
    let options = |interface: &Interface| tables.options_of(interface.names());
    let (_, report) =
        reconcile_in_place(instance, maps.state(), snapshot, options, HookPolicy::Keep)?;
    let mut notes = report.notes;
    notes.extend(sent::attach_in_place(instance, maps, &tables));
    Ok(notes)
}

/// Returns the devices of the registry and of the pinned policies.
fn names_to_ask(instance: &Instance, loaded: Option<&Loaded>) -> Result<BTreeSet<String>, Error> {
    let mut policies = Vec::new();
    if let Some(maps) = instance.maps()? {
        policies.push(maps.tables()?);
        if maps.pending().awaiting().is_some() {
            policies.push(maps.tables_of(Bank::Other)?);
        }
    }
    let mut names: BTreeSet<&str> = policies.iter().flat_map(peers::interfaces_by_key).collect();
    if let Some(loaded) = loaded {
        names.extend(interfaces_with_keys(&loaded.registry));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Gives new interfaces their guards, detaches no guard of an existing interface, takes away grants
/// without WireGuard's confirmation, and closes new container networks: under the policy in force
/// and under the policy before a pending policy.
async fn follow_without_registry(
    instance: &Instance,
    maps: &mut Maps,
    is_pending: bool,
    keys: &Keys,
) -> Result<Look, Error> {
    let in_force = maps.tables()?;
    let mut policies = vec![(Bank::InForce, in_force)];
    if is_pending {
        policies.push((Bank::Other, maps.tables_of(Bank::Other)?));
    }
    let names = policies
        .iter()
        .flat_map(|(_, tables)| peers::interfaces_by_key(tables));
    let snapshot = &snapshot_with(names.collect(), keys).await?;
    let tables = &policies[0].1;
    let options = |interface: &Interface| tables.options_of(interface.names());
    let (plan, mut report) =
        reconcile_in_place(instance, maps.state(), snapshot, options, HookPolicy::Keep)?;
    report.keep_detached();
    maps.watch_bypasses(&report.guards.keys().copied().collect())?;
    for (bank, tables) in &policies {
        maps.set_grants(*bank, &peers::revoked(tables, snapshot))?;
        let now = with_host_of_now(tables, &plan, snapshot);
        maps.add_host(*bank, tables, &now)?;
    }
    let mut notes = report.notes;
    notes.extend(sent::attach_in_place(instance, maps, tables));
    notes.extend(reserve::reserve_or_note(maps, tables));
    Ok(Look {
        followed: Followed::Unchanged,
        notes,
        keys: Some(Keys::of(snapshot)),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn nothing_is_followed_where_nothing_is_pinned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins");
        let instance = Instance::new(Path::new(&path), None).unwrap();
        let look = follow(&instance, None, 1, &Keys::default()).await.unwrap();
        assert_eq!(look.followed, Followed::Gone);
        assert_eq!(look.notes, []);
        assert!(look.keys.is_none());
        assert_eq!(guard_newcomers(&instance).await.unwrap(), []);
    }
}
