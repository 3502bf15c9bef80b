//! The facts of the lock-out check: sessions, their interfaces, and the two policies.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::State;
use futures_util::TryStreamExt as _;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteMessage, RouteType},
};

use super::{Error, Instance, find_attached};
use crate::{
    decisions::{
        candidate::{Candidate, Recipe},
        lockout::{self, Arrival, Author, Consent, Danger, GuardedPolicy, Verdict},
    },
    host::{HostSnapshot, Session, sessions},
    kernel::maps::Maps,
    note::Note,
    policy::Slots,
};

/// Refuses a change that would cut operators off, unless there is consent. Returns notes of what
/// was consented to. The caller holds the writers' lock and has changed nothing.
///
/// # Errors
/// [`Error::LockOut`]; or the check failed.
pub(super) async fn check(
    instance: &Instance,
    maps: Option<&Maps>,
    recipe: &Recipe<'_>,
    consent: Consent,
) -> Result<Vec<Note>, Error> {
    let dangers = dangers(instance, maps, recipe, consent.author).await;
    match lockout::decide(dangers, consent, maps.is_some()) {
        Verdict::Allowed(notes) => Ok(notes),
        Verdict::Refused(lockout) => Err(Error::LockOut(lockout)),
        Verdict::Unknown(error) => Err(error.into()),
    }
}

/// The dangers of a change to a recipe's policy.
///
/// # Errors
/// The sessions, their routes or the policy in force cannot be read.
pub(crate) async fn dangers(
    instance: &Instance,
    maps: Option<&Maps>,
    recipe: &Recipe<'_>,
    author: Author,
) -> Result<Vec<Danger>> {
    let mut arrivals = Vec::new();
    for session in sessions_at_risk(author, maps.is_some())? {
        arrivals.extend(arrival(session, recipe.snapshot).await?);
    }
    let services = recipe.loaded.registry.services();
    let has_public = services.iter().any(|service| service.public);
    // Reading and compiling policies takes time that most changes need not spend.
    if arrivals.is_empty() && (has_public || maps.is_none()) {
        return Ok(Vec::new());
    }
    let attached = find_attached(instance.pins(), recipe.snapshot)?;
    let slots = maps.map_or_else(Slots::new, Maps::slots);
    let candidate = Candidate::compile(recipe, &attached, &slots)?;
    let after = GuardedPolicy {
        tables: &candidate.tables,
        wire: &candidate.hooks,
        socket: recipe.flags & State::WANT_SOCKET != 0,
    };
    let in_force = maps.map(Maps::tables).transpose()?;
    let before = match &in_force {
        Some(tables) => Some(GuardedPolicy {
            tables,
            wire: &attached.guards,
            socket: instance.has_socket_guard()?,
        }),
        None => None,
    };
    Ok(lockout::dangers(&arrivals, before.as_ref(), &after))
}

/// The sessions that a change must not cut: the session that a command was typed in; and every
/// connection to port 22 if the change is `run`'s or comes through systemd.
fn sessions_at_risk(author: Author, is_pinned: bool) -> Result<Vec<Session>> {
    let mut all: Vec<Session> = sessions::own().into_iter().collect();
    let is_typed = author == Author::Command && !sessions::is_of_a_unit();
    if !is_typed && is_pinned {
        all.extend(sessions::established()?);
    }
    Ok(all)
}

/// The interface that a session's packets arrive on, by the routes; `None` for a session that is
/// another network namespace's.
async fn arrival(session: Session, snapshot: &HostSnapshot) -> Result<Option<Arrival>> {
    let scope = session.scope.as_deref();
    let ifindex = match scope.and_then(|name| snapshot.by_name(name)) {
        Some(interface) => Some(interface.index),
        None => way_in(&session).await?,
    };
    let interface = ifindex.and_then(|ifindex| snapshot.by_index(ifindex));
    Ok(interface.map(|interface| Arrival {
        ifindex: interface.index,
        interface: interface.name.clone(),
        loopback: interface.loopback,
        session,
    }))
}

async fn way_in(session: &Session) -> Result<Option<u32>> {
    let Some(here) = route(session.server, None).await? else {
        return Ok(None);
    };
    if here.header.kind != RouteType::Local {
        return Ok(None);
    }
    // Without policy routing the way back is the way in.
    let back = route(session.client, Some(session.server)).await?;
    Ok(back.as_ref().and_then(way_out))
}

fn way_out(route: &RouteMessage) -> Option<u32> {
    let mut attributes = route.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        RouteAttribute::Oif(ifindex) => Some(*ifindex),
        _ => None,
    })
}

/// The route to an address, from an address of this host: RTM_GETROUTE, rtnetlink(7). `None`
/// without a route.
async fn route(to: IpAddr, from: Option<IpAddr>) -> Result<Option<RouteMessage>> {
    let (connection, handle, _) =
        rtnetlink::new_connection().context("failed to open an rtnetlink socket")?;
    tokio::spawn(connection);
    let bits = if to.is_ipv4() { 32 } else { 128 };
    let mut question = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to, bits)
        .context("failed to ask for a route")?;
    if let Some(from) = from {
        question = question
            .source_prefix(from, bits)
            .context("failed to ask for a route")?;
    }
    let mut answers = handle.route().get(question.build()).execute();
    // The kernel refuses the question if there is no route.
    Ok(answers.try_next().await.unwrap_or_default())
}
