//! Longest matches, compared with WireGuard's semantics and a plain reading of the registry.

use std::{collections::BTreeMap, net::IpAddr};

use enforcer_ebpf::PeerSet;
use ipnet::IpNet;
use proptest::{prelude::*, test_runner::Config};

use super::super::prefixes::{KeyPrefixes, longest_matches};

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
    // A hub with thousands of keys, a single one known by a peer.
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

/// Generates prefixes of few addresses, so that many overlap.
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

/// Returns the peers at an address by a linear search through the prefixes.
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
