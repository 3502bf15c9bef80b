//! The lock-out check: whether a change would cut off an operator.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, net::IpAddr};

use anyhow::Result;
use enforcer_ebpf::{Decision, Guard, Protocol, Reason};

use crate::{
    host::Session,
    interfaces::Hook,
    note::{Note, NoteKind},
    policy::{PacketSpec, PolicyTables},
};

/// The author of a change. The author decides on the sessions to be spared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Author {
    /// An operator typed a command: the SSH session of the command. For `systemctl reload`, every
    /// connection to port 22.
    #[default]
    Command,
    /// `run` found the registry edited: every connection to port 22.
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
        /// Whether the command at work was typed in this session.
        is_own: bool,
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
    /// The change leaves no public port; these are public in the policy in force.
    ClosesLastPublicPort(Vec<String>),
}

impl fmt::Display for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutsSession {
                is_own,
                client,
                port,
                interface,
                service,
                reason,
            } => {
                let session = match is_own {
                    true => "the SSH session that it was typed in",
                    false => "an SSH session",
                };
                let service = service.as_deref().unwrap_or("a guard");
                write!(
                    f,
                    "would cut {session} ({client} on {interface} to port {port}): {service} \
                     ({port}/tcp) drops it as {reason}"
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
        let dangers: Vec<String> = self.dangers.iter().map(ToString::to_string).collect();
        write!(
            f,
            "this {}: nothing was changed. `--force` does it all the same",
            dangers.join(", and ")
        )?;
        if self.is_pinned {
            f.write_str(
                "; `enforcer reload --confirm 60s` does it, and rolls it back unless `enforcer \
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
        Consent { force: true, .. } => "--force was given",
        Consent {
            is_pending: true, ..
        } => "it is rolled back unless it is confirmed",
        _ => {
            return match dangers {
                Ok(dangers) if dangers.is_empty() => Verdict::Allowed(Vec::new()),
                Ok(dangers) => Verdict::Refused(LockOut { dangers, is_pinned }),
                Err(error) => Verdict::Unknown(error.context(
                    "the lock-out check failed, so this might cut off a session: nothing was \
                     changed (`--force` does it all the same)",
                )),
            };
        }
    };
    Verdict::Allowed(match dangers {
        Ok(dangers) => dangers
            .iter()
            .map(|danger| {
                let text = format!("this {danger}; {because}");
                Note::new(NoteKind::LockoutAccepted, text)
            })
            .collect(),
        Err(error) => vec![Note::new(
            NoteKind::LockoutUnknown,
            format!(
                "the lock-out check failed ({error:#}), so this might cut off a session; {because}"
            ),
        )],
    })
}

/// The dangers of a change, from the policy before, if any, to the policy after.
pub(crate) fn dangers(
    arrivals: &[Arrival],
    before: Option<&GuardedPolicy<'_>>,
    after: &GuardedPolicy<'_>,
) -> Vec<Danger> {
    let mut dangers: Vec<Danger> = arrivals
        .iter()
        .filter_map(|arrival| cuts(arrival, before, after))
        .collect();
    dangers.dedup();
    let has_public = |tables: &PolicyTables| tables.ports.values().any(|binding| binding.public);
    if let Some(before) = before
        && has_public(before.tables)
        && !has_public(after.tables)
    {
        dangers.push(Danger::ClosesLastPublicPort(public_ports(before.tables)));
    }
    dangers
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
    let service = after.tables.service_of(Protocol::Tcp, session.port);
    Some(Danger::CutsSession {
        is_own: session.is_ours,
        client: session.client,
        port: session.port,
        interface: arrival.interface.clone(),
        service: service.map(str::to_owned),
        reason: decision.reason,
    })
}

/// The dropping decision on a session's packets: the wire guard's, else the socket guard's.
fn drop_of(arrival: &Arrival, policy: &GuardedPolicy<'_>) -> Option<Decision> {
    let session = &arrival.session;
    let judge = |guard| {
        policy.tables.judge(&PacketSpec {
            guard,
            ifindex: arrival.ifindex,
            loopback: arrival.loopback,
            source: session.client.into(),
            destination: Some(session.server.into()),
            protocol: Protocol::Tcp,
            port: session.port,
            forwarded: false,
        })
    };
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
    let public = tables.ports.iter().filter(|(_, binding)| binding.public);
    public
        .map(|((protocol, port), _)| {
            let service = tables.service_of(*protocol, *port).unwrap_or("?");
            format!("{service} {port}/{protocol}")
        })
        .collect()
}

/// The first few of many names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.get(..SHOWN.min(names.len())).unwrap_or_default();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}
