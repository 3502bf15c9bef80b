//! `up`: a set of pins is built beside the one in force and put in its place.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_ebpf::layout::State;

use super::{
    Place, Survey, reserve,
    wire::{self, Alive},
};
use crate::{
    interfaces::Plan,
    kernel::{
        links,
        load::{self, Options, Programs, SocketScope},
        maps::{self, Maps},
        mounts,
        pins::PinDir,
        sys,
    },
    policy::{Tables, compile},
    registry::Registry,
};

/// What shall be in force.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Wire guards.
    pub wire: bool,
    /// The socket guard.
    pub socket: bool,
    /// The programs' own diagnostics.
    pub log: bool,
    /// The registry is the embedded one because the real one is bad.
    pub fallback: bool,
    /// The registry is the embedded one because there is no file.
    pub embedded: bool,
    /// What the socket guard shall identify; `None` for the most that the kernel allows.
    pub scope: Option<SocketScope>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            wire: true,
            socket: true,
            log: false,
            fallback: false,
            embedded: false,
            scope: None,
        }
    }
}

/// Puts a registry in force: fresh programs, the guards of an earlier set taken over without a
/// moment in between, counters kept where the layout is the same.
///
/// Everything is built beside the pins in force and renamed into their place, so that a crash
/// leaves the old guards or the new ones, under the old policy or the new one. Returns what the
/// operator should know.
///
/// # Errors
/// The old guards hold then, or none where there were none; they may have the new policy already.
pub fn install(
    place: &Place,
    registry: &Registry,
    survey: &Survey,
    wanted: Wanted,
) -> Result<Vec<String>> {
    mounts::ensure_bpffs(place.pins.parent())?;
    let cgroup = mounts::cgroup_root(place.cgroup.as_deref())?;
    let _lock = place.lock()?;
    let staging = place.pins.staging();
    staging
        .remove()
        .context("failed to clean up after an earlier attempt")?;
    let mut notes = Vec::new();
    let adopt = is_adoptable(place, &mut notes)?;
    say_what_goes(place, wanted, &mut notes)?;
    staging.create()?;
    let built = build(&staging, place, &cgroup, adopt, wanted, registry, survey)
        .and_then(|built| place.pins.replace_with(&staging).map(|()| built));
    // The old set if the two changed places, else what was built in vain; what was taken over has
    // its old pin still.
    let removed = staging.remove();
    let built = built?;
    removed.context("the new policy is in force, but the old pins cannot be removed")?;
    reserve::reserve(&built.maps, &built.maps.tables()?)
        .context("the policy is in force, but outgoing connections may be given its ports")?;
    notes.extend(built.notes);
    Ok(notes)
}

struct Built {
    maps: Maps,
    notes: Vec<String>,
}

/// Fills the staging directory: maps with the policy, programs, guards.
fn build(
    staging: &PinDir,
    place: &Place,
    cgroup: &Path,
    adopt: bool,
    wanted: Wanted,
    registry: &Registry,
    survey: &Survey,
) -> Result<Built> {
    let netns_cookie = sys::netns_cookie()?;
    if adopt {
        load::adopt_maps(&place.pins, staging)?;
    }
    let options = Options {
        netns_cookie,
        log: wanted.log,
        scope: wanted.scope,
    };
    let mut programs = Programs::with_maps(staging, options)?;
    let socket = match wanted.socket {
        true => Some(programs.socket()?),
        false => None,
    };
    let flags = flags(wanted, socket.as_ref().map(|(_, scope)| *scope));
    let mut maps = Maps::open(staging)?;
    maps.describe(netns_cookie, flags);
    // Policy first: a guard that is taken over must never meet maps without one.
    let rules = compile(registry, &[], &maps.slots())?;
    let before = Alive::find(&place.pins)?;
    let plan = plan_in_force(survey, flags, &rules, &before);
    let mut attachments = wire::attachments(survey, &plan, &before.guards);
    maps.switch_to(&compile(registry, &attachments, &maps.slots())?)?;
    let tolerated = plan_tolerated(survey, flags, &rules, &before);
    let covered = wire::reconcile(&mut programs, &place.pins, &plan, &tolerated)?;
    maps.watch_bypasses(&covered.guards.keys().copied().collect())?;
    // The hooks that were to be had decide what a VLAN parent's guard can see.
    let found = wire::attachments(survey, &plan, &covered.guards);
    if found != attachments {
        attachments = found;
        maps.switch_to(&compile(registry, &attachments, &maps.slots())?)?;
    }
    if let Some((program, _)) = socket {
        // The old one is still there: both judge until the old pins go.
        links::attach_socket(&program, cgroup, &staging.socket_link())?;
    }
    Ok(Built {
        maps,
        notes: covered.notes,
    })
}

/// Says which guards this takes off: `--guards` is the operator's word, and the other layer holds
/// all the while, which is better than a `down` in between.
fn say_what_goes(place: &Place, wanted: Wanted, notes: &mut Vec<String>) -> Result<()> {
    if !wanted.wire && !Alive::find(&place.pins)?.guards.is_empty() {
        notes.push("the wire guards are taken off, as --guards says".to_owned());
    }
    if !wanted.socket && links::is_pinned(&place.pins.socket_link()) {
        notes.push("the socket guard is taken off, as --guards says".to_owned());
    }
    Ok(())
}

/// Whether the maps that are pinned can be used on.
///
/// # Errors
/// They guard another namespace, or it cannot be told which.
fn is_adoptable(place: &Place, notes: &mut Vec<String>) -> Result<bool> {
    if !place.pins.exists()? {
        return Ok(false);
    }
    let why = match Maps::open(&place.pins) {
        Ok(maps) => {
            place.check_namespace(&maps)?;
            return Ok(true);
        }
        Err(why) => why,
    };
    let Ok(cookie) = maps::pinned_netns_cookie(&place.pins) else {
        bail!(
            "{why:#}; and it cannot be told which network namespace they guard: take them off with \
             the `enforcer down` of the version that made them, or remove {} by hand",
            place.pins.path().display()
        );
    };
    ensure!(
        cookie == sys::netns_cookie()?,
        "the pins in {} guard another network namespace: give another --pin-dir",
        place.pins.path().display()
    );
    notes.push(format!(
        "the pins were of another layout and are replaced; counters start at 0 ({why:#})"
    ));
    Ok(false)
}

fn flags(wanted: Wanted, scope: Option<SocketScope>) -> u32 {
    let flag = |set: bool, flag| if set { flag } else { 0 };
    flag(wanted.wire, State::WANT_WIRE)
        | flag(wanted.socket, State::WANT_SOCKET)
        | flag(wanted.fallback, State::FALLBACK)
        | flag(wanted.log, State::LOG)
        | flag(wanted.embedded, State::EMBEDDED)
        | flag(scope == Some(SocketScope::TcpOnly), State::TCP_ONLY)
}

/// The wire guards that should be there, if any should.
pub(super) fn plan_in_force(survey: &Survey, flags: u32, rules: &Tables, alive: &Alive) -> Plan {
    match flags & State::WANT_WIRE {
        0 => Plan::default(),
        _ => survey.plan(rules, alive.programs.clone()),
    }
}

/// The wire guards that may stay where they are: those that should be there, and those of
/// interfaces that are down, which may come up before anybody looks again.
pub(super) fn plan_tolerated(survey: &Survey, flags: u32, rules: &Tables, alive: &Alive) -> Plan {
    plan_in_force(&survey.as_if_up(), flags, rules, alive)
}
