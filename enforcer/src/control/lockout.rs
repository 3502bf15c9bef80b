//! The facts of the lock-out check: sessions, their interfaces, and the two policies.

use std::collections::BTreeSet;

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
    netlink::route::{self, Query},
    note::Note,
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
        let is_nobodys = is_nobodys(&session);
        match arrival(session, recipe.snapshot).await {
            // A stranger's address must not make the check fail.
            Err(_) if is_nobodys => {}
            arrival => arrivals.extend(arrival?),
        }
    }
    let services = recipe.loaded.registry.services();
    let has_public = services.iter().any(|service| service.public);
    let sshd = sshd_at_risk(recipe, author, maps.is_some())?;
    // Most changes can do without reading and compiling policies.
    if arrivals.is_empty() && sshd.is_empty() && (has_public || maps.is_none()) {
        return Ok(Vec::new());
    }
    let attached = find_attached(instance.pins(), recipe.snapshot)?;
    let slots = maps.map(Maps::slots).transpose()?.unwrap_or_default();
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
    let mut dangers = lockout::dangers(&arrivals, is_more, before.as_ref(), &after);
    let closed = lockout::closes_sshd(&candidate.tables, &sshd);
    let was_closed = in_force.map(|tables| lockout::closes_sshd(&tables, &sshd));
    let newly: Vec<u16> = closed
        .difference(&was_closed.unwrap_or_default())
        .copied()
        .collect();
    if !newly.is_empty() {
        dangers.push(Danger::ClosesSshd(newly));
    }
    Ok(dangers)
}

/// The ports of sshd that `[unregistered]` of a registry might close. At boot nobody is there to
/// consent, and guards come first.
fn sshd_at_risk(recipe: &Recipe<'_>, author: Author, is_pinned: bool) -> Result<BTreeSet<u16>> {
    let registry = &recipe.loaded.registry;
    let is_asked = author == Author::Command || is_pinned;
    match is_asked && !registry.unregistered().passes_all() {
        true => sessions::listening_ports(),
        false => Ok(BTreeSet::new()),
    }
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
    let (established, is_more) = bounded(sessions::established()?);
    all.extend(established);
    Ok((all, is_more))
}

/// Returns the sessions of users and at most [`NOBODYS`] of the other connections, and whether there
/// are more of the latter.
fn bounded(sessions: BTreeSet<Session>) -> (Vec<Session>, bool) {
    let (mut nobodys, mut kept): (Vec<Session>, Vec<Session>) =
        sessions.into_iter().partition(is_nobodys);
    let is_more = nobodys.len() > NOBODYS;
    nobodys.truncate(NOBODYS);
    kept.extend(nobodys);
    (kept, is_more)
}

fn is_nobodys(session: &Session) -> bool {
    matches!(session.owner, Owner::Nobody | Owner::Unknown)
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
    let Some(here) = route::get(&Query::of_host(session.server, None)).await? else {
        return Ok(None);
    };
    if here.kind != route::Kind::Local {
        return Ok(None);
    }
    // Without policy routing the way back is the way in.
    let back = Query::of_host(session.client, Some(session.server));
    let back = route::get(&back).await?;
    Ok(back.and_then(|route| route.oif))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn a_stranger_with_many_connections_hides_no_user() {
        let session = |number: u32, owner| Session {
            client: Ipv4Addr::from(number).into(),
            server: IpAddr::from([192, 0, 2, 1]),
            port: 22,
            scope: None,
            owner,
        };
        let user = session(u32::MAX, Owner::User("alice".to_owned()));
        for (number, expected) in [(0, 0), (16, 16), (17, 16), (10_000, 16)] {
            let strangers = (0..number).map(|number| session(number, Owner::Nobody));
            let (kept, is_more) = bounded(strangers.chain([user.clone()]).collect());
            assert_eq!((kept.len(), is_more), (expected + 1, number > 16));
            assert_eq!(kept[0], user);
        }
    }
}
