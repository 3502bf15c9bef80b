//! The lock-out check: whether a change would cut off an operator.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use anyhow::Result;
use enforcer_ebpf::{Decision, Guard, Mode, Protocol, Reason};

use crate::{
    host::{Owner, Session},
    interfaces::Hook,
    note::{Note, NoteKind},
    policy::{PacketSpec, PolicyTables},
    printable,
};

/// The author of a change. The author decides on the sessions to be spared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Author {
    /// An operator typed a command: the SSH session of the command. For `systemctl reload`, the
    /// sessions of every logged-in user.
    #[default]
    Command,
    /// `run` found the registry edited: the sessions of every logged-in user.
    Run,
}

/// The consent to cutting an operator off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consent {
    /// The author of the change.
    pub author: Author,
    /// `--force`: the change may cut operators off.
    pub force: bool,
    /// `--confirm`: the change may, because of the rollback without a confirmation.
    pub is_pending: bool,
}

/// A policy and its guards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuardedPolicy<'a> {
    /// The policy.
    pub(crate) tables: &'a PolicyTables,
    /// The wire guards, by ifindex.
    pub(crate) wire: &'a BTreeMap<u32, Hook>,
    /// Whether the socket guard holds.
    pub(crate) socket: bool,
}

/// A session and the arriving interface of its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The session.
    pub(crate) session: Session,
    /// The ifindex.
    pub(crate) ifindex: u32,
    /// The name of the interface.
    pub(crate) interface: String,
    /// Whether the interface is the loopback interface.
    pub(crate) loopback: bool,
}

/// A way in which a change would cut operators off. The displayed text ends a sentence that begins
/// with "this".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Danger {
    /// The change cuts an SSH session.
    CutsSession {
        /// The owner of the session.
        owner: Owner,
        /// The address of the client.
        client: IpAddr,
        /// The port of the session on this host.
        port: u16,
        /// The arriving interface.
        interface: String,
        /// The service of the port.
        service: Option<String>,
        /// The reason of the drop.
        reason: Reason,
    },
    /// The change cuts connections to sshd that are nobody's session.
    CutsConnections {
        /// The number of connections.
        count: usize,
        /// Whether there may be more, as not every connection was looked at.
        is_more: bool,
        /// The addresses of the clients.
        clients: Vec<IpAddr>,
        /// Whether the host keeps a record of logins.
        has_record: bool,
    },
    /// The change leaves no public port; these are public in the policy in force.
    ClosesLastPublicPort(Vec<String>),
    /// `[unregistered]` closes these ports, on which sshd listens and which no service names.
    ClosesSshd(Vec<u16>),
}

impl Danger {
    /// Whether the change needs consent. Connections that are nobody's session need none: else any
    /// neighbour could keep a port open.
    pub(crate) const fn needs_consent(&self) -> bool {
        !matches!(self, Self::CutsConnections { .. })
    }
}

impl fmt::Display for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutsSession {
                owner,
                client,
                port,
                interface,
                service,
                reason,
            } => {
                let session = match owner {
                    Owner::Operator => "the SSH session that it was typed in".to_owned(),
                    Owner::User(user) => format!("an SSH session of {}", printable::name(user)),
                    Owner::Nobody | Owner::Unknown => "an SSH connection".to_owned(),
                };
                let interface = printable::name(interface);
                let service = service.as_deref().unwrap_or("a guard");
                write!(
                    f,
                    "would cut {session} ({client} on {interface} to port {port}): {service} \
                     ({port}/tcp) drops it as {reason}"
                )
            }
            Self::CutsConnections {
                count,
                is_more,
                clients,
                has_record,
            } => {
                let clients: Vec<String> = clients.iter().map(IpAddr::to_string).collect();
                let why = match has_record {
                    true => "no login of the address is on record",
                    false => {
                        "the host has neither /run/systemd/sessions nor /run/utmp, so the logins \
                         are unknown"
                    }
                };
                write!(
                    f,
                    "cuts {count}{} connection{} to sshd ({}), nobody's session: {why}",
                    if *is_more { " or more" } else { "" },
                    if *count == 1 { "" } else { "s" },
                    shortened(&clients)
                )
            }
            Self::ClosesSshd(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                let ports = shortened(&ports);
                write!(
                    f,
                    "would close sshd to new connections: `[unregistered]` drops TCP, and no \
                     service names port {ports}"
                )
            }
            Self::ClosesLastPublicPort(public) => {
                let public = shortened(public);
                write!(f, "would leave no public port; public are now {public}")
            }
        }
    }
}

/// The refusal of a change with dangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOut {
    /// The dangers; at least one.
    pub dangers: Vec<Danger>,
    /// Whether a policy is pinned, to which `reload --confirm` could roll back.
    pub is_pinned: bool,
}

impl fmt::Display for LockOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.dangers.iter().take(SHOWN).map(ToString::to_string);
        let shown = shown.collect::<Vec<_>>().join(", and ");
        write!(f, "this {shown}")?;
        match self.dangers.len().saturating_sub(SHOWN) {
            0 => {}
            more => write!(f, ", and {more} more like the last")?,
        }
        f.write_str(": nothing was changed. `--force` does it all the same")?;
        if self.is_pinned {
            f.write_str(
                "; to apply: `enforcer reload --confirm 60s`, rolled back unless `enforcer \
                 confirm` follows within 60 seconds",
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for LockOut {}

/// The result of the check.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The change may be made; with notes of the dangers.
    Allowed(Vec<Note>),
    /// The change may not be made.
    Refused(LockOut),
    /// The check failed.
    Unknown(anyhow::Error),
}

/// Decides by the dangers and the consent.
pub(crate) fn decide(dangers: Result<Vec<Danger>>, consent: Consent, is_pinned: bool) -> Verdict {
    let because = match consent {
        Consent { force: true, .. } => Some("--force was given"),
        Consent {
            is_pending: true, ..
        } => Some("it is rolled back unless it is confirmed"),
        _ => None,
    };
    let dangers = match (dangers, because) {
        (Ok(dangers), _) => dangers,
        (Err(error), None) => {
            return Verdict::Unknown(error.context(
                "the lock-out check failed, so this might cut off a session: nothing was changed \
                 (`--force` does it all the same)",
            ));
        }
        (Err(error), Some(because)) => {
            let text = format!(
                "the lock-out check failed ({error:#}), so this might cut off a session; {because}"
            );
            return Verdict::Allowed(vec![Note::new(NoteKind::LockoutUnknown, text)]);
        }
    };
    let (refused, told): (Vec<Danger>, Vec<Danger>) =
        dangers.into_iter().partition(Danger::needs_consent);
    let told = told.iter().map(|danger| {
        let text = format!("this {danger}");
        Note::new(NoteKind::LockoutUnknown, text)
    });
    if because.is_none() && !refused.is_empty() {
        return Verdict::Refused(LockOut {
            dangers: refused,
            is_pinned,
        });
    }
    let because = because.unwrap_or_default();
    let accepted = refused.iter().map(|danger| {
        let text = format!("this {danger}; {because}");
        Note::new(NoteKind::LockoutAccepted, text)
    });
    Verdict::Allowed(accepted.chain(told).collect())
}

/// The dangers of a change, from the policy before, if any, to the policy after. `is_more`: some
/// connections that are nobody's session are not among the arrivals.
pub(crate) fn dangers(
    arrivals: &[Arrival],
    is_more: bool,
    before: Option<&GuardedPolicy<'_>>,
    after: &GuardedPolicy<'_>,
) -> Vec<Danger> {
    let cut = arrivals
        .iter()
        .filter_map(|arrival| cuts(arrival, before, after));
    let (mut dangers, nobodys): (Vec<Danger>, Vec<Danger>) = cut.partition(is_somebodys);
    dangers.dedup();
    dangers.extend(connections(&nobodys, is_more));
    let has_public = |tables: &PolicyTables| tables.public_ports().next().is_some();
    if let Some(before) = before
        && has_public(before.tables)
        && !has_public(after.tables)
    {
        dangers.push(Danger::ClosesLastPublicPort(public_ports(before.tables)));
    }
    dangers
}

/// The ports of sshd that a policy closes by `[unregistered]`.
pub(crate) fn closes_sshd(tables: &PolicyTables, listening: &BTreeSet<u16>) -> BTreeSet<u16> {
    let tcp = Protocol::Tcp;
    let is_closed = |port: &&u16| {
        tables.unregistered_mode(tcp, **port) == Some(Mode::Enforce)
            && !tables.ports.contains_key(&(tcp, **port))
    };
    listening.iter().filter(is_closed).copied().collect()
}

/// Whether a cut session belongs to somebody.
fn is_somebodys(danger: &Danger) -> bool {
    match danger {
        Danger::CutsSession { owner, .. } => matches!(owner, Owner::Operator | Owner::User(_)),
        Danger::CutsConnections { .. }
        | Danger::ClosesLastPublicPort(_)
        | Danger::ClosesSshd(_) => true,
    }
}

/// Joins cut connections that are nobody's session.
fn connections(cut: &[Danger], is_more: bool) -> Option<Danger> {
    let clients = cut.iter().filter_map(|danger| match danger {
        Danger::CutsSession { client, .. } => Some(*client),
        _ => None,
    });
    let is_unknown = |danger: &Danger| match danger {
        Danger::CutsSession { owner, .. } => *owner == Owner::Unknown,
        _ => false,
    };
    (!cut.is_empty()).then(|| Danger::CutsConnections {
        count: cut.len(),
        is_more,
        clients: clients.collect(),
        has_record: !cut.iter().any(is_unknown),
    })
}

/// The danger to a session, if the policy before let the session pass.
fn cuts(
    arrival: &Arrival,
    before: Option<&GuardedPolicy<'_>>,
    after: &GuardedPolicy<'_>,
) -> Option<Danger> {
    let decision = drop_of(arrival, after)?;
    if before.is_some_and(|before| drop_of(arrival, before).is_some()) {
        return None;
    }
    let session = &arrival.session;
    let service = after.tables.service_for(&packet(arrival, Guard::Wire));
    Some(Danger::CutsSession {
        owner: session.owner.clone(),
        client: session.client,
        port: session.port,
        interface: arrival.interface.clone(),
        service: service.map(str::to_owned),
        reason: decision.reason,
    })
}

/// A packet of a session at a guard.
fn packet(arrival: &Arrival, guard: Guard) -> PacketSpec {
    let session = &arrival.session;
    PacketSpec {
        guard,
        ifindex: arrival.ifindex,
        loopback: arrival.loopback,
        source: session.client.into(),
        destination: Some(session.server.into()),
        protocol: Protocol::Tcp,
        port: session.port,
        route: enforcer_ebpf::Route::Here,
        opens: true,
    }
}

/// The dropping decision on a session's packets: the wire guard's, else the socket guard's.
fn drop_of(arrival: &Arrival, policy: &GuardedPolicy<'_>) -> Option<Decision> {
    let judge = |guard| policy.tables.judge(&packet(arrival, guard));
    let guards = [
        (Guard::Wire, policy.wire.contains_key(&arrival.ifindex)),
        (Guard::Socket, policy.socket),
    ];
    let attached = guards.into_iter().filter(|(_, is_attached)| *is_attached);
    attached
        .map(|(guard, _)| judge(guard))
        .find(Decision::drops)
}

fn public_ports(tables: &PolicyTables) -> Vec<String> {
    let mut public: Vec<String> = tables
        .public_ports()
        .map(|(service, protocol, port)| format!("{service} {port}/{protocol}"))
        .collect();
    public.dedup();
    public
}

/// The number of names and of dangers that are shown.
const SHOWN: usize = 4;

/// The first few of many names.
fn shortened(names: &[String]) -> String {
    let shown = names.get(..SHOWN.min(names.len())).unwrap_or_default();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}
