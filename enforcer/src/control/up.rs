//! `up`: a set of pins is built beside the one in force and put in its place.

use std::path::Path;

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::State;

use super::{
    HostSnapshot, Instance,
    lockout::{self, Author, Consent},
    pending,
    reconcile::{self, AttachedGuards, Hooks, plan_in_force, plan_tolerated},
    reserve, snapshot_for,
};
use crate::{
    interfaces::InterfaceOptions,
    kernel::{
        links,
        load::{self, Options, Programs},
        maps::{Maps, OtherLayout, Reserved},
        mounts,
        pins::PinDir,
        sys,
    },
    policy::{PolicyTables, compile},
    registry::{Loaded, Origin, Registry},
};

/// What shall be in force.
#[derive(Clone, Copy, Debug)]
pub struct UpOptions {
    /// Wire guards.
    pub wire: bool,
    /// The socket guard.
    pub socket: bool,
    /// The programs' own diagnostics.
    pub log: bool,
    /// The registry is the embedded one because the real one is bad.
    pub fallback: bool,
    /// Peers by key are resolved now and at each reload, and nobody is meant to follow them.
    pub static_peers: bool,
    /// What it may do to people, and whose wish it is: an operator's ends a trial, `run`'s does
    /// not.
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
            consent: Consent::default(),
        }
    }
}

/// Puts a registry in force: fresh programs, the guards of an earlier set taken over without a
/// moment in between, counters kept where the layout is the same.
///
/// Everything is built beside the pins in force and renamed into their place, so that a crash
/// leaves the old guards or the new ones. Returns what the operator should know.
///
/// # Errors
/// The old policy and the old guards hold then, or none where there were none, unless the message
/// says otherwise.
pub async fn up(instance: &Instance, loaded: &Loaded, wanted: UpOptions) -> Result<Vec<String>> {
    mounts::ensure_bpffs(instance.pins.parent())?;
    let cgroup = mounts::cgroup_root(instance.cgroup.as_deref())?;
    let _lock = instance.lock()?;
    // Under the lock: what another command has just attached must not look like a stranger.
    let snapshot = snapshot_for(&loaded.registry).await?;
    instance.recover()?;
    let staging = instance.pins.staging();
    let mut notes: Vec<String> = mounts::open_to_others(instance.pins.parent())?
        .into_iter()
        .collect();
    let before = adoptable(instance, &mut notes)?;
    let adopt = before.is_some();
    let before = settle(instance, before, loaded, wanted, &mut notes).await?;
    let (flags, consent) = (flags(wanted, loaded), wanted.consent);
    let registry = &loaded.registry;
    notes.extend(
        lockout::check(
            instance,
            before.as_ref(),
            registry,
            &snapshot,
            flags,
            consent,
        )
        .await?,
    );
    drop(before);
    say_what_goes(instance, &snapshot, wanted, &mut notes)?;
    staging.create()?;
    let new = New {
        staging: &staging,
        instance,
        cgroup: &cgroup,
        wanted,
        loaded,
        snapshot: &snapshot,
    };
    let built = new.build(adopt).and_then(|built| {
        instance
            .pins
            .replace_with(&staging)
            .with_context(|| match adopt {
                true => {
                    "the new policy is in force, but its pins cannot take the old ones' instance"
                }
                false => "the new pins cannot be put in place",
            })
            .map(|()| built)
    });
    let built = match built {
        Err(error) if !adopt => Err(match new.give_back() {
            Ok(()) => error,
            Err(why) => error.context(format!(
                "some guards judge by the new policy already ({why:#}): run `enforcer up` again"
            )),
        }),
        built => built,
    };
    // The old set if the two changed places, else what was built in vain; what was taken over has
    // its old pin still.
    let removed = staging.remove();
    let built = built?;
    notes.extend(built.notes);
    if let Err(error) = reserve::reserve(&built.maps.reserved, &built.tables) {
        notes.push(format!(
            "outgoing connections may be given registered ports: {error:#}"
        ));
    }
    removed.context(
        "the new policy is in force, but the old pins cannot be removed: run `enforcer up` again",
    )?;
    Ok(notes)
}

/// A set of pins that is being made.
struct New<'a> {
    staging: &'a PinDir,
    instance: &'a Instance,
    cgroup: &'a Path,
    wanted: UpOptions,
    loaded: &'a Loaded,
    snapshot: &'a HostSnapshot,
}

struct Built {
    maps: Maps,
    tables: PolicyTables,
    notes: Vec<String>,
}

impl New<'_> {
    fn registry(&self) -> &Registry {
        &self.loaded.registry
    }

    /// Fills the staging directory: maps with the policy, programs, guards.
    fn build(&self, adopt: bool) -> Result<Built> {
        let netns_cookie = sys::netns_cookie()?;
        if adopt {
            load::adopt_maps(&self.instance.pins, self.staging)?;
        }
        let options = Options {
            netns_cookie,
            log: self.wanted.log,
        };
        let mut programs = Programs::with_maps(self.staging, options)?;
        let mut notes = Vec::new();
        let socket = match self.wanted.socket {
            true => self.if_need_be_without(programs.socket(), &mut notes)?,
            false => None,
        };
        let flags = flags(self.wanted, self.loaded);
        let mut maps = Maps::open(self.staging)?;
        if !adopt {
            // Policy first: a guard must never meet maps without one.
            if let Some(old) = Reserved::of(&self.instance.pins)? {
                maps.reserved.remember(&old.ports());
            }
            maps.describe(netns_cookie, flags);
            maps.switch_to(&self.tables(&maps, flags, &AttachedGuards::default())?)?;
        }
        if let Some(program) = socket {
            // First: alone it holds on every interface, as long as wire guards are missing.
            let (old, new) = (self.instance.pins.socket_link(), self.staging.socket_link());
            if adopt && links::is_socket_on(&old, self.cgroup)? {
                links::take_over(&old, &program, &new)?;
            } else {
                // Beside the old one, if there is one: both judge until the old pins go.
                let attached = links::attach_socket(&program, self.cgroup, &new);
                self.if_need_be_without(attached, &mut notes)?;
            }
        }
        let before = AttachedGuards::find(&self.instance.pins, self.snapshot)?;
        let options_of = |name: &str| InterfaceOptions::of(self.registry(), name);
        let plan = plan_in_force(self.snapshot, flags, options_of, &before);
        let tolerated = plan_tolerated(self.snapshot, flags, options_of, &before);
        let covered = reconcile::reconcile(
            &mut programs,
            &self.instance.pins,
            &before,
            &plan,
            &tolerated,
            Hooks::AsPlanned,
        )?;
        maps.watch_bypasses(&covered.guards.keys().copied().collect())?;
        // Last, where the maps are those in force: whatever failed until here has changed nothing.
        // And again where they are new, now that it is known which hooks were to be had.
        let now = AttachedGuards {
            guards: covered.guards,
            ..before
        };
        let tables = self.tables(&maps, flags, &now)?;
        if adopt || tables != maps.tables()? {
            // Its way back is the bank that is filled next.
            maps.end_trial(false);
            maps.switch_to(&tables)?;
        }
        maps.describe(netns_cookie, flags);
        notes.extend(covered.notes);
        Ok(Built {
            maps,
            tables,
            notes,
        })
    }

    /// Goes on without the socket guard where it is not to be had: wire guards alone hold more than
    /// nothing does. `status` says degraded then.
    ///
    /// # Errors
    /// There is one, of an older set, which is not given up; or it was to stand alone.
    fn if_need_be_without<T>(&self, got: Result<T>, notes: &mut Vec<String>) -> Result<Option<T>> {
        match got {
            Ok(got) => Ok(Some(got)),
            Err(why) if !self.wanted.wire || self.instance.has_socket_guard()? => Err(why),
            Err(why) => {
                notes.push(format!("there is no socket guard: {why:#}"));
                Ok(None)
            }
        }
    }

    /// Undoes what was done to the guards in place.
    fn give_back(&self) -> Result<()> {
        let options_of = |name: &str| InterfaceOptions::of(self.registry(), name);
        let plan = plan_tolerated(
            self.snapshot,
            u32::MAX,
            options_of,
            &AttachedGuards::default(),
        );
        reconcile::give_back(&self.instance.pins, &plan)
    }

    /// The policy, for the wire guards that there are.
    fn tables(&self, maps: &Maps, flags: u32, alive: &AttachedGuards) -> Result<PolicyTables> {
        let options_of = |name: &str| InterfaceOptions::of(self.registry(), name);
        let plan = plan_in_force(self.snapshot, flags, options_of, alive);
        let attachments = reconcile::attachments(self.snapshot, &plan, &alive.guards);
        Ok(PolicyTables {
            provenance: self.loaded.provenance.clone(),
            ..compile(self.registry(), &attachments, &maps.slots())?
        })
    }
}

/// Takes back what is overdue, and sees whether a trial may end here.
///
/// # Errors
/// It may not: `run` is to go on with what is pinned. Or what is overdue cannot be taken back.
async fn settle(
    instance: &Instance,
    maps: Option<Maps>,
    loaded: &Loaded,
    wanted: UpOptions,
    notes: &mut Vec<String>,
) -> Result<Option<Maps>> {
    let Some(mut maps) = maps else {
        return Ok(None);
    };
    if let Some(back) = pending::settle(instance, &mut maps).await? {
        notes.push(back.words());
        notes.extend(back.notes);
    }
    if wanted.consent.author == Author::Run {
        pending::refuse_while_armed(&maps)?;
    }
    pending::refuse_again(&maps, &loaded.provenance, wanted.consent.author)?;
    Ok(Some(maps))
}

/// Says which guards this takes off: `--guards` is the operator's word, and the other layer holds
/// all the while, which is better than a `down` in between.
fn say_what_goes(
    instance: &Instance,
    snapshot: &HostSnapshot,
    wanted: UpOptions,
    notes: &mut Vec<String>,
) -> Result<()> {
    if !wanted.wire
        && !AttachedGuards::find(&instance.pins, snapshot)?
            .guards
            .is_empty()
    {
        notes.push("the wire guards are taken off, as --guards says".to_owned());
    }
    if !wanted.socket && instance.has_socket_guard()? {
        notes.push("the socket guard is taken off, as --guards says".to_owned());
    }
    Ok(())
}

/// The maps that are pinned, if they can be used on.
///
/// # Errors
/// They guard another namespace, or it cannot be told which.
fn adoptable(instance: &Instance, notes: &mut Vec<String>) -> Result<Option<Maps>> {
    if !instance.pins.exists()? {
        return Ok(None);
    }
    let why = match Maps::open(&instance.pins) {
        Ok(maps) => {
            instance.check_namespace(&maps)?;
            // An `up` that was cut short may have left maps without a policy.
            return Ok((maps.state().generation != 0).then_some(maps));
        }
        // A fault is no reason to give the counters up.
        Err(why) if !why.is::<OtherLayout>() => return Err(why),
        Err(why) => why,
    };
    instance
        .owner(&instance.pins)
        .with_context(|| format!("{why:#}"))?;
    notes.push(format!(
        "the pins were of another layout and are replaced; counters start at 0 ({why:#})"
    ));
    Ok(None)
}

fn flags(wanted: UpOptions, loaded: &Loaded) -> u32 {
    let flag = |set: bool, flag| if set { flag } else { 0 };
    flag(wanted.wire, State::WANT_WIRE)
        | flag(wanted.socket, State::WANT_SOCKET)
        | flag(wanted.fallback, State::FALLBACK)
        | flag(wanted.log, State::LOG)
        | flag(
            loaded.origin == Origin::Embedded && !wanted.fallback,
            State::EMBEDDED,
        )
        | flag(wanted.static_peers, State::STATIC_PEERS)
}
