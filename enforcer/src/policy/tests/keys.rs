//! Peers by WireGuard key.

use std::net::IpAddr;

use enforcer_ebpf::layout::WIRE_VIEW;
use ipnet::IpNet;

use super::super::{PolicyHost, PolicyInterface, PolicyTables, Slots, compile};
use super::{attachment, grants, key, registry};
use crate::{registry::Registry, wireguard::AllowedIps};

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
    let tables = compile(&four_peers(), &PolicyHost::of(&[wg0, wg1]), &Slots::new()).unwrap();
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
    // A device without known AllowedIPs.
    let wg1 = attachment(6, "wg1", None);
    let tables = compile(&four_peers(), &PolicyHost::of(&[wg0, wg1]), &Slots::new()).unwrap();
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
    let tables = compile(
        &four_peers(),
        &PolicyHost::of(&[wg0, wg1, parent]),
        &Slots::new(),
    )
    .unwrap();
    assert!(grants(&tables, 7, "10.0.0.1").is_empty());
    assert_eq!(grants(&tables, 7 | WIRE_VIEW, "10.0.0.1"), ["a"]);
    assert_eq!(grants(&tables, 7 | WIRE_VIEW, "10.1.0.1"), ["c", "d"]);
}

/// Two prefixes more than the limit, half of them holes in the other half.
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
    let tables = compile(&four_peers(), &PolicyHost::of(&interfaces), &Slots::new()).unwrap();
    assert_eq!(active(&tables), ["branch", "office"]);
    assert!(grants(&tables, 5, "10.0.0.1").is_empty());
    assert_eq!(grants(&tables, 5, "10.1.0.1"), ["d"]);
    assert_eq!(grants(&tables, 6, "10.0.0.1"), ["c"]);

    // As many AllowedIPs without holes fit.
    let [_, wg1] = interfaces;
    let wg0 = PolicyInterface {
        allowed_ips: Some(too_many(1, 1)),
        ..attachment(5, "wg0", None)
    };
    let tables = compile(&four_peers(), &PolicyHost::of(&[wg0, wg1]), &Slots::new()).unwrap();
    assert_eq!(active(&tables), ["branch", "laptop", "office"]);
    assert_eq!(grants(&tables, 5, "10.0.0.1"), ["a"]);
}
