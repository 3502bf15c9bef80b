//! `status`: what guards what, and what does not.

use anyhow::Result;
use enforcer_ebpf::{
    MAX_PEERS, Mode,
    layout::{State, WIRE_VIEW},
};
use serde::Serialize;

use crate::{
    control::{Error, Instance, find_attached},
    decisions::{peers, pending::PendingState},
    host::{HostSnapshot, snapshot},
    interfaces::Hook,
    policy::{PeerRow, PolicyTables},
};

/// What a crash leaves beside the pins.
const INTERRUPTED: &str = "a command was interrupted, and guards that it made or should have taken \
                           off may hold: run `enforcer up`, or `down`";

/// The state as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Every guard is there and drops what it must.
    Enforcing,
    /// Every guard is there and only counts.
    Audit,
    /// Something is not guarded.
    Degraded,
    /// Nothing is pinned.
    Off,
}

/// A guard that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuardRow {
    /// `wire` or `socket`.
    pub guard: &'static str,
    /// The hook.
    pub hook: &'static str,
    /// The interface; none for the socket guard.
    pub interface: Option<String>,
    /// Its index.
    pub ifindex: Option<u32>,
    /// How many peers may come this way.
    pub peers: usize,
}

/// What is not guarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UncoveredRow {
    /// The interface.
    pub interface: String,
    /// Why, and what to do about it.
    pub why: String,
}

/// Whether a peer can get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Its addresses are loaded.
    Active,
    /// Its interface or its key is not there.
    Waiting,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Whether it can get in.
    pub state: PeerState,
    /// Why it waits.
    #[serde(skip)]
    pub why: Option<String>,
}

/// Packets that came past a wire guard and were dropped at a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BypassRow {
    /// The interface.
    pub interface: String,
    /// How many.
    pub packets: u64,
}

/// A policy on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PendingView {
    /// When it is taken back.
    pub seconds_left: u64,
}

/// What `status` shows; the fields are the JSON of the design.
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
    /// What has none.
    pub uncovered: Vec<UncoveredRow>,
    /// The peers.
    pub peers: Vec<PeerStatus>,
    /// What came past wire guards.
    pub bypassed: Vec<BypassRow>,
    /// What is taken back unless it is confirmed.
    pub confirm: Option<PendingView>,
    /// The last policy on trial was taken back, and no other was put in force since.
    pub rolled_back: bool,
    /// Why it is degraded, in words.
    #[serde(skip)]
    pub reasons: Vec<String>,
}

impl Status {
    fn off() -> Self {
        Self {
            schema: 1,
            state: Condition::Off,
            generation: 0,
            services: 0,
            registered_ports: 0,
            guards: Vec::new(),
            uncovered: Vec::new(),
            peers: Vec::new(),
            bypassed: Vec::new(),
            confirm: None,
            rolled_back: false,
            reasons: Vec::new(),
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

/// Looks at the pins, and at the interfaces that should have a guard.
///
/// # Errors
/// The pins cannot be read, or are another namespace's.
pub async fn status(instance: &Instance) -> Result<Status, Error> {
    let mut snapshot = snapshot().await?;
    let Some(maps) = instance.maps()? else {
        let mut status = Status::off();
        if instance.is_interrupted()? {
            status.state = Condition::Degraded;
            status.reasons.push(INTERRUPTED.to_owned());
        }
        return Ok(status);
    };
    let state = maps.state();
    let tables = maps.tables()?;
    let by_key = tables.peers.iter().filter(|peer| peer.key.is_some());
    snapshot
        .ask_wireguard(by_key.map(|peer| peer.interface.as_str()).collect())
        .await;
    let snapshot = &snapshot;
    let alive = find_attached(instance.pins(), snapshot)?;
    // Whether they were asked for or not: an interface without a guard has none.
    let plan = snapshot.plan(|name| tables.options_of(name), alive.programs.clone());
    let wire = alive.guards;
    let mut status = Status {
        generation: state.generation,
        services: tables.services.len(),
        registered_ports: tables.ports.len(),
        confirm: maps.pending().awaiting().map(|trial| PendingView {
            seconds_left: trial.seconds_left(),
        }),
        rolled_back: maps.pending() == PendingState::RolledBack,
        ..Status::off()
    };
    let name = |ifindex: u32| snapshot.by_index(ifindex).map(|i| i.name.clone());
    status.peers = (0u16..)
        .zip(&tables.peers)
        .map(|(number, peer)| {
            let why = why_waiting(&tables, snapshot, number, peer);
            PeerStatus {
                name: peer.name.clone(),
                state: if why.is_some() {
                    PeerState::Waiting
                } else {
                    PeerState::Active
                },
                why,
            }
        })
        .collect();
    for (ifindex, hook) in &wire {
        // One that left this namespace took its link along; the next command detaches it.
        let Some(name) = name(*ifindex) else { continue };
        status.guards.push(GuardRow {
            guard: "wire",
            hook: hook.name(),
            interface: Some(name),
            ifindex: Some(*ifindex),
            peers: peers_on(&tables, *ifindex),
        });
    }
    for (ifindex, _) in instance.pins().early_links()? {
        let known = status.guards.iter().any(|row| row.ifindex == Some(ifindex));
        if let Some(name) = name(ifindex).filter(|_| !known) {
            status.guards.push(GuardRow {
                guard: "wire",
                hook: Hook::Tcx.name(),
                interface: Some(name),
                ifindex: Some(ifindex),
                peers: peers_on(&tables, ifindex),
            });
        }
    }
    let socket = instance.has_socket_guard()?;
    if socket {
        status.guards.push(GuardRow {
            guard: "socket",
            hook: "cgroup_skb",
            interface: None,
            ifindex: None,
            peers: status
                .peers
                .iter()
                .filter(|peer| peer.state == PeerState::Active)
                .count(),
        });
    }
    uncovered(&mut status, state, &plan, &wire, socket);
    for name in alive.behind.iter().filter_map(|ifindex| name(*ifindex)) {
        status.reasons.push(format!(
            "another tcx program sees the packets of {name} before the wire guard does: \
             `enforcer up` goes before it"
        ));
    }
    astray(&mut status, &tables, snapshot);
    if instance.is_interrupted()? {
        status.reasons.push(INTERRUPTED.to_owned());
    }
    for (ifindex, packets) in maps
        .bypasses()
        .into_iter()
        .filter(|(_, packets)| *packets > 0)
    {
        if let Some(interface) = name(ifindex) {
            status.bypassed.push(BypassRow { interface, packets });
        }
    }
    let audits = tables.mode == Mode::Audit;
    status.state = match (status.reasons.is_empty(), audits) {
        (false, _) => Condition::Degraded,
        (true, true) => Condition::Audit,
        (true, false) => Condition::Enforcing,
    };
    Ok(status)
}

/// What should have a guard and has none, and why the whole is degraded.
fn uncovered(
    status: &mut Status,
    state: State,
    plan: &crate::interfaces::Plan,
    wire: &std::collections::BTreeMap<u32, Hook>,
    socket: bool,
) {
    let has = |flag| state.flags & flag != 0;
    for guard in plan
        .guards
        .iter()
        .filter(|guard| !wire.contains_key(&guard.ifindex))
    {
        let why = match has(State::WANT_WIRE) {
            true => "it has come up since, or refused the guard: run `enforcer reload`".into(),
            false => "`up` was told to do without wire guards".into(),
        };
        let interface = guard.name.clone();
        status.uncovered.push(UncoveredRow { interface, why });
    }
    for other in &plan.uncovered {
        status.uncovered.push(UncoveredRow {
            interface: other.name.clone(),
            why: other.why.clone(),
        });
    }
    for row in &status.uncovered {
        status
            .reasons
            .push(format!("{} has no wire guard: {}", row.interface, row.why));
    }
    let mut lacks = |what: &str| status.reasons.push(what.to_owned());
    if !has(State::WANT_WIRE) && wire.is_empty() && plan.guards.is_empty() {
        lacks("`up` was told to do without wire guards");
    }
    match (has(State::WANT_SOCKET), socket) {
        (false, _) => lacks("there is no socket guard: `up` was told to do without"),
        (true, false) => {
            lacks("there is no socket guard: `enforcer reload` adds it, or `up` says why not");
        }
        (true, true) => {}
    }
    if has(State::FALLBACK) {
        lacks("the registry is bad, and the embedded default holds in its place: `enforcer check`");
    }
}

/// What the policy says of interfaces that are others now: an ifindex may be reused, and a name
/// moved to another interface.
fn astray(status: &mut Status, tables: &PolicyTables, snapshot: &HostSnapshot) {
    for name in peers::stale(tables, snapshot) {
        status.reasons.push(format!(
            "what the keys of {name} may use is not what it was at the last reload: run \
             `enforcer reload`"
        ));
    }
    for (ifindex, row) in &tables.interfaces {
        let Some(interface) = snapshot.by_index(*ifindex) else {
            continue;
        };
        let strangers = row
            .carries
            .iter()
            .filter_map(|number| tables.peers.get(usize::from(number)))
            .filter(|peer| peer.interface != interface.name);
        for peer in strangers {
            status.reasons.push(format!(
                "what {} grants to {} stands on {} now: run `enforcer reload`",
                peer.interface, peer.name, interface.name
            ));
        }
        if row.macvlan_parent_mac.is_some() && row.macvlan_parent_mac != interface.mac {
            status.reasons.push(format!(
                "{} has another MAC address than at the last reload: run `enforcer reload`",
                interface.name
            ));
        }
    }
}

/// Why a peer cannot get in, if it cannot.
fn why_waiting(
    tables: &PolicyTables,
    snapshot: &HostSnapshot,
    number: u16,
    peer: &PeerRow,
) -> Option<String> {
    if let Some(key) = peer.key {
        return peers::why_waiting(tables, snapshot, number, peer, key);
    }
    let Some(interface) = snapshot.by_name(&peer.interface) else {
        return Some(format!("there is no interface {}", peer.interface));
    };
    let carried = tables
        .interfaces
        .get(&interface.index)
        .is_some_and(|row| row.carries.contains(number));
    (!carried).then(|| {
        format!(
            "{} is another one than at the last reload: `enforcer reload`",
            peer.interface
        )
    })
}

/// How many peers may come through an interface.
fn peers_on(tables: &PolicyTables, ifindex: u32) -> usize {
    let row = [ifindex | WIRE_VIEW, ifindex]
        .iter()
        .find_map(|key| tables.interfaces.get(key));
    row.map_or(0, |row| row.carries.iter().take(MAX_PEERS).count())
}
