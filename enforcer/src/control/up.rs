//! `up`: a new set of pins is built beside the pins in force and put in their place.

mod new_pins;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Result;
use enforcer_ebpf::layout::State;

use self::new_pins::NewPins;
use super::{
    Error, Instance, confirm, find_attached,
    instance::{Adoptable, lock_note},
    lockout,
};
use crate::{
    decisions::{
        candidate::Recipe,
        lockout::{Author, Consent},
        pending::Change,
    },
    host::{self, HostSnapshot, Keys, interfaces_with_keys, snapshot_of},
    kernel::{maps::Maps, mounts},
    note::{Note, NoteKind},
    policy::{PolicyTables, released},
    registry::{Loaded, Origin},
};

/// The wishes of an `up` beside its registry.
#[derive(Clone, Copy, Debug)]
pub struct UpOptions {
    /// Attach wire guards.
    pub wire: bool,
    /// Attach the socket guard.
    pub socket: bool,
    /// Let the programs' own diagnostics through.
    pub log: bool,
    /// The registry is the embedded one, because the registry in the files is bad.
    pub fallback: bool,
    /// Peers by key are resolved by `up` and by each reload, and no `run` follows them.
    pub static_peers: bool,
    /// Another process holds the lock and does not give the lock up: guards that judge twice are
    /// better than none. For `run` with nothing pinned.
    pub without_lock: bool,
    /// The author and the consent. An operator's `up` ends a pending policy; `run`'s does not.
    pub consent: Consent,
}

impl Default for UpOptions {
    fn default() -> Self {
        Self {
            wire: true,
            socket: true,
            log: false,
            fallback: false,
            static_peers: false,
            without_lock: false,
            consent: Consent::default(),
        }
    }
}

impl UpOptions {
    /// The flags of [`State`] of a policy with these wishes.
    fn flags(&self, loaded: &Loaded) -> u32 {
        let flag = |set: bool, flag| if set { flag } else { 0 };
        let embedded = loaded.origin == Origin::Embedded && !self.fallback;
        flag(self.wire, State::WANT_WIRE)
            | flag(self.socket, State::WANT_SOCKET)
            | flag(self.fallback, State::FALLBACK)
            | flag(self.log, State::LOG)
            | flag(embedded, State::EMBEDDED)
            | flag(self.static_peers, State::STATIC_PEERS)
    }
}

/// Puts a registry in force: new programs, the guards of an earlier set taken over without a gap,
/// counters kept if the layout is the same. Returns notes for the operator.
///
/// Everything is built beside the pins in force and renamed into their place, so that a crash
/// leaves the old guards or the new guards.
///
/// # Errors
/// The old policy and the old guards hold then, or none if there were none, unless the message
/// says otherwise.
pub async fn up(
    instance: &Instance,
    loaded: &Loaded,
    options: UpOptions,
) -> Result<Vec<Note>, Error> {
    let (notes, _) = up_with_maps(instance, loaded, options).await?;
    Ok(notes)
}

/// As [`up`]; returns the open maps in force too, for a look at the result.
///
/// # Errors
/// As for [`up`].
pub(crate) async fn up_with_maps(
    instance: &Instance,
    loaded: &Loaded,
    options: UpOptions,
) -> Result<(Vec<Note>, Maps), Error> {
    let parent = instance.pins().parent();
    mounts::ensure_bpffs(parent)?;
    // Where nothing is pinned, `run` attaches guards whatever the obstacle.
    let is_first = options.consent.author == Author::Run && !instance.is_pinned()?;
    // Peers wait for daemons that answer late.
    let keys = match is_first {
        true => Keys::default(),
        false => host::ask(interfaces_with_keys(&loaded.registry)).await,
    };
    let lock = match options.without_lock {
        true => None,
        false => Some(instance.lock()?),
    };
    // Under the lock: another command's new program must not look like a stranger's.
    let snapshot = snapshot_of(&loaded.registry, &keys).await;
    if options.consent.author == Author::Command {
        instance.refuse_others_beside()?;
    }
    let mut notes = match options.without_lock {
        true => instance.recover_without_lock()?,
        false => instance.recover()?,
    };
    let snapshot = match is_first {
        true => snapshot_or_none(snapshot, &mut notes),
        false => snapshot?,
    };
    notes.extend(parent_writable(parent)?);
    notes.extend(lock.as_ref().and_then(lock_note));
    let before = maps_to_adopt(instance, loaded, options, &mut notes).await?;
    let recipe = Recipe {
        loaded,
        snapshot: &snapshot,
        flags: options.flags(loaded),
    };
    notes.extend(lockout::check(instance, before.as_ref(), &recipe, options.consent).await?);
    notes.extend(removed_guards(instance, &snapshot, options)?);
    let staging = instance.staging(options.without_lock)?;
    notes.extend(staging.create()?);
    let new = NewPins {
        staging: &staging,
        instance,
        options,
        recipe,
    };
    let built = new.put_in_force(before);
    if built.is_err() {
        confirm::finish_rollback(instance).await;
    }
    let built = built?;
    notes.extend(built.notes);
    notes.extend(instance.below_root()?);
    instance.word()?.take_back();
    Ok((notes, built.maps))
}

/// The maps in force, if the new pins can take the maps over, after a due rollback.
///
/// # Errors
/// The kernel's refusal, or a change against a pending policy.
async fn maps_to_adopt(
    instance: &Instance,
    loaded: &Loaded,
    options: UpOptions,
    notes: &mut Vec<Note>,
) -> Result<Option<Maps>, Error> {
    Ok(match instance.adoptable_maps()? {
        Adoptable::Nothing => None,
        Adoptable::Maps(maps) => {
            Some(settle_pending(instance, *maps, loaded, options, notes).await?)
        }
        Adoptable::Replace(note) => {
            notes.push(note);
            let author = options.consent.author;
            notes.extend(confirm::settle_replaced(instance, loaded, author)?);
            None
        }
    })
}

/// The snapshot, or a note and a snapshot without interfaces: the socket guard needs no interface.
fn snapshot_or_none(snapshot: Result<HostSnapshot>, notes: &mut Vec<Note>) -> HostSnapshot {
    snapshot.unwrap_or_else(|why| {
        let text = format!("{why:#}: the socket guard holds alone until then");
        notes.push(Note::new(NoteKind::NoWireGuard, text));
        HostSnapshot::unknown()
    })
}

/// The note of a parent directory with write permission for other users.
fn parent_writable(parent: &Path) -> Result<Option<Note>> {
    let text = mounts::open_to_others(parent)?;
    Ok(text.map(|text| Note::new(NoteKind::ParentWritable, text)))
}

/// Rolls a pending policy back after its deadline, and refuses a change against a pending policy.
async fn settle_pending(
    instance: &Instance,
    mut maps: Maps,
    loaded: &Loaded,
    options: UpOptions,
    notes: &mut Vec<Note>,
) -> Result<Maps, Error> {
    if let Some(rolled_back) = confirm::settle(instance, &mut maps).await? {
        notes.extend(rolled_back.into_notes());
    }
    let author = options.consent.author;
    maps.pending().admit(Change {
        author,
        ends_pending: author == Author::Command,
        is_last_pending: maps.was_last_pending(&loaded.provenance),
    })?;
    Ok(maps)
}

/// The notes of guards removed by `--guards`. The operator's word stands, and the other layer
/// holds all the while, unlike with a `down` in between.
fn removed_guards(
    instance: &Instance,
    snapshot: &HostSnapshot,
    options: UpOptions,
) -> Result<Vec<Note>> {
    let mut notes = Vec::new();
    let mut removed = |what: &str| {
        let text = format!("the {what} removed, as --guards says");
        notes.push(Note::new(NoteKind::GuardsRemoved, text));
    };
    if !options.wire && !find_attached(instance.pins(), snapshot)?.guards.is_empty() {
        removed("wire guards are");
    }
    if !options.socket && instance.has_socket_guard()? {
        removed("socket guard is");
    }
    Ok(notes)
}

/// Returns a note for each service with ports that a policy takes out of guard; the policy before
/// is `None` where nothing was in force, or where pins of another layout do not tell.
fn released_by(before: Option<PolicyTables>, tables: &PolicyTables) -> Vec<Note> {
    before.map_or_else(Vec::new, |before| released(&before, tables))
}
