//! Each kind of entry, there and back.

use std::path::Path;

use enforcer_ebpf::{PeerSet, layout::WIRE_VIEW};

use super::*;

fn peers(numbers: &[u16]) -> PeerSet {
    let mut set = PeerSet::EMPTY;
    numbers.iter().for_each(|number| set.insert(*number));
    set
}

#[test]
fn text_is_padded_with_zeros_and_read_up_to_the_first() {
    for (bytes, expected) in [
        (&b""[..], Some([0, 0, 0, 0])),
        (b"wg0", Some(*b"wg0\0")),
        (b"eth0", Some(*b"eth0")),
        (b"eth10", None),
    ] {
        assert_eq!(field::<4>(bytes).ok(), expected, "{bytes:?}");
    }
    for (bytes, expected) in [
        (&b"\0\0\0"[..], ""),
        (b"wg0\0", "wg0"),
        (b"eth0", "eth0"),
        (b"a\0b", "a"),
        (b"\xff\0", "\u{fffd}"),
    ] {
        assert_eq!(text(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn services_come_back() {
    let longest = "s".repeat(32);
    for (name, allow) in [
        ("ssh", &[][..]),
        ("web", &[0, 63, 64, 255]),
        (&longest, &[7]),
    ] {
        let row = ServiceRow {
            name: name.to_owned(),
            allow: peers(allow),
        };
        assert_eq!(service_row(&service_entry(&row).unwrap()), row);
    }
    let row = ServiceRow {
        name: "s".repeat(33),
        allow: PeerSet::EMPTY,
    };
    assert!(service_entry(&row).is_err());
}

#[test]
fn peers_come_back() {
    for key in [None, Some([0; 32]), Some([9; 32])] {
        for active in [false, true] {
            let row = PeerRow {
                name: "laptop".to_owned(),
                interface: "wg0".to_owned(),
                key,
                active,
            };
            assert_eq!(peer_row(&peer_entry(&row).unwrap()), row);
        }
    }
}

#[test]
fn options_of_interfaces_come_back() {
    let hooks = [
        HookChoice::Auto,
        HookChoice::XdpNative,
        HookChoice::XdpGeneric,
        HookChoice::Tcx,
    ];
    for side in [None, Some(Side::Inside), Some(Side::Outside)] {
        let forwards = [Forward::Auto, Forward::True, Forward::False, Forward::Auto];
        let switches = [None, Some(true), Some(false), None];
        let modes = [None, Some(Mode::Audit), Some(Mode::Enforce), None];
        for (index, hook) in hooks.into_iter().enumerate() {
            let row = OptionsRow {
                pattern: "veth*".to_owned(),
                options: InterfaceOptions {
                    side,
                    forward: forwards[index],
                    hook,
                    containers: switches[index],
                    routed: index == 2,
                    mode: modes[index],
                },
                allow: peers(&[1, 200]),
                has_allow: index == 1,
                has_routed: index == 2,
            };
            assert_eq!(options_row(&options_entry(&row).unwrap()).unwrap(), row);
        }
    }
}

#[test]
fn unregistered_ports_and_networks_come_back() {
    for modes in [
        [None; 3],
        [Some(Mode::Enforce), Some(Mode::Audit), None],
        [None, Some(Mode::Enforce), Some(Mode::Audit)],
    ] {
        let row = UnregisteredRow {
            modes,
            allow: peers(&[2, 255]),
        };
        let tables = PolicyTables {
            unregistered: row.clone(),
            ..PolicyTables::default()
        };
        assert_eq!(unregistered(&bank_entry(&tables).unwrap()), row);
    }
    for (mode, routed) in [(Mode::Enforce, true), (Mode::Audit, false)] {
        let row = NetworkRow {
            bridge: 7,
            allow: peers(&[1]),
            mode,
            routed,
        };
        assert_eq!(network_row(&network_entry(&row)), row);
    }
    for prefix in ["10.88.0.0/16", "192.0.2.1/32", "fd00:88::/64", "::/0"] {
        let prefix: ipnet::IpNet = prefix.parse().unwrap();
        let network = Address::from(prefix.network());
        let scope = AddressScope {
            bank: 1,
            ifindex: 9,
        };
        let key = TrieKey::new(scope, &network, prefix.prefix_len());
        assert_eq!(key.parts(), (scope, network, prefix.prefix_len()));
    }
}

#[test]
fn an_unknown_option_is_an_error() {
    let entry = RuleEntry {
        pattern: field(b"eth0").unwrap(),
        ..RuleEntry::EMPTY
    };
    assert!(options_row(&entry).is_ok());
    for (side, hook, forward, expected) in [
        (3, 0, 0, "unknown side 3"),
        (0, 4, 0, "unknown hook 4"),
        (0, 0, 3, "unknown value 3 of forward"),
    ] {
        let entry = RuleEntry {
            side,
            hook,
            forward,
            ..entry
        };
        let error = options_row(&entry).unwrap_err().to_string();
        assert!(
            error.contains("eth0") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn interfaces_come_back() {
    for carries in [PeerSet::EMPTY, peers(&[3])] {
        for mac in [None, Some([0; 6]), Some([2, 0, 0, 0, 0, 1])] {
            for bits in 0..1024u32 {
                let bit = |index: u32| bits >> index & 1 == 1;
                let row = InterfaceRow {
                    carries,
                    mac,
                    macvlan_parent: bit(9),
                    vlan_parent: bit(0),
                    judges_all: bit(1),
                    hairpin: bit(2),
                    inside: bit(3),
                    member_of: bit(4).then_some(7),
                    looks_through_tags: bit(5),
                    vrf: bit(6),
                    network: bit(7).then_some(9),
                    own_v4: bit(8).then(|| Address::v4([192, 0, 2, 1])),
                    own_v6: bit(8).then(|| Address::v6(0x2001_0db8 << 32, 1)),
                };
                let entry = interface_entry(5, &row, &PolicyTables::default());
                assert_eq!(entry.ifindex, 5);
                let has_peers = entry.flags & InterfaceEntry::CARRIES != 0;
                assert_eq!(has_peers, !carries.is_empty());
                assert_eq!(interface_row(&entry), row);
            }
        }
    }
}

#[test]
fn an_interface_has_each_length_of_its_own_prefixes_once_longest_first() {
    let v4 = Address::v4([10, 0, 0, 0]);
    let v6 = Address::v6(0xfd00 << 48, 0);
    let mut tables = PolicyTables::default();
    for prefix in [
        (5, v4, 8),
        (5, v4, 32),
        (5, Address::v4([10, 1, 0, 0]), 32),
        (5, v4, 0),
        (5, v6, 128),
        (6, v4, 16),
        (5 | WIRE_VIEW, v4, 24),
    ] {
        tables.prefixes.insert(prefix, peers(&[0]));
    }
    let entry = interface_entry(5, &InterfaceRow::default(), &tables);
    assert_eq!((entry.v4_count, entry.v6_count), (3, 1));
    assert_eq!(entry.v4_lengths[..4], [32, 8, 0, 0]);
    assert_eq!(entry.v6_lengths[..2], [128, 0]);
    let view = interface_entry(5 | WIRE_VIEW, &InterfaceRow::default(), &tables);
    assert_eq!((view.v4_count, view.v4_lengths[0]), (1, 24));
}

#[test]
fn an_interface_has_room_for_every_length() {
    let mut tables = PolicyTables::default();
    for length in 0..=32 {
        let network = Address::v4([0; 4]);
        tables.prefixes.insert((5, network, length), peers(&[0]));
    }
    for length in 0..=128 {
        let network = Address::v6(0, 0);
        tables.prefixes.insert((5, network, length), peers(&[0]));
    }
    let entry = interface_entry(5, &InterfaceRow::default(), &tables);
    assert_eq!((entry.v4_count, entry.v6_count), (33, 129));
    assert_eq!((entry.v4_lengths[32], entry.v6_lengths[128]), (0, 0));
}

#[test]
fn origins_come_back() {
    for path in [
        None,
        Some("/etc/enforcer/enforcer.toml"),
        Some("/a b/\u{e9}"),
    ] {
        let folders = [None, Some(0), Some(u32::MAX)];
        for (has_main, folder) in [(false, folders[0]), (true, folders[1]), (false, folders[2])] {
            let origin = Provenance {
                path: path.map(PathBuf::from),
                digest: 0x0123_4567_89ab_cdef,
                has_main,
                fragments: folder.map(FragmentFolder),
            };
            assert_eq!(provenance(&origin_entry(&origin).unwrap()), origin);
        }
    }
    let foreign = OsString::from_vec(b"/\xff".to_vec());
    let origin = Provenance {
        path: Some(Path::new(&foreign).to_owned()),
        ..Provenance::default()
    };
    assert_eq!(provenance(&origin_entry(&origin).unwrap()), origin);
}

#[test]
fn the_head_of_a_bank_has_the_mode_and_the_sizes() {
    let mut tables = PolicyTables::default();
    assert_eq!(bank_entry(&tables).unwrap(), BankEntry::default());
    tables.mode = Mode::Audit;
    tables.services = vec![service_row(&ServiceEntry::default()); 3];
    tables.peers = vec![peer_row(&PeerEntry::EMPTY); 2];
    tables.interface_options = vec![options_row(&RuleEntry::EMPTY).unwrap()];
    let entry = bank_entry(&tables).unwrap();
    assert_eq!((entry.services, entry.peers, entry.rules), (3, 2, 1));
    assert_eq!(mode(&entry), Mode::Audit);
    assert_eq!(mode(&BankEntry::default()), Mode::Enforce);
}

#[test]
fn a_prefix_key_names_bank_interface_and_prefix() {
    let prefix = (5 | WIRE_VIEW, Address::v6(0xfd00 << 48, 0), 64);
    let key = prefix_key(1, &prefix);
    let interface = key.interface();
    assert_eq!((interface.bank, interface.ifindex), (1, prefix.0));
    assert_eq!(key.prefix(), (prefix.1, prefix.2));
}
