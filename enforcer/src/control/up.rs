//! `up`: a new set of pins is built beside the pins in force and put in their place.

#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::State;

use super::{
    Error, Instance, confirm, executor, find_attached,
    instance::{Adoptable, lock_note},
    lockout, reserve, sent,
};
use crate::{
    decisions::{
        attached::AttachedGuards,
        candidate::{Candidate, EVERY_GUARD, Recipe},
        lockout::{Author, Consent},
        pending::Change,
        reconcile::HookPolicy,
    },
    host::{self, HostSnapshot, Keys, interfaces_with_keys, snapshot_of},
    kernel::{
        bpf::CgroupHook,
        links,
        load::{self, Options, Programs},
        maps::{Maps, Reserved},
        mounts,
        pins::PinDir,
        sys,
    },
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
    let mut notes = match options.without_lock {
        true => Vec::new(),
        false => instance.recover()?,
    };
    let snapshot = match is_first {
        true => snapshot_or_none(snapshot, &mut notes),
        false => snapshot?,
    };
    notes.extend(parent_writable(parent)?);
    notes.extend(lock.as_ref().and_then(lock_note));
    let before = match instance.adoptable_maps()? {
        Adoptable::Nothing => None,
        Adoptable::Maps(maps) => Some(*maps),
        Adoptable::Replace(note) => {
            notes.push(note);
            None
        }
    };
    let recipe = Recipe {
        loaded,
        snapshot: &snapshot,
        flags: options.flags(loaded),
    };
    let before = match before {
        Some(maps) => Some(settle_pending(instance, maps, loaded, options, &mut notes).await?),
        None => None,
    };
    notes.extend(lockout::check(instance, before.as_ref(), &recipe, options.consent).await?);
    notes.extend(removed_guards(instance, &snapshot, options)?);
    let staging = match options.without_lock {
        true => instance.pins().rescue(),
        false => instance.pins().staging(),
    };
    notes.extend(staging.create()?);
    let new = NewPins {
        staging: &staging,
        instance,
        options,
        recipe,
    };
    let built = new.put_in_force(before)?;
    notes.extend(built.notes);
    notes.extend(instance.below_root()?);
    instance.word()?.take_back();
    Ok((notes, built.maps))
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

/// A set of pins in the making.
struct NewPins<'a> {
    staging: &'a PinDir,
    instance: &'a Instance,
    options: UpOptions,
    recipe: Recipe<'a>,
}

/// A finished set of pins.
struct Built {
    maps: Maps,
    tables: PolicyTables,
    notes: Vec<Note>,
}

impl NewPins<'_> {
    /// Builds the set, exchanges it with the pins in force, and removes the old pins. The maps in
    /// force become the maps of the set, if there are any.
    fn put_in_force(&self, in_force: Option<Maps>) -> Result<Built> {
        let adopt = in_force.is_some();
        // Words about the switch do not prevent the switch.
        let before = in_force
            .as_ref()
            .and_then(|maps| maps.services_in_force().ok());
        let replace = |built| {
            let pins = self.instance.pins();
            pins.replace_with(self.staging)
                .with_context(|| match adopt {
                    true => {
                        "the new policy is in force, but its pins cannot take the old ones' place"
                    }
                    false => "the new pins cannot be put in place",
                })
                .map(|()| built)
        };
        let built = match self.build(in_force).and_then(replace) {
            Err(error) if !adopt => Err(match self.give_back() {
                Ok(()) => error,
                Err(why) => error.context(format!(
                    "some guards judge by the new policy already ({why:#}): run `enforcer up` again"
                )),
            }),
            built => built,
        };
        // After an exchange the old set; after a failure the new set, whose links are
        // also pinned in the old set.
        let removed = self.staging.remove(Some(self.instance.pins()));
        let mut built = built?;
        built.notes.extend(released_by(before, &built.tables));
        built
            .notes
            .extend(reserve::reserve_or_note(&built.maps, &built.tables));
        built.notes.extend(removed.context(
            "the new policy is in force, but the old pins cannot be removed: run `enforcer up` \
             again",
        )?);
        Ok(built)
    }

    /// Fills the staging directory: maps with the policy, programs, guards.
    fn build(&self, in_force: Option<Maps>) -> Result<Built> {
        let adopt = in_force.is_some();
        let netns_cookie = sys::netns_cookie()?;
        if adopt {
            load::adopt_maps(self.instance.pins(), self.staging)?;
        }
        let options = Options {
            netns_cookie,
            log: self.options.log,
        };
        let mut programs = Programs::with_maps(self.staging, options)?;
        let mut notes = Vec::new();
        let socket = match self.options.socket {
            true => self.or_without(programs.socket(), &mut notes)?,
            false => None,
        };
        let flags = self.recipe.flags;
        let mut maps = match in_force {
            Some(maps) => maps,
            None => Maps::open(self.staging)?,
        };
        if !adopt {
            // The policy first: a guard must never meet maps without a policy.
            if let Some(old) = Reserved::of(self.instance.pins())? {
                maps.reserved.remember(&old.ports());
            }
            maps.describe(netns_cookie, flags);
            let candidate =
                Candidate::compile(&self.recipe, &AttachedGuards::default(), &maps.slots()?)?;
            maps.switch_to(&candidate.tables)?;
        }
        if let Some(program) = socket {
            self.attach_socket_guard(&program, adopt, &mut notes)?;
        }
        let attached = find_attached(self.instance.pins(), self.recipe.snapshot)?;
        let plan = self.recipe.guard_plan(&attached);
        let report = executor::reconcile(
            &mut programs,
            self.instance.pins(),
            &attached,
            &plan,
            HookPolicy::AsPlanned,
        )?;
        notes.extend(report.notes);
        maps.watch_bypasses(&report.guards.keys().copied().collect())?;
        let candidate =
            Candidate::compile_for(&self.recipe, &plan.wanted, report.guards, &maps.slots()?)?;
        let tables = candidate.tables;
        notes.extend(sent::attach(&mut programs, self.instance, &tables));
        // Last, if the maps are those in force: a failure before this line has changed no policy.
        // A second time, if the maps are new and an interface took another hook than expected.
        if adopt || tables != maps.tables()? {
            // The idle bank holds the policy before a pending policy.
            maps.end_pending(false);
            maps.switch_to(&tables)?;
        }
        maps.describe(netns_cookie, flags);
        Ok(Built {
            maps,
            tables,
            notes,
        })
    }

    /// Attaches the socket guard before any wire guard: the socket guard alone holds on every
    /// interface.
    fn attach_socket_guard(
        &self,
        program: &Path,
        adopt: bool,
        notes: &mut Vec<Note>,
    ) -> Result<()> {
        let old = self.instance.pins().socket_link();
        let new = self.staging.socket_link();
        let cgroup = mounts::cgroup_root(self.instance.cgroup());
        let is_in_place = match &cgroup {
            Ok(cgroup) => links::is_socket_attached_to(&old, cgroup)?,
            // The attached guard needs no mounted cgroup2.
            Err(_) => self.instance.has_socket_guard()?,
        };
        if adopt && is_in_place {
            return links::take_over(&old, program, &new);
        }
        // Beside the old guard, if there is one: both judge until the old pins go.
        let attached = cgroup.and_then(|cgroup| {
            links::attach_cgroup(program, (&cgroup, CgroupHook::Ingress), &new)
        });
        self.or_without(attached, notes).map(drop)
    }

    /// The result, or a note in its place if there can be no socket guard: wire guards alone hold
    /// more than no guards do, and `status` reports degraded.
    ///
    /// # Errors
    /// The old set has a socket guard, not to be given up; or no wire guards are wanted.
    fn or_without<T>(&self, result: Result<T>, notes: &mut Vec<Note>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(why) if !self.options.wire || self.instance.has_socket_guard()? => Err(why),
            Err(why) => {
                notes.push(Note::new(
                    NoteKind::NoSocketGuard,
                    format!("there is no socket guard: {why:#}"),
                ));
                Ok(None)
            }
        }
    }

    /// Gives the guards in place their own programs again.
    fn give_back(&self) -> Result<()> {
        let everything = Recipe {
            flags: EVERY_GUARD,
            ..self.recipe
        };
        let plan = everything.guard_plan(&AttachedGuards::default());
        executor::give_back(self.instance.pins(), &plan.tolerated)
    }
}
