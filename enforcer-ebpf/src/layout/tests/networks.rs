//! Local rows, container networks, MACs, and keys of tries.

use super::*;

fn address(text: &str) -> Address {
    text.parse::<core::net::IpAddr>().unwrap().into()
}

#[test]
fn fixed_slots_come_before_those_of_ports() {
    let slots = Protocol::ALL.map(unregistered_slot);
    assert_eq!(slots, [1, 2, 3]);
    assert_eq!((NO_SLOT, NETWORK_SLOT, FIRST_PORT_SLOT), (0, 4, 5));
}

#[test]
fn the_maps_of_addresses_have_room_in_both_banks() {
    // In each bank 65,536 rows, and half as many MACs.
    assert_eq!((LOCAL_ENTRIES, MAC_ENTRIES), (2 << 16, 2 << 15));
    // A network for each of the interfaces with a row.
    const { assert!(NETWORK_ENTRIES >= 2 * INTERFACE_SLOTS) };
    // Each peer's prefix twice, for all interfaces and for the peer's own, and the subnets.
    assert!(SOURCE_ENTRIES as usize > 2 * 2 * MAX_PREFIXES);
}

#[test]
fn a_local_row_survives_its_bits() {
    for ifindex in [0, 1, 7, (1 << 31) - 1] {
        for is_address in [false, true] {
            let row = LocalRow {
                ifindex,
                is_address,
            };
            assert_eq!(LocalRow::from_bits(row.to_bits()), row);
        }
    }
}

#[test]
fn a_mac_survives_its_key() {
    let macs = [[0; 6], [0xff; 6], [2, 0, 0x5e, 1, 2, 3]];
    for bank in 0..BANKS {
        for mac in macs {
            let key = mac_key(bank, mac);
            assert_eq!((bank_of_mac(key), mac_of_key(key)), (bank, mac));
        }
    }
    assert_eq!(mac_key(2, macs[2]), mac_key(0, macs[2]));
}

#[test]
fn the_key_of_a_port_at_an_address_gives_back_its_parts() {
    for bank in 0..BANKS {
        for protocol in Protocol::ALL {
            for text in ["192.168.1.10", "fd00:1:2:3:4:5:6:7", "::ffff:192.168.1.10"] {
                let parts = (bank, protocol, 9200, address(text));
                let key = OnKey::new(bank, protocol, 9200, &address(text));
                assert_eq!(key.parts(), Some(parts));
            }
        }
    }
    let [v4, mapped] =
        ["10.0.0.1", "::ffff:10.0.0.1"].map(|text| OnKey::new(0, Protocol::Tcp, 1, &address(text)));
    assert_ne!(v4, mapped);
}

#[test]
fn a_filter_has_a_bit_for_the_front_of_an_address() {
    let indices = [0, 1].map(|bank| [Family::V4, Family::V6].map(|f| filter_index(bank, f)));
    assert_eq!(indices, [[0, 1], [2, 3]]);
    assert_eq!(NETWORK_FILTERS, 4);
    assert_eq!(filter_bit(&address("10.88.0.1")), 0x0a58);
    assert_eq!(filter_bit(&address("10.88.255.255")), 0x0a58);
    assert_eq!(filter_bit(&address("255.255.0.0")), 0xffff);
    // The first 64 bits of IPv6, all of them and no more.
    let bit = |text| filter_bit(&address(text));
    assert_eq!(bit("fd00:1:2:3::1"), bit("fd00:1:2:3:ffff::"));
    let fronts = ["fd00::", "fd00:0:0:1::", "fd00:0:1::", "fd00:1::", "fe00::"].map(bit);
    for (i, front) in fronts.iter().enumerate() {
        assert!(!fronts[..i].contains(front), "{fronts:x?}");
    }
}

#[test]
fn each_protocol_has_its_own_mode_under_unregistered() {
    let modes = [None, Some(Mode::Audit), Some(Mode::Enforce)];
    for tcp in modes {
        for udp in modes {
            for sctp in modes {
                let flags = BankEntry::unregistered_bits(Protocol::Tcp, tcp)
                    | BankEntry::unregistered_bits(Protocol::Udp, udp)
                    | BankEntry::unregistered_bits(Protocol::Sctp, sctp);
                let others = BankEntry::AUDIT
                    | BankEntry::NETWORKS
                    | BankEntry::SOURCES
                    | BankEntry::LOOKS_THROUGH;
                assert_eq!(flags & others, 0);
                for flags in [flags, flags | others] {
                    let bank = BankEntry {
                        flags,
                        ..BankEntry::default()
                    };
                    let found = Protocol::ALL.map(|protocol| bank.unregistered(protocol));
                    assert_eq!(found, [tcp, udp, sctp]);
                }
            }
        }
    }
}
