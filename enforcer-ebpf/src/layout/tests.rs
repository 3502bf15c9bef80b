mod networks;

use super::*;
use crate::{
    address::Family,
    decision::{NETWORK_SLOT, NO_SLOT, unregistered_slot},
    words::{Guard, Reason},
};

#[test]
fn every_counted_decision_has_a_cell_of_its_own() {
    let slots = [NO_SLOT, 1, 2, 3, NETWORK_SLOT, FIRST_PORT_SLOT, 8196];
    for slot in slots {
        let mut seen = [false; CELLS];
        for cell in Cell::of_slot(slot) {
            let index = cell.index().expect("a listed cell is counted");
            assert!(!seen[index], "{cell:?} shares its cell");
            seen[index] = true;
        }
    }
    for reason in Reason::ALL {
        let listed = slots
            .into_iter()
            .flat_map(Cell::of_slot)
            .any(|cell| cell.reason == reason);
        let cell = Cell {
            guard: Guard::Wire,
            reason,
            audited: false,
        };
        assert_eq!(cell.index().is_some(), listed, "{reason}");
    }
}

#[test]
fn keys_have_no_padding() {
    assert_eq!(size_of::<PrefixKey>(), 8 + 8 + 4 + 4);
    assert_eq!(size_of::<State>(), 4 + 4 + 8 + 4 + 4);
    assert_eq!(
        size_of::<InterfaceEntry>(),
        4 * 4 + 16 + 32 + 4 + 6 + 2 + 33 + 131
    );
    assert_eq!(size_of::<BankEntry>(), 4 * 4 + 32);
    assert_eq!(size_of::<OnKey>(), 8 + 8 + 2 + 2 + 4);
    assert_eq!(size_of::<AddressKey>(), 4 + 4 + 16);
    assert_eq!(size_of::<NetworkEntry>(), 32 + 4 + 4);
}

/// The price of the tool on a machine: kernel memory, allocated at `up` for any registry.
#[test]
fn the_maps_fit_their_budget() {
    // The fixed slots take some hundred bytes more.
    let per_cpu = 2 * MAX_PORTS * size_of::<Cells>();
    assert!(per_cpu <= 2 << 20, "{per_cpu} bytes for each CPU");
    let fixed = (SLOTS as usize - 2 * MAX_PORTS) * size_of::<Cells>();
    assert!(fixed <= 2 << 10, "{fixed} bytes for each CPU");
    let arrays = PORT_ENTRIES as usize * size_of::<PortEntry>()
        + SERVICE_ENTRIES as usize * size_of::<ServiceEntry>()
        + PEER_ENTRIES as usize * size_of::<PeerEntry>()
        + INTERFACE_ENTRIES as usize * size_of::<InterfaceEntry>()
        + RULE_ENTRIES as usize * size_of::<RuleEntry>()
        + NETWORK_FILTERS as usize * size_of::<NetworkFilter>();
    assert!(arrays <= 3_300_000, "{arrays} bytes of arrays");
}

#[test]
fn the_maps_have_room_for_the_largest_registry_in_both_banks() {
    assert_eq!(SLOTS as usize, 5 + 2 * MAX_PORTS);
    assert_eq!(SERVICE_ENTRIES, 2 * 4096);
    assert_eq!(PEER_ENTRIES as usize, 2 * MAX_PEERS);
    assert_eq!(RULE_ENTRIES, 2 * 256);
    assert_eq!(INTERFACE_ENTRIES, 2 * 2 * 1024);
    // Each bank, and a wire view of each prefix.
    assert!(PREFIX_ENTRIES as usize >= 2 * 2 * MAX_PREFIXES);
    // The kernel wants a power of two and whole pages, of 64 KiB on some machines.
    assert!(EVENT_BYTES.is_power_of_two() && EVENT_BYTES >= 1 << 16);
}

#[test]
fn a_binding_has_each_field_in_its_bits() {
    let slot = |slot| Binding {
        slot,
        ..Binding::default()
    };
    let service = |service| Binding {
        service,
        ..Binding::default()
    };
    let public = Binding {
        public: true,
        ..Binding::default()
    };
    let audit = Binding {
        audit: true,
        ..Binding::default()
    };
    let has_peers = Binding {
        has_peers: true,
        ..Binding::default()
    };
    let by_address = Binding {
        by_address: true,
        ..Binding::default()
    };
    let networks = Binding {
        networks: true,
        ..Binding::default()
    };
    for (bits, binding) in [
        (1, slot(1)),
        (0x2000, slot(8192)),
        (0x3fff, slot(0x3fff)),
        (1 << 14, service(1)),
        (0xfff << 14, service(4095)),
        (1 << 26, public),
        (1 << 27, audit),
        (1 << 28, has_peers),
        (1 << 29, by_address),
        (1 << 30, networks),
    ] {
        assert_eq!(binding.to_bits(), bits, "{binding:?}");
        assert_eq!(Binding::from_bits(bits), binding);
    }
    // The highest bit has no meaning.
    assert_eq!(Binding::from_bits(1 << 31), Binding::default());
}

#[test]
fn a_binding_survives_its_bits() {
    let binding = Binding {
        slot: 8192,
        service: 4095,
        public: true,
        audit: false,
        has_peers: true,
        by_address: false,
        networks: true,
    };
    const { assert!(SLOTS <= 1 << 14 && MAX_SERVICES <= 1 << 12) };
    assert_eq!(Binding::from_bits(binding.to_bits()), binding);
    assert_eq!(Binding::from_bits(0), Binding::default());
    assert_eq!(Binding::default().to_bits(), 0);
}

#[test]
fn many_interfaces_in_a_row_have_a_place_each_and_so_have_their_views() {
    let mut taken = [false; INTERFACE_ENTRIES as usize];
    for bank in 0..BANKS {
        // Plain entries first, as the loader writes them.
        let plain = 2..2 + INTERFACE_SLOTS * 15 / 16;
        let views = plain.clone().map(|ifindex| ifindex | WIRE_VIEW);
        for ifindex in plain.chain(views) {
            let key = InterfaceKey { ifindex, bank };
            let free = key.places().find(|place| !taken[*place as usize]);
            let place = free.unwrap_or_else(|| panic!("no place for {key:?}"));
            taken[place as usize] = true;
        }
    }
}

#[test]
fn a_generation_reads_the_bank_of_its_lowest_bit() {
    assert_eq!([0, 1, 2, 3, u32::MAX].map(bank), [0, 1, 0, 1, 1]);
}

#[test]
fn every_port_of_every_protocol_has_an_index_of_its_own() {
    let all = Protocol::ALL
        .into_iter()
        .flat_map(|protocol| (0..=u16::MAX).map(move |port| port_index(protocol, port)));
    assert!(all.eq(0..PORT_ENTRIES));
}

#[test]
fn a_prefix_key_gives_back_its_parts() {
    let interface = InterfaceKey {
        ifindex: 7 | WIRE_VIEW,
        bank: 1,
    };
    let v4 = Address::v4([10, 1, 2, 3]);
    let key = PrefixKey::new(interface, &v4, 24);
    assert_eq!(key.interface(), interface);
    assert_eq!(key.prefix(), (Address::v4([10, 1, 2, 0]), 24));
    assert_eq!(key, PrefixKey::new(interface, &v4.network(24), 24));
    let v6 = Address::v6(0xfd00_0001_0002_0003, u64::MAX);
    let key = PrefixKey::new(
        InterfaceKey {
            bank: 0,
            ..interface
        },
        &v6,
        65,
    );
    assert_eq!(key.interface().bank, 0);
    assert_eq!(key.prefix(), (Address::v6(v6.high(), 1 << 63), 65));
    // The same words in the other family are another key.
    let mapped = Address::v6(0, v4.low());
    assert_eq!(mapped.family(), Family::V6);
    let [a, b] = [v4, mapped].map(|address| PrefixKey::new(interface, &address, 32));
    assert_ne!(a, b);
}

#[test]
fn an_interface_is_probed_from_its_home_in_its_own_region() {
    let places = |ifindex, bank| -> Vec<u32> { InterfaceKey { ifindex, bank }.places().collect() };
    let home = places(5, 0)[0];
    for (ifindex, bank, region) in [
        (5, 0, 0),
        (5, 1, 1),
        (5 | WIRE_VIEW, 0, 2),
        (5 | WIRE_VIEW, 1, 3),
    ] {
        let start = region * INTERFACE_SLOTS;
        let around = (0..INTERFACE_PROBES).map(|probe| start + (home + probe) % INTERFACE_SLOTS);
        assert_eq!(places(ifindex, bank), around.collect::<Vec<_>>());
    }
}

/// The longest way of a search for one of these interfaces, in probes.
fn longest_search(ifindexes: impl Iterator<Item = u32>) -> usize {
    let mut taken = [false; INTERFACE_ENTRIES as usize];
    let mut longest = 0;
    for ifindex in ifindexes {
        let mut places = InterfaceKey { ifindex, bank: 0 }.places();
        let free = places.position(|place| !taken[place as usize]).unwrap();
        let place = InterfaceKey { ifindex, bank: 0 }
            .places()
            .nth(free)
            .unwrap();
        taken[place as usize] = true;
        longest = longest.max(free + 1);
    }
    longest
}

#[test]
fn interfaces_in_a_row_form_no_run_and_those_that_collide_have_a_place_each() {
    assert!(longest_search(2..502) <= 8);
    // Equal in the bits that a table of 1,024 places would look at.
    let alike = (0..500).map(|number| 7 + number * INTERFACE_SLOTS);
    assert!(longest_search(alike) <= 8);
}

#[test]
fn an_event_turns_its_numbers_into_words() {
    for guard in Guard::ALL {
        for reason in Reason::ALL {
            let head = EventHead {
                guard: guard as u8,
                reason: reason as u8,
                ..EventHead::default()
            };
            assert_eq!((head.guard(), head.reason()), (Some(guard), Some(reason)));
        }
    }
    for protocol in Protocol::ALL {
        let head = EventHead {
            protocol: protocol as u8,
            ..EventHead::default()
        };
        assert_eq!(head.protocol(), Some(protocol));
    }
    let unknown = EventHead {
        guard: 2,
        reason: 15,
        protocol: EventHead::NO_PROTOCOL,
        ..EventHead::default()
    };
    assert_eq!((unknown.guard(), unknown.reason()), (None, None));
    assert_eq!(unknown.protocol(), None);
}

#[test]
fn an_event_shows_the_packet_up_to_its_length() {
    let event = |length| {
        let head = EventHead {
            length,
            ..EventHead::default()
        };
        Event {
            head,
            packet: std::array::from_fn(|i| u8::try_from(i).unwrap()),
        }
    };
    assert!(event(0).packet().is_empty());
    assert_eq!(event(3).packet(), [0, 1, 2]);
    assert_eq!(event(128).packet().len(), EVENT_PACKET);
    assert_eq!(event(u16::MAX).packet().len(), EVENT_PACKET);
}

#[test]
fn an_audited_drop_and_the_guards_have_cells_of_their_own() {
    let index = |guard, reason, audited| {
        Cell {
            guard,
            reason,
            audited,
        }
        .index()
    };
    // Nine cells of the wire guard, then seven of the socket guard.
    for (guard, first) in [(Guard::Wire, 0), (Guard::Socket, 9)] {
        for (cell, (reason, audited)) in (first..).zip([
            (Reason::Loopback, false),
            (Reason::Public, false),
            (Reason::Peer, false),
            (Reason::UnknownPeer, false),
            (Reason::UnknownPeer, true),
            (Reason::UntrustedInterface, false),
            (Reason::UntrustedInterface, true),
        ]) {
            assert_eq!(index(guard, reason, audited), Some(cell));
        }
        // Of the fixed slots.
        for (cell, reason, audited) in [
            (0, Reason::HeaderChain, false),
            (1, Reason::HeaderChain, true),
            (5, Reason::Malformed, false),
            (6, Reason::Malformed, true),
            (5, Reason::ContainerNetwork, false),
            (6, Reason::ContainerNetwork, true),
            (5, Reason::UnregisteredPort, false),
            (6, Reason::UnregisteredPort, true),
        ] {
            assert_eq!(index(guard, reason, audited), Some(first + cell));
        }
    }
    let reason = Reason::LoopbackAddress;
    let wire = [false, true].map(|audited| index(Guard::Wire, reason, audited));
    let socket = [false, true].map(|audited| index(Guard::Socket, reason, audited));
    assert_eq!((wire, socket), ([Some(7), Some(8)], [None; 2]));
    // Three drops with a port on the wire and two at a socket; four and three without one.
    assert_eq!(Cell::of_slot(FIRST_PORT_SLOT).count(), CELLS);
    assert_eq!(Cell::of_slot(NO_SLOT).count(), 8 + 6);
    assert_eq!(Cell::of_slot(NETWORK_SLOT).count(), 2 * 3);
    assert_eq!(
        Cell::of_slot(unregistered_slot(Protocol::Sctp)).count(),
        2 * 3
    );
}
