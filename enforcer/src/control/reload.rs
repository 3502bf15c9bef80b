//! `reload`: another registry, at once and as a whole.

use anyhow::{Context as _, Result, ensure};
use enforcer_ebpf::layout::State;

use super::{
    Place, Survey,
    install::{plan_in_force, plan_tolerated},
    keys, reserve, survey_for,
    wire::{self, Alive},
};
use crate::{
    interfaces::Rule,
    kernel::load::{Options, Programs},
    policy::{Tables, compile},
    registry::Registry,
};

/// What a reload did.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The generation in force now.
    pub generation: u32,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Makes a registry the policy in force; `None` where nothing is pinned.
///
/// Interfaces and WireGuard are looked at again as well: an interface that came since gets its
/// guard, and a peer by key its AllowedIPs of this moment. `embedded` says
/// that the registry is the built-in one, for want of a file.
///
/// # Errors
/// The old policy is in force then, unless the message says otherwise.
pub async fn reload(
    place: &Place,
    registry: &Registry,
    embedded: bool,
) -> Result<Option<Reloaded>> {
    if !place.is_pinned()? {
        return Ok(None);
    }
    let _lock = place.lock()?;
    let Some(mut maps) = place.maps()? else {
        return Ok(None);
    };
    // Guards beside these may judge by maps of their own, which a reload would not reach.
    ensure!(
        !place.has_guards_beside()?,
        "an earlier command was interrupted, and guards that it made may hold: run `enforcer up`, \
         which puts the registry in force as well"
    );
    // Under the lock: what another command has just attached must not look like a stranger.
    let survey = &survey_for(registry).await?;
    let state = maps.state();
    let rule = |name: &str| Rule::of(registry, name);
    let alive = Alive::find(&place.pins, survey)?;
    let plan = plan_in_force(survey, state.flags, rule, &alive);
    let tolerated = plan_tolerated(survey, state.flags, rule, &alive);
    // For an interface that came since and wants a program that nobody needed before.
    let options = Options {
        netns_cookie: state.netns_cookie,
        log: state.flags & State::LOG != 0,
    };
    let mut programs = Programs::of(&place.pins, options);
    let covered = wire::reconcile(&mut programs, &place.pins, &alive, &plan, &tolerated)?;
    maps.watch_bypasses(&covered.guards.keys().copied().collect())?;
    let attachments = wire::attachments(survey, &plan, &covered.guards);
    let tables = compile(registry, &attachments, &maps.slots())?;
    let generation = maps.switch_to(&tables)?;
    // A good registry ends the time of the embedded one.
    let embedded = if embedded { State::EMBEDDED } else { 0 };
    let flags = state.flags & !(State::FALLBACK | State::EMBEDDED) | embedded;
    maps.describe(state.netns_cookie, flags);
    // Only now: until the switch, the old policy may have wanted them.
    covered
        .detach_leaving()
        .context("the new policy is in force, but a guard that it has no use for stays on")?;
    let mut notes = covered.notes;
    notes.extend(keys::all_waiting(&tables, survey));
    if state.flags & State::STATIC_PEERS == 0 {
        notes.extend(keys::unfollowed(registry));
    }
    if let Err(error) = reserve::reserve(&maps.reserved, &tables) {
        notes.push(format!(
            "outgoing connections may be given registered ports: {error:#}"
        ));
    }
    Ok(Some(Reloaded { generation, notes }))
}

/// The policy that a registry would be, beside the one in force: for `reload --dry-run`.
///
/// # Errors
/// The pins or the registry make no sense on this host.
pub fn preview(
    place: &Place,
    registry: &Registry,
    survey: &Survey,
) -> Result<Option<(Tables, Tables)>> {
    let Some(maps) = place.maps()? else {
        return Ok(None);
    };
    let rule = |name: &str| Rule::of(registry, name);
    let alive = Alive::find(&place.pins, survey)?;
    let plan = plan_in_force(survey, maps.state().flags, rule, &alive);
    let attachments = wire::attachments(survey, &plan, &alive.guards);
    let next = compile(registry, &attachments, &maps.slots())?;
    Ok(Some((maps.tables()?, next)))
}
