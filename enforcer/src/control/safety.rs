//! What a change would do to people: it wants `--force` where it cuts them off.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result, bail};
use enforcer_ebpf::{Decision, Guard, Protocol, layout::State};

use super::{
    Place, Survey,
    sessions::{self, Session},
    wire::{self, Alive, plan_in_force},
};
use crate::{
    interfaces::{Hook, Rule},
    kernel::maps::Maps,
    netlink::route,
    policy::{Description, Slots, Tables, compile},
    registry::Registry,
};

/// Whose change it is, and so whom it must not cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Author {
    /// Somebody typed a command: the SSH session that it was typed in. If they typed `systemctl
    /// reload`, whoever is connected to port 22.
    #[default]
    Command,
    /// `run` found the registry changed: whoever is connected to port 22.
    Run,
}

/// What stands in the way of a change, and who says that it may.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consent {
    /// Whose change it is.
    pub author: Author,
    /// `--force`: it may cut people off.
    pub force: bool,
    /// `--confirm`: it may, as it takes itself back.
    pub on_trial: bool,
}

/// A change that would cut people off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    why: Vec<String>,
    /// There is a policy to which `reload --confirm` could go back.
    is_pinned: bool,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this {}: nothing was changed. `--force` does it all the same",
            self.why.join(", and ")
        )?;
        if self.is_pinned {
            f.write_str(
                "; `enforcer reload --confirm 60s` does it, and takes it back unless `enforcer \
                 confirm` follows within 60 seconds",
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

/// A policy and the guards that judge by it.
struct Standing<'a> {
    tables: &'a Tables,
    /// The interfaces with a wire guard, by ifindex.
    wire: &'a BTreeMap<u32, Hook>,
    socket: bool,
}

/// Refuses a change that would cut people off, unless they consent; what they consented to is
/// returned in words. Call it under the lock of writers, with the maps in force, before anything
/// is changed.
///
/// `flags` are those of the state to come.
///
/// # Errors
/// [`Refused`]; or it cannot be told.
pub(super) async fn check(
    place: &Place,
    maps: Option<&Maps>,
    registry: &Registry,
    survey: &Survey,
    flags: u32,
    consent: Consent,
) -> Result<Vec<String>> {
    let why = dangers(place, maps, registry, survey, flags, consent.author).await;
    let because = match consent {
        Consent { force: true, .. } => "--force was given",
        Consent { on_trial: true, .. } => "it is taken back unless it is confirmed",
        _ => {
            let why = why.context(
                "it cannot be told whether this would cut somebody off: nothing was changed \
                 (`--force` does it all the same)",
            )?;
            if why.is_empty() {
                return Ok(Vec::new());
            }
            let is_pinned = maps.is_some();
            bail!(Refused { why, is_pinned });
        }
    };
    Ok(match why {
        Ok(why) => why
            .iter()
            .map(|what| format!("this {what}; {because}"))
            .collect(),
        Err(error) => vec![format!(
            "it cannot be told whether this would cut somebody off ({error:#}); {because}"
        )],
    })
}

/// What a change would do to people: the ends of sentences that begin with "this".
pub(super) async fn dangers(
    place: &Place,
    maps: Option<&Maps>,
    registry: &Registry,
    survey: &Survey,
    flags: u32,
    author: Author,
) -> Result<Vec<String>> {
    let mut all: Vec<Session> = sessions::own().into_iter().collect();
    let is_ours = author == Author::Command && !sessions::is_of_a_unit();
    if !is_ours && maps.is_some() {
        all.extend(sessions::established()?);
    }
    let mut why = match all.is_empty() {
        true => Vec::new(),
        false => cuts(&all, place, maps, registry, survey, flags).await?,
    };
    why.dedup();
    // Only then is it worth a look at all that is in force.
    if let Some(maps) = maps
        && !registry.services().iter().any(|service| service.public)
    {
        why.extend(would_close_the_last_door(&maps.tables()?));
    }
    Ok(why)
}

/// What a change would do to sessions.
async fn cuts(
    sessions: &[Session],
    place: &Place,
    maps: Option<&Maps>,
    registry: &Registry,
    survey: &Survey,
    flags: u32,
) -> Result<Vec<String>> {
    let alive = Alive::find(&place.pins, survey)?;
    let slots = maps.map_or_else(Slots::new, Maps::slots);
    let rule = |name: &str| Rule::of(registry, name);
    let plan = plan_in_force(survey, flags, rule, &alive);
    // Those that are there stay where they are wanted; the others get what they would be given.
    let wire: BTreeMap<u32, Hook> = plan
        .guards
        .iter()
        .filter_map(|guard| {
            let here = alive.guards.get(&guard.ifindex);
            let stays = here.filter(|hook| guard.hooks.contains(hook));
            Some((guard.ifindex, *stays.or(guard.hooks.first())?))
        })
        .collect();
    let tables = compile(registry, &wire::attachments(survey, &plan, &wire), &slots)?;
    let after = Standing {
        tables: &tables,
        wire: &wire,
        socket: flags & State::WANT_SOCKET != 0,
    };
    let in_force = maps.map(Maps::tables).transpose()?;
    let before = match &in_force {
        Some(tables) => Some(Standing {
            tables,
            wire: &alive.guards,
            socket: place.has_socket_guard()?,
        }),
        None => None,
    };
    let mut why = Vec::new();
    for session in sessions {
        why.extend(would_cut(session, before.as_ref(), &after, survey).await?);
    }
    Ok(why)
}

/// Whether a change would cut a session that the policy before it, if any, let pass.
async fn would_cut(
    session: &Session,
    before: Option<&Standing<'_>>,
    after: &Standing<'_>,
    survey: &Survey,
) -> Result<Option<String>> {
    let Some(ifindex) = arrival(session, survey).await? else {
        return Ok(None);
    };
    let Some(interface) = survey.by_index(ifindex) else {
        return Ok(None);
    };
    let judge = |standing: &Standing<'_>| judge(session, ifindex, interface.loopback, standing);
    let Some(decision) = judge(after) else {
        return Ok(None);
    };
    if before.and_then(judge).is_some() {
        return Ok(None);
    }
    let service = after.tables.service_of(Protocol::Tcp, session.port);
    let whose = match session.is_ours {
        true => "the SSH session that it was typed in",
        false => "an SSH session",
    };
    Ok(Some(format!(
        "would cut {whose} ({} on {} to port {}): {} ({}/tcp) drops it as {}",
        session.client,
        interface.name,
        session.port,
        service.unwrap_or("a guard"),
        session.port,
        decision.reason,
    )))
}

/// What ends the packets of a session, if anything does: first the wire guard's word, then the
/// socket guard's.
fn judge(
    session: &Session,
    ifindex: u32,
    loopback: bool,
    standing: &Standing<'_>,
) -> Option<Decision> {
    let guards = [
        (Guard::Wire, standing.wire.contains_key(&ifindex)),
        (Guard::Socket, standing.socket),
    ];
    guards
        .into_iter()
        .filter(|(_, stands)| *stands)
        .map(|(guard, _)| {
            standing.tables.judge(&Description {
                guard,
                ifindex,
                loopback,
                source: session.client.into(),
                destination: Some(session.server.into()),
                protocol: Protocol::Tcp,
                port: session.port,
                forwarded: false,
            })
        })
        .find(Decision::drops)
}

/// The interface that a session's packets arrive on, as the routes have it; `None` if they are not
/// for this network namespace.
async fn arrival(session: &Session, survey: &Survey) -> Result<Option<u32>> {
    if let Some(interface) = session
        .scope
        .as_deref()
        .and_then(|name| survey.by_name(name))
    {
        return Ok(Some(interface.index));
    }
    let Some(here) = route::get(session.server, None, None).await? else {
        return Ok(None);
    };
    if here.kind != route::Kind::Local {
        return Ok(None);
    }
    // The way back is the way in, unless somebody routes them apart.
    let back = route::get(session.client, Some(session.server), None).await?;
    Ok(back.and_then(|route| route.oif))
}

/// What a policy without a public port would end, if the one in force has any.
fn would_close_the_last_door(now: &Tables) -> Option<String> {
    let public: Vec<String> = now
        .ports
        .iter()
        .filter(|(_, binding)| binding.public)
        .map(|((protocol, port), _)| {
            let service = now.service_of(*protocol, *port).unwrap_or("?");
            format!("{service} {port}/{protocol}")
        })
        .collect();
    (!public.is_empty()).then(|| {
        format!(
            "would leave no public port; public are now {}",
            shortened(&public)
        )
    })
}

/// The first few of many.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.get(..SHOWN.min(names.len())).unwrap_or_default();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}
