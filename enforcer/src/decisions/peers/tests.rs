//! Grants to keys beside the answers of WireGuard.

use super::*;
use crate::{decisions::fixtures, policy::InterfaceRow};

fn key(byte: u8) -> PublicKey {
    PublicKey::from([byte; 32])
}

fn set(peers: &[u16]) -> PeerSet {
    let mut set = PeerSet::EMPTY;
    peers.iter().for_each(|peer| set.insert(*peer));
    set
}

fn device(prefixes: &[(u8, &str)]) -> Answer {
    let mut allowed = AllowedIps::default();
    allowed.insert(key(9));
    for (byte, prefix) in prefixes {
        allowed.allow(key(*byte), prefix.parse().unwrap()).unwrap();
    }
    Answer::Device(allowed)
}

fn snapshot(answer: Answer) -> HostSnapshot {
    let wg0 = Interface {
        index: 5,
        name: "wg0".to_owned(),
        ..Interface::default()
    };
    HostSnapshot::of(vec![(wg0, answer)])
}

/// Peer 0 by key 1 and peer 1 by address, and these entries on wg0.
fn tables(entries: &[(&str, &[u16])]) -> PolicyTables {
    let peer = |name: &str, key| PeerRow {
        name: name.to_owned(),
        interface: "wg0".to_owned(),
        key,
        active: true,
    };
    let mut tables = PolicyTables {
        peers: vec![peer("laptop", Some([1; 32])), peer("office", None)],
        ..PolicyTables::default()
    };
    let mut row = InterfaceRow::default();
    for (prefix, peers) in entries {
        let prefix: ipnet::IpNet = prefix.parse().unwrap();
        let place = (5, Address::from(prefix.network()), prefix.prefix_len());
        row.carries = row.carries.union(&set(peers));
        tables.prefixes.insert(place, set(peers));
    }
    tables.interfaces.insert(5, row);
    tables
}

#[test]
fn the_interface_of_a_key_may_have_an_alternative_name() {
    let mut in_force = tables(&[("10.0.0.0/8", &[0])]);
    in_force.peers[0].interface = "vpn".to_owned();
    let stale_with = |names: &[&str], prefix| {
        let wg0 = Interface {
            index: 5,
            name: "wg0".to_owned(),
            alternative_names: names.iter().map(|&name| name.to_owned()).collect(),
            ..Interface::default()
        };
        let snapshot = HostSnapshot::of(vec![(wg0, device(&[(1, prefix)]))]);
        !stale(&in_force, &snapshot).is_empty()
    };
    assert!(!stale_with(&["other", "vpn"], "10.0.0.0/8"), "the control");
    assert!(stale_with(&["other", "vpn"], "10.0.0.0/9"));
}

#[test]
fn a_policy_is_stale_where_wireguard_says_something_else() {
    let in_force = tables(&[
        ("10.0.0.0/8", &[0]),
        ("10.1.0.0/16", &[0, 1]),
        ("10.1.2.0/24", &[1]),
    ]);
    let is_stale = |answer| !stale(&in_force, &snapshot(answer)).is_empty();
    let hole = (2, "10.1.2.0/24");
    assert!(!is_stale(device(&[(1, "10.0.0.0/8"), hole])));
    // What changes nothing is no change: another key elsewhere, a prefix within its own.
    let more = [(3, "192.0.2.0/24"), (1, "10.7.0.0/16"), (4, "10.1.2.3/32")];
    let same = [&[(1, "10.0.0.0/8"), hole], &more[..]].concat();
    assert!(!is_stale(device(&same)));

    assert!(is_stale(device(&[(1, "10.0.0.0/8")])), "the hole is gone");
    assert!(is_stale(device(&[(1, "10.0.0.0/9"), hole])), "narrower");
    assert!(is_stale(device(&[(1, "0.0.0.0/0"), hole])), "wider");
    let new_hole = [(1, "10.0.0.0/8"), hole, (2, "10.8.0.1/32")];
    assert!(is_stale(device(&new_hole)));
    let other_family = [(1, "10.0.0.0/8"), hole, (1, "::/0")];
    assert!(is_stale(device(&other_family)));
    assert!(is_stale(device(&[(2, "10.0.0.0/8")])), "moved");
    assert!(is_stale(device(&[])), "gone");
    assert!(is_stale(Answer::NotWireGuard));
    assert!(!is_stale(Answer::Unknown("it is silent".to_owned())));
}

#[test]
fn a_device_that_does_not_fit_is_not_stale_for_ever() {
    let hub: Vec<String> = (0..=10_000u32)
        .map(|n| format!("{}/32", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)))
        .collect();
    let large: Vec<(u8, &str)> = hub.iter().map(|it| (1, it.as_str())).collect();
    let snapshot = snapshot(device(&large));
    let without = tables(&[("192.0.2.0/24", &[1])]);
    assert!(stale(&without, &snapshot).is_empty());
    let why = why_waiting(&without, &snapshot, 0, &without.peers[0], [1; 32]).unwrap();
    assert!(why.contains("did not fit"), "{why}");
    assert_eq!(stale(&tables(&[("10.0.0.0/8", &[0])]), &snapshot), ["wg0"]);
}

#[test]
fn the_room_for_prefixes_is_used_to_the_last_one() {
    let hub = |count: usize| -> HostSnapshot {
        let addresses = (0..count).map(|n| {
            let n = u32::try_from(n).unwrap();
            format!("{}/32", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n))
        });
        let addresses: Vec<String> = addresses.collect();
        let prefixes: Vec<(u8, &str)> = addresses.iter().map(|it| (1, it.as_str())).collect();
        snapshot(device(&prefixes))
    };
    let without = tables(&[("192.0.2.0/24", &[1])]);
    let why = |count| why_waiting(&without, &hub(count), 0, &without.peers[0], [1; 32]).unwrap();
    assert!(why(MAX_PREFIXES).contains("did not fit"));
    assert!(why(MAX_PREFIXES - 1).contains("`enforcer reload`"));
}

#[test]
fn it_is_said_why_a_peer_waits() {
    let waiting = tables(&[("192.0.2.0/24", &[1])]);
    let why = |snapshot: &HostSnapshot, byte: u8| {
        why_waiting(&waiting, snapshot, 0, &waiting.peers[0], [byte; 32]).unwrap()
    };
    let said = |answer, byte| why(&snapshot(answer), byte);
    assert_eq!(
        why(&HostSnapshot::of(vec![]), 1),
        "there is no interface wg0"
    );
    assert_eq!(said(Answer::NotWireGuard, 1), "wg0 is no WireGuard device");
    assert_eq!(said(device(&[]), 1), "wg0 has no peer with its key");
    assert_eq!(said(device(&[]), 9), "its key has no AllowedIPs on wg0");
    assert!(said(device(&[(1, "::/0")]), 1).contains("`enforcer reload`"));
    let silent = Answer::Unknown("it is silent".to_owned());
    assert!(said(silent, 1).ends_with("keys: it is silent"));
    let there = tables(&[("10.0.0.0/8", &[0])]);
    let now = snapshot(device(&[(1, "10.0.0.0/8")]));
    assert_eq!(why_waiting(&there, &now, 0, &there.peers[0], [1; 32]), None);
    let mut revoked = there.clone();
    revoked
        .prefixes
        .values_mut()
        .for_each(|peers| *peers = set(&[]));
    let why = why_waiting(&revoked, &now, 0, &there.peers[0], [1; 32]);
    assert!(why.is_some(), "a revoked grant is none");
}

/// The grants that are taken away, as `prefix peers`.
fn taken(in_force: &PolicyTables, answer: Answer) -> Vec<String> {
    let revoked = revoked(in_force, &snapshot(answer));
    let show = |((_, network, length), peers): &Grant| {
        let left: Vec<u16> = peers.iter().collect();
        format!("{}/{length} {left:?}", std::net::IpAddr::from(*network))
    };
    revoked.iter().map(show).collect()
}

#[test]
fn a_key_that_is_taken_away_loses_its_grants_and_no_other_peer_does() {
    let in_force = tables(&[("10.0.0.0/8", &[0]), ("10.1.0.0/16", &[0, 1])]);
    let none: [&str; 0] = [];
    // Confirmed, wholly or by a wider prefix.
    assert_eq!(taken(&in_force, device(&[(1, "10.0.0.0/8")])), none);
    assert_eq!(taken(&in_force, device(&[(1, "0.0.0.0/0")])), none);
    // New AllowedIPs of the key are no grant before the next policy.
    let more = device(&[(1, "10.0.0.0/8"), (1, "192.0.2.0/24")]);
    assert_eq!(taken(&in_force, more), none);
    let all = ["10.0.0.0/8 []", "10.1.0.0/16 [1]"];
    assert_eq!(taken(&in_force, device(&[])), all);
    assert_eq!(taken(&in_force, device(&[(2, "10.0.0.0/8")])), all, "moved");
    assert_eq!(taken(&in_force, Answer::NotWireGuard), all);
    assert_eq!(taken(&in_force, Answer::Unknown("silent".to_owned())), none);
    // The interface has left, or was made anew with another ifindex.
    let elsewhere = |index| {
        let interface = Interface {
            index,
            name: "wg0".to_owned(),
            ..Interface::default()
        };
        HostSnapshot::of(vec![(interface, device(&[(1, "10.0.0.0/8")]))])
    };
    assert_eq!(revoked(&in_force, &elsewhere(5)), []);
    assert_eq!(revoked(&in_force, &elsewhere(6)).len(), 2);
    assert_eq!(revoked(&in_force, &HostSnapshot::of(vec![])).len(), 2);
    // A view shows the grants of another interface.
    let mut view = PolicyTables::default();
    view.peers.clone_from(&in_force.peers);
    let place = (7 | WIRE_VIEW, Address::v4([10, 0, 0, 0]), 8);
    view.prefixes.insert(place, set(&[0, 1]));
    assert_eq!(revoked(&view, &elsewhere(5)), []);
    assert_eq!(revoked(&view, &snapshot(device(&[]))), [(place, set(&[1]))]);
    // The key keeps a part: the wide grant goes as a whole, the narrow grant stays.
    let part = device(&[(1, "10.1.0.0/16")]);
    assert_eq!(taken(&in_force, part), ["10.0.0.0/8 []"]);
}

#[test]
fn a_new_hole_takes_the_prefix_around_it_away() {
    let in_force = tables(&[("10.0.0.0/8", &[0]), ("10.1.0.0/16", &[1])]);
    let owner = (1, "10.0.0.0/8");
    let none: [&str; 0] = [];
    // A hole that the policy lists apart, or that lies within such a prefix.
    assert_eq!(taken(&in_force, device(&[owner, (2, "10.1.0.0/16")])), none);
    assert_eq!(taken(&in_force, device(&[owner, (2, "10.1.2.0/24")])), none);
    // A hole elsewhere, and a hole around the prefix.
    let hole = device(&[owner, (2, "10.2.0.0/16")]);
    assert_eq!(taken(&in_force, hole), ["10.0.0.0/8 []"]);
    assert_eq!(taken(&in_force, device(&[owner, (2, "0.0.0.0/0")])), none);
    let same = device(&[owner, (2, "fd00::/8")]);
    assert_eq!(taken(&in_force, same), none, "of the other family");
}

#[test]
fn each_waiting_peer_by_key_is_a_note_on_its_interface() {
    let waiting = tables(&[("192.0.2.0/24", &[1])]);
    let notes = all_waiting(&waiting, &snapshot(Answer::NotWireGuard));
    let [note] = &notes[..] else {
        panic!("the office is known by its address: {notes:?}");
    };
    assert_eq!(note.kind, NoteKind::PeerWaiting);
    assert_eq!(note.interface.as_deref(), Some("wg0"));
    assert_eq!(note.text, "peer laptop waits: wg0 is no WireGuard device");
    let granted = tables(&[("10.0.0.0/8", &[0])]);
    let answer = device(&[(1, "10.0.0.0/8")]);
    assert_eq!(all_waiting(&granted, &snapshot(answer)), []);
    assert_eq!(interfaces_by_key(&granted), BTreeSet::from(["wg0"]));
    assert_eq!(interfaces_by_key(&PolicyTables::default()), BTreeSet::new());
}

#[test]
fn peers_by_key_want_a_follower() {
    let registry = |peer: &str| {
        let text = format!(
            "[services.s]\nports = [9200]\nallow = [\"p\"]\n[peers.p]\ninterface = \"wg0\"\n{peer}\n"
        );
        fixtures::loaded(&text).registry
    };
    let by_key = "public-key = \"hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\"";
    let note = unfollowed(&registry(by_key)).expect("a note");
    assert_eq!(note.kind, NoteKind::PeersNotFollowed);
    assert!(note.text.contains("enforcer reload"), "{}", note.text);
    assert_eq!(unfollowed(&registry("addresses = [\"10.0.0.1\"]")), None);
}
