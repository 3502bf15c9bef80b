//! The model of `status`: the state as a whole, the guards, the peers and every gap.
//!
//! ```text
//! gather     the facts: pins, maps, interfaces, WireGuard
//! findings   the gaps: interfaces without a guard, waiting peers, grants gone astray
//! ```

mod findings;
mod gather;
#[cfg(test)]
mod tests;
mod views;

use std::collections::BTreeSet;

use enforcer_ebpf::{
    MAX_PEERS, Mode,
    layout::{State, WIRE_VIEW},
};
use serde::Serialize;

pub use findings::Finding;
pub use views::{NetworkView, UnregisteredView};

use crate::{
    control::{Error, Instance},
    decisions::{
        candidate::local_table,
        networks::{self, NetworkWarning},
        pending::PendingState,
    },
    interfaces::{Hook, Interface},
    kernel::maps::Maps,
    policy::{PolicyTables, local_rows},
};
use findings::{around_findings, findings, uncovered, why_waiting};
use gather::{Around, Facts, Found};

/// The state as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Every guard is attached and drops packets.
    Enforcing,
    /// Every guard is attached and only counts drops.
    Audit,
    /// Something is not guarded.
    Degraded,
    /// Nothing is pinned.
    Off,
}

/// An attached guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuardRow {
    /// `wire` or `socket`.
    pub guard: &'static str,
    /// The hook.
    pub hook: &'static str,
    /// The interface; `None` for the socket guard.
    pub interface: Option<String>,
    /// The interface's ifindex; `None` for the socket guard.
    pub ifindex: Option<u32>,
    /// The number of peers that may come this way.
    pub peers: usize,
}

/// An interface without a wire guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UncoveredRow {
    /// The interface.
    pub interface: String,
    /// The reason, and the cure.
    pub why: String,
}

/// Whether a peer can get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// The peer's addresses are loaded.
    Active,
    /// The peer's interface or key is absent.
    Waiting,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// The peer's name.
    pub name: String,
    /// Whether the peer can get in.
    pub state: PeerState,
    /// The reason for waiting.
    #[serde(skip)]
    pub why: Option<String>,
}

/// Packets that passed a wire guard's interface unseen and were dropped at a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BypassRow {
    /// The interface.
    pub interface: String,
    /// The number of packets.
    pub packets: u64,
}

/// The pending policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PendingView {
    /// The time until the rollback.
    pub seconds_left: u64,
}

/// The output of `status`; the fields are the JSON of the design.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The version of all JSON outputs.
    pub schema: u32,
    /// The state as a whole.
    pub state: Condition,
    /// The generation of the policy in force, 0 when off.
    pub generation: u32,
    /// The number of services.
    pub services: usize,
    /// The number of registered (protocol, port) pairs.
    pub registered_ports: usize,
    /// The guards.
    pub guards: Vec<GuardRow>,
    /// The interfaces without a wire guard.
    pub uncovered: Vec<UncoveredRow>,
    /// The peers.
    pub peers: Vec<PeerStatus>,
    /// The packets that bypassed wire guards.
    pub bypassed: Vec<BypassRow>,
    /// The container networks.
    pub container_networks: Vec<NetworkView>,
    /// The action on ports without a service.
    pub unregistered: UnregisteredView,
    /// The pending policy.
    pub confirm: Option<PendingView>,
    /// Whether the last pending policy was rolled back, and no other was put in force since.
    pub rolled_back: bool,
    /// The reasons for a degraded state.
    #[serde(skip)]
    pub findings: Vec<Finding>,
    /// The warnings about container networks, which change no state.
    #[serde(skip)]
    pub warnings: Vec<NetworkWarning>,
    /// The interfaces with a wire guard that may be parents of macvlan passthru devices in other
    /// namespaces.
    #[serde(skip)]
    pub promiscuous: Vec<String>,
}

/// Returns the status of a pin directory.
///
/// # Errors
/// The pins cannot be read, or are another namespace's.
pub async fn status(instance: &Instance) -> Result<Status, Error> {
    Ok(match gather::gather(instance, None).await? {
        Found::Nothing { around, is_gone } => Status::of_nothing(&around, is_gone),
        Found::Pins(facts) => Status::of(&facts),
    })
}

/// Returns the status right after a change of the policy, by this process: addresses that came in
/// between are no gap yet, and the registry's warnings have told of container networks. `maps` are
/// the open maps in force, if the caller has them.
///
/// # Errors
/// As for [`status`].
pub(crate) async fn status_after_change(
    instance: &Instance,
    maps: Option<Maps>,
) -> Result<Status, Error> {
    Ok(match gather::gather(instance, maps).await? {
        Found::Nothing { around, is_gone } => Status::of_nothing(&around, is_gone),
        Found::Pins(mut facts) => {
            facts.tables.local = local_rows(&local_table(&facts.snapshot));
            Status {
                warnings: Vec::new(),
                ..Status::of(&facts)
            }
        }
    })
}

impl Status {
    /// The status with nothing pinned: off, unless guards of an interrupted command or guards
    /// without a pin hold.
    fn of_nothing(around: &Around, is_gone: bool) -> Self {
        let holds = around.interrupted || !around.strays.is_empty();
        let (state, mut findings) = match holds {
            true => (Condition::Degraded, around_findings(around)),
            false => (Condition::Off, Vec::new()),
        };
        if is_gone {
            findings.push(Finding::NamespaceGone);
        }
        Self {
            schema: 1,
            state,
            generation: 0,
            services: 0,
            registered_ports: 0,
            guards: Vec::new(),
            uncovered: Vec::new(),
            peers: Vec::new(),
            bypassed: Vec::new(),
            container_networks: Vec::new(),
            unregistered: UnregisteredView::NONE,
            confirm: None,
            rolled_back: false,
            findings,
            warnings: Vec::new(),
            promiscuous: Vec::new(),
        }
    }

    /// The status by the facts.
    fn of(facts: &Facts) -> Self {
        let tables = &facts.tables;
        let peers = peers(facts);
        let uncovered = match facts.missing.is_empty() {
            true => uncovered(facts),
            false => Vec::new(),
        };
        let findings = findings(facts, &uncovered);
        Self {
            state: condition(tables.mode, &findings),
            generation: facts.state.generation,
            services: tables.services.len(),
            registered_ports: tables.ports.len(),
            guards: guards(facts, &peers),
            uncovered,
            peers,
            bypassed: bypassed(facts),
            container_networks: views::networks(tables, &facts.snapshot),
            unregistered: UnregisteredView::of(tables),
            confirm: facts.pending.awaiting().map(|pending| PendingView {
                seconds_left: pending.seconds_left(),
            }),
            rolled_back: facts.pending == PendingState::RolledBack,
            findings,
            warnings: networks::warnings(tables, &facts.snapshot),
            promiscuous: promiscuous(facts),
            ..Self::of_nothing(&Around::default(), false)
        }
    }

    /// The exit code of `up` and `status`.
    pub const fn exit_code(&self) -> u8 {
        match self.state {
            Condition::Enforcing | Condition::Audit => 0,
            Condition::Degraded => 3,
            Condition::Off => 4,
        }
    }
}

/// Returns the state as a whole by the policy's mode and the gaps.
fn condition(mode: Mode, findings: &[Finding]) -> Condition {
    match (findings.is_empty(), mode) {
        (false, _) => Condition::Degraded,
        (true, Mode::Audit) => Condition::Audit,
        (true, _) => Condition::Enforcing,
    }
}

fn peers(facts: &Facts) -> Vec<PeerStatus> {
    let peers = (0u16..).zip(&facts.tables.peers);
    let status = peers.map(|(number, peer)| {
        let why = why_waiting(&facts.tables, &facts.snapshot, number, peer);
        PeerStatus {
            name: peer.name.clone(),
            state: match why {
                Some(_) => PeerState::Waiting,
                None => PeerState::Active,
            },
            why,
        }
    });
    status.collect()
}

/// Returns the guards: on interfaces, early on NICs that are down, and at the sockets.
fn guards(facts: &Facts, peers: &[PeerStatus]) -> Vec<GuardRow> {
    let guards = &facts.attached.guards;
    let wire = guards.iter().map(|(ifindex, hook)| (*ifindex, *hook));
    let early = facts.early.iter().map(|ifindex| (*ifindex, Hook::Tcx));
    let early = early.filter(|(ifindex, _)| !guards.contains_key(ifindex));
    let row = |(ifindex, hook): (u32, Hook)| {
        // The link of an interface in another namespace guards nothing here.
        let interface = facts.snapshot.by_index(ifindex)?.name.clone();
        Some(GuardRow {
            guard: "wire",
            hook: hook.name(),
            interface: Some(interface),
            ifindex: Some(ifindex),
            peers: peers_on(&facts.tables, ifindex),
        })
    };
    let mut rows: Vec<GuardRow> = wire.chain(early).filter_map(row).collect();
    if facts.socket_cgroup.is_some() {
        let active = peers.iter().filter(|peer| peer.state == PeerState::Active);
        rows.push(GuardRow {
            guard: "socket",
            hook: "cgroup_skb",
            interface: None,
            ifindex: None,
            peers: active.count(),
        });
    }
    rows
}

/// Returns the number of peers that may come through an interface.
fn peers_on(tables: &PolicyTables, ifindex: u32) -> usize {
    let row = [ifindex | WIRE_VIEW, ifindex]
        .iter()
        .find_map(|key| tables.interfaces.get(key));
    row.map_or(0, |row| row.carries.iter().take(MAX_PEERS).count())
}

/// Returns the promiscuous interfaces with a wire guard whose frames no master takes and whose side
/// the registry does not name. A visible macvlan child excludes a passthru device beside the child
/// (`macvlan_common_newlink` in drivers/net/macvlan.c).
fn promiscuous(facts: &Facts) -> Vec<String> {
    let children = facts.snapshot.iter().filter(|it| it.macvlan_mode.is_some());
    let has_child: BTreeSet<u32> = children.filter_map(|child| child.parent).collect();
    let guarded = facts.attached.guards.keys();
    let guarded = guarded.filter_map(|ifindex| facts.snapshot.by_index(*ifindex));
    let is_parent = |interface: &&Interface| {
        let options = facts.tables.options_of(interface.names());
        let is_free = interface.master.is_none() && !has_child.contains(&interface.index);
        interface.promiscuous && is_free && options.side.is_none()
    };
    let names = guarded.filter(is_parent);
    names.map(|interface| interface.name.clone()).collect()
}

fn bypassed(facts: &Facts) -> Vec<BypassRow> {
    let counts = facts.bypasses.iter().filter(|(_, packets)| **packets > 0);
    let row = |(ifindex, packets): (&u32, &u64)| {
        let interface = facts.snapshot.by_index(*ifindex)?.name.clone();
        Some(BypassRow {
            interface,
            packets: *packets,
        })
    };
    counts.filter_map(row).collect()
}

/// Whether a flag of [`State`] is set.
const fn has(state: State, flag: u32) -> bool {
    state.flags & flag != 0
}
