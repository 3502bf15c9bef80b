//! The facts of the lock-out check: sessions, their interfaces, and the two policies.

use anyhow::Result;
use enforcer_ebpf::layout::State;

use super::{Error, Instance, find_attached};
use crate::{
    decisions::{
        candidate::{Candidate, Recipe},
        lockout::{self, Arrival, Author, Consent, Danger, GuardedPolicy, Verdict},
    },
    host::{HostSnapshot, Owner, Session, sessions},
    kernel::maps::Maps,
    netlink::route,
    note::Note,
    policy::Slots,
};

/// Refuses a change that would cut operators off, unless there is consent. Returns notes of
/// the dangers. The caller holds the writers' lock and has changed nothing.
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
    let (sessions, is_more) = sessions_at_risk(author, maps.is_some())?;
    for session in sessions {
        arrivals.extend(arrival(session, recipe.snapshot).await?);
    }
    let services = recipe.loaded.registry.services();
    let has_public = services.iter().any(|service| service.public);
    // Most changes can do without reading and compiling policies.
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
    Ok(lockout::dangers(
        &arrivals,
        is_more,
        before.as_ref(),
        &after,
    ))
}

/// The greatest number of nobody's connections that are looked at: a neighbour may have thousands.
const NOBODYS: usize = 16;

/// The sessions to be spared by a change: the session of the command; and the sessions of every
/// logged-in user if the change is `run`'s or comes through systemd, with some of the connections
/// that are nobody's session. Returns also whether there are more of the latter.
fn sessions_at_risk(author: Author, is_pinned: bool) -> Result<(Vec<Session>, bool)> {
    let mut all: Vec<Session> = sessions::own().into_iter().collect();
    let is_typed = author == Author::Command && !sessions::is_of_a_unit();
    if is_typed || !is_pinned {
        return Ok((all, false));
    }
    let is_nobodys = |session: &Session| matches!(session.owner, Owner::Nobody | Owner::Unknown);
    let (mut nobodys, users): (Vec<Session>, Vec<Session>) =
        sessions::established()?.into_iter().partition(is_nobodys);
    let is_more = nobodys.len() > NOBODYS;
    nobodys.truncate(NOBODYS);
    all.extend(users);
    all.extend(nobodys);
    Ok((all, is_more))
}

/// The arrival of a session's packets, by the routes; `None` for a session of another network
/// namespace.
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
    let Some(here) = route::get(session.server, None, None).await? else {
        return Ok(None);
    };
    if here.kind != route::Kind::Local {
        return Ok(None);
    }
    // Without policy routing the way back is the way in.
    let back = route::get(session.client, Some(session.server), None).await?;
    Ok(back.and_then(|route| route.oif))
}
