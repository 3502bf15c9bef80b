//! Prefixes and keys, against what WireGuard and a plain reading of the registry say.

use std::{collections::BTreeMap, io::Write as _, net::IpAddr};

use enforcer_ebpf::{Guard, PeerSet, Protocol, layout::WIRE_VIEW};
use ipnet::IpNet;
use proptest::{prelude::*, test_runner::Config};

use super::{
    PacketSpec, PolicyInterface, PolicyTables, Slots, compile,
    prefixes::{KeyPrefixes, longest_matches},
};
use crate::{
    registry::{self, PublicKey, Registry, Source},
    wireguard::AllowedIps,
};

fn set(peers: &[u16]) -> PeerSet {
    let mut set = PeerSet::EMPTY;
    peers.iter().for_each(|peer| set.insert(*peer));
    set
}

fn addresses(prefixes: &[(&str, u16)]) -> Vec<(IpNet, u16)> {
    let parsed = |(prefix, peer): &(&str, u16)| (prefix.parse().unwrap(), *peer);
    prefixes.iter().map(parsed).collect()
}

fn keys(prefixes: &[(&str, &[u16])]) -> KeyPrefixes {
    let parsed = |(prefix, peers): &(&str, &[u16])| (prefix.parse().unwrap(), set(peers));
    prefixes.iter().map(parsed).collect()
}

fn found(addresses: &[(IpNet, u16)], devices: &[&KeyPrefixes]) -> BTreeMap<String, PeerSet> {
    longest_matches(addresses, devices)
        .into_iter()
        .map(|(prefix, peers)| (prefix.to_string(), peers))
        .collect()
}

#[test]
fn a_narrow_prefix_keeps_the_peers_of_the_wide_ones_around_it() {
    let prefixes = addresses(&[
        ("10.0.0.0/8", 0),
        ("10.1.0.0/16", 1),
        ("10.1.2.0/24", 2),
        ("10.1.2.0/24", 3),
        ("10.2.0.0/16", 4),
        ("11.0.0.0/8", 5),
        ("fd00::/8", 6),
        ("::/0", 7),
    ]);
    let found = found(&prefixes, &[]);
    assert_eq!(found["10.0.0.0/8"], set(&[0]));
    assert_eq!(found["10.1.0.0/16"], set(&[0, 1]));
    assert_eq!(found["10.1.2.0/24"], set(&[0, 1, 2, 3]));
    assert_eq!(found["10.2.0.0/16"], set(&[0, 4]));
    assert_eq!(found["11.0.0.0/8"], set(&[5]));
    assert_eq!(found["fd00::/8"], set(&[6, 7]));
    assert_eq!(found.len(), 7);
}

#[test]
fn a_hole_ends_the_grants_of_keys_and_of_nobody_else() {
    let by_address = addresses(&[("10.0.0.0/8", 0), ("10.1.2.0/30", 1)]);
    let device = keys(&[
        ("0.0.0.0/0", &[2]),
        ("10.1.0.0/16", &[]),
        ("10.1.2.0/24", &[3]),
        ("10.1.2.1/32", &[]),
        ("fd00::/64", &[2]),
        ("fd00::9/128", &[]),
    ]);
    let found = found(&by_address, &[&device]);
    assert_eq!(found["0.0.0.0/0"], set(&[2]));
    assert_eq!(found["10.0.0.0/8"], set(&[0, 2]));
    assert_eq!(found["10.1.0.0/16"], set(&[0]));
    assert_eq!(found["10.1.2.0/24"], set(&[0, 3]));
    assert_eq!(found["10.1.2.0/30"], set(&[0, 1, 3]));
    assert_eq!(found["10.1.2.1/32"], set(&[0, 1]));
    assert_eq!(found["fd00::/64"], set(&[2]));
    assert_eq!(found["fd00::9/128"], set(&[]));
    assert_eq!(found.len(), 8);
}

#[test]
fn one_prefix_may_be_a_keys_and_a_peers_by_address() {
    let by_address = addresses(&[("10.0.0.5/32", 0)]);
    let device = keys(&[("10.0.0.5/32", &[1, 2])]);
    let found = found(&by_address, &[&device]);
    assert_eq!(found["10.0.0.5/32"], set(&[0, 1, 2]));
}

#[test]
fn what_changes_nothing_takes_no_entry() {
    // A hub with thousands of keys, one of them known.
    let hub: KeyPrefixes = (0..20_000u32)
        .map(|n| {
            let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
            let peers = if n == 7 { set(&[0]) } else { PeerSet::EMPTY };
            (IpNet::new(address.into(), 32).unwrap(), peers)
        })
        .collect();
    assert_eq!(found(&[], &[&hub]).len(), 1);
    let nested = keys(&[("10.0.0.0/8", &[1]), ("10.1.0.0/16", &[1])]);
    assert_eq!(found(&[], &[&nested]).len(), 1);
    let holes = keys(&[
        ("10.0.0.0/8", &[1]),
        ("10.1.0.0/16", &[]),
        ("10.1.1.0/24", &[]),
    ]);
    assert_eq!(found(&[], &[&holes]).len(), 2);
}

/// Few bits, so that prefixes meet.
fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 = (0u32..16, 26u8..=32).prop_map(|(low, length)| {
        IpNet::new(IpAddr::from((0x0a00_0000 + low).to_be_bytes()), length).unwrap()
    });
    let v6 = (0u128..16, 122u8..=128).prop_map(|(low, length)| {
        IpNet::new(
            IpAddr::from((0xfd00u128 << 112 | low).to_be_bytes()),
            length,
        )
        .unwrap()
    });
    let all = prop_oneof![Just("0.0.0.0/0"), Just("::/0")].prop_map(|all| all.parse().unwrap());
    prop_oneof![6 => v4, 6 => v6, 1 => all].prop_map(|net: IpNet| net.trunc())
}

fn device() -> impl Strategy<Value = BTreeMap<IpNet, PeerSet>> {
    let peers = prop_oneof![2 => Just(set(&[])), 3 => (8u16..12).prop_map(|peer| set(&[peer]))];
    prop::collection::btree_map(prefix(), peers, 0..12)
}

/// What WireGuard and the registry say of an address, one prefix after the other.
fn naive(
    address: IpAddr,
    addresses: &[(IpNet, u16)],
    devices: &[BTreeMap<IpNet, PeerSet>],
) -> PeerSet {
    let mut peers = PeerSet::EMPTY;
    for (prefix, peer) in addresses {
        if prefix.contains(&address) {
            peers.insert(*peer);
        }
    }
    for device in devices {
        let longest = device
            .iter()
            .filter(|(prefix, _)| prefix.contains(&address))
            .max_by_key(|(prefix, _)| prefix.prefix_len());
        if let Some((_, keys)) = longest {
            peers = peers.union(keys);
        }
    }
    peers
}

proptest! {
    #![proptest_config(Config { cases: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_longest_match_is_the_answer(
        addresses in prop::collection::vec((prefix(), 0u16..4), 0..8),
        devices in prop::collection::vec(device(), 0..3),
    ) {
        let lists: Vec<KeyPrefixes> = devices
            .iter()
            .map(|device| device.iter().map(|(prefix, peers)| (*prefix, *peers)).collect())
            .collect();
        let found = longest_matches(&addresses, &lists.iter().collect::<Vec<_>>());
        let v4 = (0u32..70).map(|low| IpAddr::from((0x0a00_0000 + low).to_be_bytes()));
        let v6 = (0u128..70).map(|low| IpAddr::from((0xfd00u128 << 112 | low).to_be_bytes()));
        for address in v4.chain(v6) {
            let longest = found
                .iter()
                .filter(|(prefix, _)| prefix.contains(&address))
                .max_by_key(|(prefix, _)| prefix.prefix_len());
            let peers = longest.map_or(PeerSet::EMPTY, |(_, peers)| *peers);
            prop_assert_eq!(peers, naive(address, &addresses, &devices), "{}", address);
        }
    }
}

fn key(byte: u8) -> PublicKey {
    PublicKey::from([byte; 32])
}

fn registry(text: &str) -> Registry {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    registry::load(&Source::Named(file.path().to_owned()))
        .unwrap_or_else(|rejected| panic!("rejected:\n{rejected}"))
        .registry
}

fn attachment(ifindex: u32, name: &str, allowed: Option<&[(u8, &str)]>) -> PolicyInterface {
    let allowed_ips = allowed.map(|list| {
        let mut allowed = AllowedIps::default();
        for (byte, prefix) in list {
            allowed.allow(key(*byte), prefix.parse().unwrap()).unwrap();
        }
        allowed
    });
    PolicyInterface {
        ifindex,
        name: name.to_owned(),
        mac: None,
        merged: Vec::new(),
        has_macvlan_children: false,
        allowed_ips,
    }
}

fn grants(tables: &PolicyTables, ifindex: u32, source: &str) -> Vec<String> {
    let description = |port| PacketSpec {
        guard: Guard::Socket,
        ifindex,
        loopback: false,
        source: source.parse::<IpAddr>().unwrap().into(),
        destination: None,
        protocol: Protocol::Tcp,
        port,
        forwarded: false,
    };
    let services = tables.ports.keys();
    services
        .filter(|(_, port)| !tables.judge(&description(*port)).drops())
        .filter_map(|(protocol, port)| tables.service_of(*protocol, *port))
        .map(str::to_owned)
        .collect()
}

/// `laptop` by key 1 on wg0, `phone` by key 2 there, `branch` by key 1 on wg1, `office` by address.
fn four_peers() -> Registry {
    registry(&format!(
        "[services.a]\nports = [1]\nallow = [\"laptop\"]\n\
         [services.b]\nports = [2]\nallow = [\"phone\"]\n\
         [services.c]\nports = [3]\nallow = [\"branch\"]\n\
         [services.d]\nports = [4]\nallow = [\"office\"]\n\
         [peers.laptop]\ninterface = \"wg0\"\npublic-key = \"{one}\"\n\
         [peers.phone]\ninterface = \"wg0\"\npublic-key = \"{two}\"\n\
         [peers.branch]\ninterface = \"wg1\"\npublic-key = \"{one}\"\n\
         [peers.office]\ninterface = \"wg0\"\naddresses = [\"10.1.0.0/16\"]\n",
        one = key(1),
        two = key(2),
    ))
}

fn active(tables: &PolicyTables) -> Vec<&str> {
    let peers = tables.peers.iter().filter(|peer| peer.active);
    peers.map(|peer| peer.name.as_str()).collect()
}

#[test]
fn a_key_is_its_allowed_ips_on_its_own_device() {
    let wg0 = attachment(
        5,
        "wg0",
        Some(&[
            (1, "10.0.0.0/8"),
            (2, "10.1.2.0/24"),
            (3, "10.1.2.3/32"),
            (3, "10.9.0.0/16"),
        ]),
    );
    let wg1 = attachment(6, "wg1", Some(&[(1, "::/0"), (3, "fd00::/64")]));
    let tables = compile(&four_peers(), &[wg0, wg1], &Slots::new()).unwrap();
    assert_eq!(active(&tables), ["branch", "laptop", "office", "phone"]);
    assert_eq!(grants(&tables, 5, "10.0.0.1"), ["a"]);
    assert_eq!(grants(&tables, 5, "10.1.0.1"), ["a", "d"]);
    assert_eq!(grants(&tables, 5, "10.1.2.1"), ["b", "d"]);
    assert_eq!(
        grants(&tables, 5, "10.1.2.3"),
        ["d"],
        "a hole, but for the office"
    );
    assert!(grants(&tables, 5, "10.9.0.1").is_empty(), "a hole");
    assert!(grants(&tables, 5, "fd01::1").is_empty());
    assert_eq!(grants(&tables, 6, "fd01::1"), ["c"]);
    assert!(grants(&tables, 6, "fd00::1").is_empty());
    assert!(grants(&tables, 6, "10.0.0.1").is_empty());
    assert!(grants(&tables, 7, "10.0.0.1").is_empty());
}

#[test]
fn a_key_that_is_not_there_grants_nothing() {
    let wg0 = attachment(5, "wg0", Some(&[(2, "10.0.0.2/32")]));
    // A device by name alone: WireGuard was not there to be asked.
    let wg1 = attachment(6, "wg1", None);
    let tables = compile(&four_peers(), &[wg0, wg1], &Slots::new()).unwrap();
    assert_eq!(active(&tables), ["office", "phone"]);
    assert_eq!(grants(&tables, 5, "10.0.0.2"), ["b"]);
    assert!(grants(&tables, 5, "10.0.0.1").is_empty());
    assert!(grants(&tables, 6, "10.0.0.1").is_empty());
}

#[test]
fn a_wire_view_passes_what_any_of_its_devices_passes() {
    let wg0 = attachment(5, "wg0", Some(&[(1, "10.0.0.0/8"), (3, "10.1.0.0/16")]));
    let wg1 = attachment(6, "wg1", Some(&[(1, "10.1.0.0/16")]));
    let parent = PolicyInterface {
        merged: vec![5, 6],
        ..attachment(7, "eth0", None)
    };
    let tables = compile(&four_peers(), &[wg0, wg1, parent], &Slots::new()).unwrap();
    assert!(grants(&tables, 7, "10.0.0.1").is_empty());
    assert_eq!(grants(&tables, 7 | WIRE_VIEW, "10.0.0.1"), ["a"]);
    assert_eq!(grants(&tables, 7 | WIRE_VIEW, "10.1.0.1"), ["c", "d"]);
}

/// Two more than may be had, half of them holes in the other half.
fn too_many(wide: u8, narrow: u8) -> AllowedIps {
    let mut allowed = AllowedIps::default();
    for n in 0..5_001u32 {
        let network = IpAddr::from((0x0a00_0000 + 4 * n).to_be_bytes());
        let prefix = |length| IpNet::new(network, length).unwrap();
        allowed.allow(key(wide), prefix(30)).unwrap();
        allowed.allow(key(narrow), prefix(32)).unwrap();
    }
    allowed
}

#[test]
fn a_device_that_does_not_fit_is_left_out_as_a_whole() {
    let wg0 = PolicyInterface {
        allowed_ips: Some(too_many(1, 3)),
        ..attachment(5, "wg0", None)
    };
    let wg1 = attachment(6, "wg1", Some(&[(1, "10.0.0.0/8")]));
    let interfaces = [wg0, wg1];
    let tables = compile(&four_peers(), &interfaces, &Slots::new()).unwrap();
    assert_eq!(active(&tables), ["branch", "office"]);
    assert!(grants(&tables, 5, "10.0.0.1").is_empty());
    assert_eq!(grants(&tables, 5, "10.1.0.1"), ["d"]);
    assert_eq!(grants(&tables, 6, "10.0.0.1"), ["c"]);

    // As many that need no hole do fit.
    let [_, wg1] = interfaces;
    let wg0 = PolicyInterface {
        allowed_ips: Some(too_many(1, 1)),
        ..attachment(5, "wg0", None)
    };
    let tables = compile(&four_peers(), &[wg0, wg1], &Slots::new()).unwrap();
    assert_eq!(active(&tables), ["branch", "laptop", "office"]);
    assert_eq!(grants(&tables, 5, "10.0.0.1"), ["a"]);
}
