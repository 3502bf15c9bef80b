//! Facts in, status out.

mod warnings;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use enforcer_ebpf::PeerSet;

use super::*;
use crate::{
    decisions::{attached::AttachedGuards, candidate::EVERY_GUARD, pending::PendingPolicy},
    host::HostSnapshot,
    interfaces::Interface,
    kernel::links::Cgroup,
    policy::{InterfaceRow, PeerRow},
    wireguard::Answer,
};

fn eth0() -> Interface {
    Interface {
        index: 2,
        name: "eth0".to_owned(),
        link_type: 1,
        up: true,
        has_device: true,
        mac: Some([2, 0, 0, 0, 0, 1]),
        ..Interface::default()
    }
}

fn host(interfaces: &[Interface]) -> HostSnapshot {
    let found = interfaces.iter().cloned();
    HostSnapshot::of(found.map(|it| (it, Answer::NotWireGuard)).collect())
}

fn set(peers: &[u16]) -> PeerSet {
    let mut set = PeerSet::EMPTY;
    peers.iter().for_each(|peer| set.insert(*peer));
    set
}

/// A policy with the peer `office`, by address, on eth0.
fn tables() -> PolicyTables {
    let mut tables = PolicyTables {
        peers: vec![PeerRow {
            name: "office".to_owned(),
            interface: "eth0".to_owned(),
            key: None,
            active: true,
        }],
        ..PolicyTables::default()
    };
    let row = InterfaceRow {
        carries: set(&[0]),
        ..InterfaceRow::default()
    };
    tables.interfaces.insert(2, row);
    tables
}

/// A host with eth0, both guards attached, and nothing to complain about.
fn facts() -> Facts {
    Facts {
        state: State {
            generation: 7,
            flags: EVERY_GUARD,
            ..State::default()
        },
        tables: tables(),
        pending: PendingState::None,
        snapshot: host(&[eth0()]),
        attached: AttachedGuards {
            guards: BTreeMap::from([(2, Hook::XdpNative)]),
            ..AttachedGuards::default()
        },
        early: Vec::new(),
        socket_cgroup: Some(Cgroup(1)),
        notes_sent: true,
        no_cgroup: None,
        missing: Vec::new(),
        around: Around::default(),
        bypasses: BTreeMap::new(),
    }
}

#[test]
fn a_host_with_every_guard_is_enforcing() {
    let status = Status::of(&facts());
    assert_eq!(status.state, Condition::Enforcing);
    assert_eq!(status.findings, []);
    assert_eq!(status.exit_code(), 0);
    assert_eq!(status.generation, 7);
    let hooks: Vec<&str> = status.guards.iter().map(|row| row.hook).collect();
    assert_eq!(hooks, ["xdp-native", "cgroup_skb"]);
    assert_eq!(status.guards[0].interface.as_deref(), Some("eth0"));
    assert_eq!((status.guards[0].peers, status.guards[1].peers), (1, 1));
    assert_eq!(status.peers[0].state, PeerState::Active);
}

#[test]
fn audit_is_a_state_without_gaps_alone() {
    let mut facts = facts();
    facts.tables.mode = Mode::Audit;
    assert_eq!(Status::of(&facts).state, Condition::Audit);
    facts.socket_cgroup = None;
    let status = Status::of(&facts);
    assert_eq!(status.state, Condition::Degraded);
    assert_eq!(status.findings, [Finding::NoSocketGuard]);
    assert_eq!(status.exit_code(), 3);
}

#[test]
fn an_interface_without_a_guard_is_uncovered() {
    let mut facts = facts();
    facts.attached.guards.clear();
    let status = Status::of(&facts);
    assert_eq!(status.uncovered[0].interface, "eth0");
    assert!(status.uncovered[0].why.contains("enforcer reload"));
    assert_eq!(
        status.findings,
        [Finding::NoWireGuard(status.uncovered[0].clone())]
    );
    facts.state.flags &= !State::WANT_WIRE;
    let status = Status::of(&facts);
    assert!(status.uncovered[0].why.contains("without wire guards"));
    assert_eq!(status.findings.len(), 1, "one interface, one finding");
}

#[test]
fn guards_that_were_not_wanted_are_gaps_of_a_bare_host_too() {
    let mut facts = facts();
    facts.snapshot = host(&[]);
    facts.tables = PolicyTables::default();
    facts.attached.guards.clear();
    facts.socket_cgroup = None;
    facts.state.flags = State::FALLBACK;
    assert_eq!(
        Status::of(&facts).findings,
        [
            Finding::WireNotWanted,
            Finding::SocketNotWanted,
            Finding::Fallback
        ]
    );
}

#[test]
fn an_early_guard_is_shown_once_and_by_name() {
    let mut facts = facts();
    let down = Interface {
        index: 3,
        name: "eth1".to_owned(),
        up: false,
        ..eth0()
    };
    facts.snapshot = host(&[eth0(), down]);
    facts.early = vec![2, 3, 9];
    let status = Status::of(&facts);
    let names: Vec<Option<&str>> = status
        .guards
        .iter()
        .map(|row| row.interface.as_deref())
        .collect();
    assert_eq!(names, [Some("eth0"), Some("eth1"), None]);
    assert_eq!(status.guards[1].hook, "tcx");
}

#[test]
fn a_link_that_left_the_namespace_is_no_guard() {
    let mut facts = facts();
    facts.attached.guards.insert(9, Hook::Tcx);
    facts.bypasses = BTreeMap::from([(2, 5), (9, 5)]);
    let status = Status::of(&facts);
    assert_eq!(status.guards.len(), 2);
    assert_eq!(status.bypassed.len(), 1);
    assert_eq!(status.bypassed[0].packets, 5);
    facts.bypasses = BTreeMap::from([(2, 0)]);
    assert_eq!(Status::of(&facts).bypassed, []);
}

#[test]
fn a_guard_behind_another_program_is_a_gap() {
    let mut facts = facts();
    facts.attached.behind = BTreeSet::from([2]);
    facts.around.interrupted = true;
    assert_eq!(
        Status::of(&facts).findings,
        [Finding::Behind("eth0".to_owned()), Finding::Interrupted]
    );
}

#[test]
fn a_moved_name_is_a_waiting_peer_and_a_grant_astray() {
    let mut facts = facts();
    let moved = |index, name: &str| Interface {
        index,
        name: name.to_owned(),
        ..eth0()
    };
    facts.snapshot = host(&[moved(2, "old0"), moved(3, "eth0")]);
    facts.attached.guards.insert(3, Hook::Tcx);
    let status = Status::of(&facts);
    assert_eq!(status.peers[0].state, PeerState::Waiting);
    let why = status.peers[0].why.as_deref().unwrap();
    assert!(
        why.contains("eth0 is another one than at the last reload"),
        "{why}"
    );
    assert_eq!(
        status.findings,
        [Finding::GrantAstray {
            peer: "office".to_owned(),
            registered: "eth0".to_owned(),
            actual: "old0".to_owned(),
        }]
    );
    let socket = status.guards.last().unwrap();
    assert_eq!(socket.peers, 0, "the peer waits");
}

#[test]
fn a_peer_without_an_interface_waits_and_degrades_nothing() {
    let mut facts = facts();
    facts.tables.peers[0].interface = "tun0".to_owned();
    facts.tables.interfaces.clear();
    let status = Status::of(&facts);
    assert_eq!(
        status.peers[0].why.as_deref(),
        Some("there is no interface tun0")
    );
    assert_eq!(status.state, Condition::Enforcing);
}

#[test]
fn another_mac_than_the_policys_is_a_gap() {
    let mut facts = facts();
    let row = facts.tables.interfaces.get_mut(&2).unwrap();
    row.mac = eth0().mac;
    assert_eq!(Status::of(&facts).findings, []);
    let row = facts.tables.interfaces.get_mut(&2).unwrap();
    row.mac = Some([2, 0, 0, 0, 0, 9]);
    assert_eq!(
        Status::of(&facts).findings,
        [Finding::MacChanged("eth0".to_owned())]
    );
}

#[test]
fn own_addresses_that_changed_are_a_gap() {
    let mut facts = facts();
    let row = enforcer_ebpf::layout::LocalRow {
        ifindex: 2,
        is_address: true,
    };
    let gone = enforcer_ebpf::Address::v4([192, 0, 2, 1]);
    facts.tables.local.insert((gone, 32), row);
    let status = Status::of(&facts);
    assert_eq!(status.state, Condition::Degraded);
    assert_eq!(status.findings, [Finding::AddressesChanged]);
}

#[test]
fn a_grant_to_a_key_that_wireguard_does_not_know_is_a_gap() {
    let mut facts = facts();
    facts.tables.peers[0].key = Some([1; 32]);
    let prefix = (2, enforcer_ebpf::Address::v4([10, 0, 0, 0]), 8);
    facts.tables.prefixes.insert(prefix, set(&[0]));
    assert_eq!(
        Status::of(&facts).findings,
        [Finding::KeysChanged("eth0".to_owned())]
    );
}

#[test]
fn pending_and_rolled_back_are_shown() {
    let mut facts = facts();
    facts.pending = PendingState::Awaiting(PendingPolicy {
        generation: 7,
        left: Duration::from_millis(41_500),
    });
    let status = Status::of(&facts);
    assert_eq!(status.confirm.map(|pending| pending.seconds_left), Some(42));
    assert!(!status.rolled_back);
    assert_eq!(status.state, Condition::Enforcing);
    facts.pending = PendingState::RolledBack;
    let status = Status::of(&facts);
    assert_eq!(status.confirm, None);
    assert!(status.rolled_back);
}

#[test]
fn nothing_pinned_is_off_unless_guards_may_hold() {
    let off = |around: &Around, is_gone| {
        let status = Status::of_nothing(around, is_gone);
        (status.state, status.exit_code(), status.findings)
    };
    let nothing = Around::default();
    assert_eq!(off(&nothing, false), (Condition::Off, 4, vec![]));
    let gone = vec![Finding::NamespaceGone];
    assert_eq!(off(&nothing, true), (Condition::Off, 4, gone));
    let interrupted = Around {
        interrupted: true,
        ..Around::default()
    };
    let finding = vec![Finding::Interrupted];
    assert_eq!(off(&interrupted, false), (Condition::Degraded, 3, finding));
    let strays = Around {
        strays: vec!["the socket guard (link 7)".to_owned()],
        ..Around::default()
    };
    let finding = vec![Finding::Strays(strays.strays.clone())];
    assert_eq!(off(&strays, false), (Condition::Degraded, 3, finding));
    // Nobody can take guards away that are not there.
    let open = Around {
        open_parent: Some("/p may be written".to_owned()),
        ..Around::default()
    };
    assert_eq!(off(&open, false), (Condition::Off, 4, vec![]));
}

#[test]
fn a_missing_map_is_a_gap_and_the_guards_are_shown_all_the_same() {
    let mut facts = facts();
    facts.missing = vec!["EVENTS", "PORTS"];
    facts.tables = PolicyTables::default();
    facts.state = State::default();
    let status = Status::of(&facts);
    assert_eq!(
        status.findings,
        [Finding::MissingMap("EVENTS"), Finding::MissingMap("PORTS")]
    );
    assert_eq!((status.state, status.generation), (Condition::Degraded, 0));
    assert_eq!((status.guards.len(), status.uncovered.len()), (2, 0));
}

#[test]
fn the_place_of_the_socket_guard_counts() {
    let mut facts = facts();
    facts.socket_cgroup = Some(Cgroup(4711));
    assert_eq!(Status::of(&facts).findings, [Finding::SocketBelowRoot]);
    facts.socket_cgroup = None;
    facts.no_cgroup = Some("no cgroup2 is mounted".to_owned());
    let expected = Finding::NoCgroup("no cgroup2 is mounted".to_owned());
    assert_eq!(Status::of(&facts).findings, [expected]);
}

#[test]
fn strays_and_an_open_parent_degrade_whatever_is_pinned() {
    let mut facts = facts();
    facts.around.strays = vec!["the socket guard (link 7)".to_owned()];
    facts.around.open_parent = Some("/p may be written".to_owned());
    let status = Status::of(&facts);
    assert_eq!(
        status.findings,
        [
            Finding::Strays(facts.around.strays.clone()),
            Finding::ParentWritable("/p may be written".to_owned())
        ]
    );
    assert_eq!(status.exit_code(), 3);
}
