//! `reload`: another registry, at once and as a whole; and what `run` does when the host changes.

use anyhow::{Context as _, Result, ensure};
use enforcer_ebpf::layout::State;

use super::{
    Place, Survey,
    install::{plan_in_force, plan_tolerated},
    keys::{self, Keys},
    reserve, survey_for,
    wire::{self, Alive},
};
use crate::{
    interfaces::Rule,
    kernel::{
        load::{Options, Programs},
        maps::Maps,
    },
    policy::{Tables, compile},
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

/// Makes a registry the policy in force; `None` where nothing is pinned.
///
/// Interfaces and WireGuard are looked at again as well: an interface that came since gets its
/// guard, and a peer by key its AllowedIPs of this moment.
///
/// # Errors
/// The old policy is in force then, unless the message says otherwise.
pub async fn reload(place: &Place, loaded: &Loaded) -> Result<Option<Reloaded>> {
    if !place.is_pinned()? {
        return Ok(None);
    }
    let _lock = place.lock()?;
    let Some(mut maps) = open(place)? else {
        return Ok(None);
    };
    // Under the lock: what another command has just attached must not look like a stranger.
    let survey = &survey_for(&loaded.registry).await?;
    let change = Change {
        place,
        survey,
        registry: &loaded.registry,
    };
    let state = maps.state();
    let (covered, tables) = change.prepare(&mut maps, loaded)?;
    let generation = maps.switch_to(&tables)?;
    // A good registry ends the time of the embedded one.
    let embedded = match loaded.origin {
        Origin::Embedded => State::EMBEDDED,
        Origin::Files(_) => 0,
    };
    let flags = state.flags & !(State::FALLBACK | State::EMBEDDED) | embedded;
    maps.describe(state.netns_cookie, flags);
    let mut notes = change.finish(&maps, covered, &tables)?;
    notes.extend(keys::all_waiting(&tables, survey));
    if state.flags & State::STATIC_PEERS == 0 && !place.is_followed() {
        notes.extend(keys::unfollowed(&loaded.registry));
    }
    Ok(Some(Reloaded { generation, notes }))
}

/// What a look at the host brought.
#[derive(Clone, Debug)]
pub struct Look {
    /// What became of the policy.
    pub followed: Followed,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What WireGuard said.
    pub keys: Keys,
}

impl Look {
    fn only(followed: Followed) -> Self {
        Self {
            followed,
            notes: Vec::new(),
            keys: Keys::default(),
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
/// only guards follow, by the rules that the policy in force has for interfaces.
///
/// # Errors
/// As for [`reload`].
pub async fn follow(place: &Place, loaded: Option<&Loaded>, generation: u32) -> Result<Look> {
    if !place.is_pinned()? {
        return Ok(Look::only(Followed::Gone));
    }
    let _lock = place.lock()?;
    let Some(mut maps) = open(place)? else {
        return Ok(Look::only(Followed::Gone));
    };
    if maps.state().generation != generation {
        return Ok(Look::only(Followed::Foreign));
    }
    let Some(loaded) = loaded else {
        return Ok(Look {
            notes: guard(place, &mut maps).await?,
            ..Look::only(Followed::Unchanged)
        });
    };
    let survey = &survey_for(&loaded.registry).await?;
    let change = Change {
        place,
        survey,
        registry: &loaded.registry,
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
        keys: Keys::of(survey),
    })
}

/// Gives interfaces that came their guards, and takes none off that has an interface.
async fn guard(place: &Place, maps: &mut Maps) -> Result<Vec<String>> {
    let tables = maps.tables()?;
    let survey = &super::survey().await?;
    let state = maps.state();
    let alive = Alive::find(&place.pins, survey)?;
    let rule = |name: &str| tables.rule(name);
    let plan = plan_in_force(survey, state.flags, rule, &alive);
    let tolerated = plan_tolerated(survey, state.flags, rule, &alive);
    let mut programs = Programs::of(&place.pins, options(state));
    let covered = wire::reconcile(&mut programs, &place.pins, &alive, &plan, &tolerated)?;
    maps.watch_bypasses(&covered.guards.keys().copied().collect())?;
    let mut notes = covered.notes;
    notes.extend(reserve_or_say(maps, &tables));
    Ok(notes)
}

/// Opens the maps, where no interrupted command stands in the way.
fn open(place: &Place) -> Result<Option<Maps>> {
    let Some(maps) = place.maps()? else {
        return Ok(None);
    };
    // Guards beside these may judge by maps of their own, which a reload would not reach.
    ensure!(
        !place.has_guards_beside()?,
        "an earlier command was interrupted, and guards that it made may hold: run `enforcer up`, \
         which puts the registry in force as well"
    );
    Ok(Some(maps))
}

/// From one policy to the next, in place.
struct Change<'a> {
    place: &'a Place,
    survey: &'a Survey,
    registry: &'a Registry,
}

impl Change<'_> {
    /// Attaches what the registry wants, and compiles it.
    fn prepare(&self, maps: &mut Maps, loaded: &Loaded) -> Result<(wire::Covered, Tables)> {
        let (place, survey) = (self.place, self.survey);
        let state = maps.state();
        let rule = |name: &str| Rule::of(self.registry, name);
        let alive = Alive::find(&place.pins, survey)?;
        let plan = plan_in_force(survey, state.flags, rule, &alive);
        let tolerated = plan_tolerated(survey, state.flags, rule, &alive);
        // For an interface that came since and wants a program that nobody needed before.
        let mut programs = Programs::of(&place.pins, options(state));
        let covered = wire::reconcile(&mut programs, &place.pins, &alive, &plan, &tolerated)?;
        maps.watch_bypasses(&covered.guards.keys().copied().collect())?;
        let attachments = wire::attachments(survey, &plan, &covered.guards);
        let tables = Tables {
            provenance: loaded.provenance.clone(),
            ..compile(self.registry, &attachments, &maps.slots())?
        };
        Ok((covered, tables))
    }

    /// What comes after the switch.
    fn finish(&self, maps: &Maps, covered: wire::Covered, tables: &Tables) -> Result<Vec<String>> {
        // Only now: until the switch, the old policy may have wanted them.
        covered
            .detach_leaving()
            .context("the new policy is in force, but a guard that it has no use for stays on")?;
        let mut notes = covered.notes;
        notes.extend(reserve_or_say(maps, tables));
        Ok(notes)
    }
}

pub(super) fn options(state: State) -> Options {
    Options {
        netns_cookie: state.netns_cookie,
        log: state.flags & State::LOG != 0,
    }
}

fn reserve_or_say(maps: &Maps, tables: &Tables) -> Option<String> {
    let error = reserve::reserve(&maps.reserved, tables).err()?;
    Some(format!(
        "outgoing connections may be given registered ports: {error:#}"
    ))
}

/// The policy that a registry would be, beside the one in force: for `reload --dry-run`.
///
/// # Errors
/// The pins or the registry make no sense on this host.
pub fn preview(
    place: &Place,
    loaded: &Loaded,
    survey: &Survey,
) -> Result<Option<(Tables, Tables)>> {
    let Some(maps) = place.maps()? else {
        return Ok(None);
    };
    let rule = |name: &str| Rule::of(&loaded.registry, name);
    let alive = Alive::find(&place.pins, survey)?;
    let plan = plan_in_force(survey, maps.state().flags, rule, &alive);
    let attachments = wire::attachments(survey, &plan, &alive.guards);
    let next = Tables {
        provenance: loaded.provenance.clone(),
        ..compile(&loaded.registry, &attachments, &maps.slots())?
    };
    Ok(Some((maps.tables()?, next)))
}
