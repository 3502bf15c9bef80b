//! `reload`: another registry, at once and as a whole; and what `run` does when the host changes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use enforcer_ebpf::layout::State;

use super::{
    HostSnapshot, Instance,
    keys::{self, Keys},
    lockout::{self, Consent},
    pending,
    reconcile::{self, Hooks},
    reserve, snapshot_at_once, snapshot_for,
};
use crate::{
    interfaces::InterfaceOptions,
    kernel::maps::Maps,
    policy::{PolicyTables, compile},
    registry::{Loaded, Origin, Registry},
};

/// What a reload did.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The generation in force now.
    pub generation: u32,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// How a registry is to be put in force.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// It is taken back after this time unless it is confirmed.
    pub confirm: Option<Duration>,
    /// What it may do to people.
    pub consent: Consent,
}

/// What became of the wish to put another registry in force.
#[derive(Clone, Debug)]
pub enum Replaced {
    /// It is in force.
    By(Reloaded),
    /// The generation is not the one that the caller knows.
    Foreign,
    /// Nothing is pinned.
    Gone,
}

/// Makes a registry the policy in force; `None` where nothing is pinned.
///
/// Interfaces and WireGuard are looked at again as well: an interface that came since gets its
/// guard, and a peer by key its AllowedIPs of this moment.
///
/// # Errors
/// The old policy is in force then, unless the message says otherwise.
pub async fn reload(
    instance: &Instance,
    loaded: &Loaded,
    terms: Terms,
) -> Result<Option<Reloaded>> {
    Ok(match replace_any(instance, loaded, terms, None).await? {
        Replaced::By(reloaded) => Some(reloaded),
        Replaced::Foreign | Replaced::Gone => None,
    })
}

/// The same, where the policy in force is still of this generation: whoever read the registry under
/// another one may have read it too early.
///
/// # Errors
/// As for [`reload`].
pub async fn replace(
    instance: &Instance,
    loaded: &Loaded,
    terms: Terms,
    generation: u32,
) -> Result<Replaced> {
    replace_any(instance, loaded, terms, Some(generation)).await
}

async fn replace_any(
    instance: &Instance,
    loaded: &Loaded,
    terms: Terms,
    known: Option<u32>,
) -> Result<Replaced> {
    if !instance.is_pinned()? {
        return Ok(Replaced::Gone);
    }
    let _lock = instance.lock()?;
    let Some(mut maps) = open(instance)? else {
        return Ok(Replaced::Gone);
    };
    if known.is_some_and(|known| known != maps.state().generation) {
        return Ok(Replaced::Foreign);
    }
    let mut notes = Vec::new();
    if let Some(back) = pending::settle(instance, &mut maps).await? {
        notes.push(back.words());
        notes.extend(back.notes);
    }
    pending::refuse_while_armed(&maps)?;
    pending::refuse_again(&maps, &loaded.provenance, terms.consent.author)?;
    // Under the lock: what another command has just attached must not look like a stranger.
    let snapshot = &snapshot_for(&loaded.registry).await?;
    let change = Change {
        instance,
        snapshot,
        registry: &loaded.registry,
        is_trial: terms.confirm.is_some(),
    };
    let state = maps.state();
    notes.extend(change.check(&maps, terms.consent).await?);
    let who = match terms.confirm {
        Some(time) => Some(pending::arrange(instance, time).await?),
        None => None,
    };
    let (covered, tables) = change.prepare(&mut maps, loaded)?;
    let generation = match terms.confirm {
        Some(time) => {
            notes.extend(is_no_trial(&maps, &tables)?);
            maps.try_out(&tables, time)?
        }
        None => maps.switch_to(&tables)?,
    };
    // A good registry ends the time of the embedded one.
    let embedded = match loaded.origin {
        Origin::Embedded => State::EMBEDDED,
        Origin::Files(_) => 0,
    };
    let flags = state.flags & !(State::FALLBACK | State::EMBEDDED) | embedded;
    maps.describe(state.netns_cookie, flags);
    if terms.confirm.is_none() {
        // What became of the last trial is old news.
        maps.end_trial(false);
    }
    notes.extend(change.finish(&maps, covered, &tables)?);
    notes.extend(keys::all_waiting(&tables, snapshot));
    if state.flags & State::STATIC_PEERS == 0 && !instance.is_followed() {
        notes.extend(keys::unfollowed(&loaded.registry));
    }
    if let (Some(time), Some(who)) = (terms.confirm, who) {
        notes.push(format!(
            "on trial: in {} s the policy before it comes back, unless `enforcer confirm` follows \
             ({who})",
            time.as_secs()
        ));
    }
    Ok(Replaced::By(Reloaded { generation, notes }))
}

/// What to say of a trial that is none.
fn is_no_trial(maps: &Maps, tables: &PolicyTables) -> Result<Option<String>> {
    let in_force = PolicyTables {
        provenance: tables.provenance.clone(),
        ..maps.tables()?
    };
    Ok((in_force == *tables).then(|| {
        "this is the policy in force already, and to take it back will change nothing. `run` \
         applies edits of its registry by itself: give what you want to try as another file \
         (`--config FILE`)"
            .to_owned()
    }))
}

/// What a look at the host brought.
#[derive(Clone, Debug)]
pub struct Look {
    /// What became of the policy.
    pub followed: Followed,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What WireGuard said, if it was asked.
    pub keys: Option<Keys>,
}

impl Look {
    fn only(followed: Followed) -> Self {
        Self {
            followed,
            notes: Vec::new(),
            keys: None,
        }
    }
}

/// What became of the policy after a look at the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The policy is that of `generation`, guards and all, and nothing had to be switched.
    Unchanged,
    /// Another generation is in force, for the host as it is now.
    Switched(u32),
    /// The generation is not the one that the caller knows: somebody else's command was here.
    Foreign,
    /// Nothing is pinned.
    Gone,
}

/// Brings guards and policy up to the host as it is now: interfaces that came, left or changed,
/// AllowedIPs, reserved ports. `loaded` is the registry in force, under `generation`; without it
/// only guards follow, by the options that the policy in force has for interfaces.
///
/// An interface that comes up does not wait for a process: userspace devices are not asked again
/// for their AllowedIPs, `keys` has what they answered.
///
/// # Errors
/// As for [`reload`].
pub async fn follow(
    instance: &Instance,
    loaded: Option<&Loaded>,
    generation: u32,
    keys: &Keys,
) -> Result<Look> {
    if !instance.is_pinned()? {
        return Ok(Look::only(Followed::Gone));
    }
    let _lock = instance.lock()?;
    let Some(mut maps) = open(instance)? else {
        return Ok(Look::only(Followed::Gone));
    };
    if maps.state().generation != generation {
        return Ok(Look::only(Followed::Foreign));
    }
    if let Some(back) = pending::settle(instance, &mut maps).await? {
        return Ok(Look {
            notes: [vec![back.words()], back.notes].concat(),
            ..Look::only(Followed::Foreign)
        });
    }
    // While a policy is on trial its way back stays as it is.
    let loaded = loaded.filter(|_| pending::armed(&maps).is_none());
    let Some(loaded) = loaded else {
        return Ok(Look {
            notes: guard(instance, &mut maps).await?,
            ..Look::only(Followed::Unchanged)
        });
    };
    let snapshot = &snapshot_at_once(&loaded.registry, keys).await?;
    let change = Change {
        instance,
        snapshot,
        registry: &loaded.registry,
        is_trial: false,
    };
    let (covered, tables) = change.prepare(&mut maps, loaded)?;
    let followed = if tables == maps.tables()? {
        Followed::Unchanged
    } else {
        Followed::Switched(maps.switch_to(&tables)?)
    };
    Ok(Look {
        followed,
        notes: change.finish(&maps, covered, &tables)?,
        keys: Some(Keys::of(snapshot)),
    })
}

/// Gives interfaces that came their guards, and takes none off that has an interface.
async fn guard(instance: &Instance, maps: &mut Maps) -> Result<Vec<String>> {
    let tables = maps.tables()?;
    let snapshot = &super::snapshot().await?;
    let options_of = |name: &str| tables.options_of(name);
    let (_, mut covered) = reconcile::reconcile_in_place(
        instance,
        maps.state(),
        snapshot,
        options_of,
        Hooks::AsTheyAre,
    )?;
    covered.keep_leaving(snapshot);
    maps.watch_bypasses(&covered.guards.keys().copied().collect())?;
    let mut notes = covered.notes;
    notes.extend(reserve::reserve_or_say(maps, &tables));
    Ok(notes)
}

/// Opens the maps, where no interrupted command stands in the way.
fn open(instance: &Instance) -> Result<Option<Maps>> {
    let Some(maps) = instance.maps()? else {
        return Ok(None);
    };
    // Guards beside these may judge by maps of their own, which a reload would not reach.
    ensure!(
        !instance.has_guards_beside()?,
        "an earlier command was interrupted, and guards that it made may hold: run `enforcer up`, \
         which puts the registry in force as well"
    );
    Ok(Some(maps))
}

/// From one policy to the next, in place.
struct Change<'a> {
    instance: &'a Instance,
    snapshot: &'a HostSnapshot,
    registry: &'a Registry,
    /// The policy before it may come back, with its guards.
    is_trial: bool,
}

impl Change<'_> {
    /// Sees what the change would do to people, before anything is changed.
    async fn check(&self, maps: &Maps, consent: Consent) -> Result<Vec<String>> {
        let consent = Consent {
            on_trial: self.is_trial,
            ..consent
        };
        let flags = maps.state().flags;
        lockout::check(
            self.instance,
            Some(maps),
            self.registry,
            self.snapshot,
            flags,
            consent,
        )
        .await
    }

    /// Attaches what the registry wants, and compiles it.
    fn prepare(
        &self,
        maps: &mut Maps,
        loaded: &Loaded,
    ) -> Result<(reconcile::AttachReport, PolicyTables)> {
        let (instance, snapshot) = (self.instance, self.snapshot);
        let options_of = |name: &str| InterfaceOptions::of(self.registry, name);
        let hooks = match self.is_trial {
            true => Hooks::AsTheyAre,
            false => Hooks::AsPlanned,
        };
        let (plan, mut covered) =
            reconcile::reconcile_in_place(instance, maps.state(), snapshot, options_of, hooks)?;
        if self.is_trial {
            for name in covered.keep_leaving(snapshot) {
                covered.notes.push(format!(
                    "{name} keeps its guard until the new policy, which wants none, is confirmed"
                ));
            }
        }
        maps.watch_bypasses(&covered.guards.keys().copied().collect())?;
        let attachments = reconcile::attachments(snapshot, &plan, &covered.guards);
        let tables = PolicyTables {
            provenance: loaded.provenance.clone(),
            ..compile(self.registry, &attachments, &maps.slots())?
        };
        Ok((covered, tables))
    }

    /// What comes after the switch.
    fn finish(
        &self,
        maps: &Maps,
        covered: reconcile::AttachReport,
        tables: &PolicyTables,
    ) -> Result<Vec<String>> {
        // Only now: until the switch, the old policy may have wanted them.
        covered
            .detach_leaving()
            .context("the new policy is in force, but a guard that it has no use for stays on")?;
        let mut notes = covered.notes;
        notes.extend(reserve::reserve_or_say(maps, tables));
        Ok(notes)
    }
}
