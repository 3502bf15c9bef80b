use super::*;
use crate::{
    decision::NO_SLOT,
    words::{Guard, Reason},
};

#[test]
fn every_counted_decision_has_a_cell_of_its_own() {
    for slot in [NO_SLOT, 1] {
        let mut seen = [false; CELLS];
        for cell in Cell::of_slot(slot) {
            let index = cell.index().expect("a listed cell is counted");
            assert!(!seen[index], "{cell:?} shares its cell");
            seen[index] = true;
        }
    }
    for reason in Reason::ALL {
        let listed = [NO_SLOT, 1]
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
    assert_eq!(size_of::<InterfaceEntry>(), 8 + 32 + 4 + 6 + 2 + 33 + 131);
}

/// The price of the tool on a machine: kernel memory, allocated at `up` for any registry.
#[test]
fn the_maps_fit_their_budget() {
    let per_cpu = SLOTS as usize * size_of::<Cells>();
    assert!(per_cpu <= 2 << 20, "{per_cpu} bytes for each CPU");
    let arrays = PORT_ENTRIES as usize * size_of::<PortEntry>()
        + SERVICE_ENTRIES as usize * size_of::<ServiceEntry>()
        + PEER_ENTRIES as usize * size_of::<PeerEntry>()
        + INTERFACE_ENTRIES as usize * size_of::<InterfaceEntry>()
        + RULE_ENTRIES as usize * size_of::<RuleEntry>();
    assert!(arrays <= 3 << 20, "{arrays} bytes of arrays");
}

#[test]
fn a_binding_survives_its_bits() {
    let binding = Binding {
        slot: 8192,
        service: 4095,
        public: true,
        audit: false,
        has_peers: true,
    };
    assert_eq!(Binding::from_bits(binding.to_bits()), binding);
    assert_eq!(Binding::from_bits(0), Binding::default());
    assert_eq!(Binding::default().to_bits(), 0);
}

#[test]
fn a_thousand_interfaces_in_a_row_have_a_place_each_and_so_have_their_views() {
    let mut taken = [false; INTERFACE_ENTRIES as usize];
    for bank in 0..BANKS {
        // Plain entries first, as the loader writes them.
        let plain = 2..2 + INTERFACE_SLOTS;
        let views = plain.clone().map(|ifindex| ifindex | WIRE_VIEW);
        for ifindex in plain.chain(views) {
            let key = InterfaceKey { ifindex, bank };
            let free = key.places().find(|place| !taken[*place as usize]);
            let place = free.unwrap_or_else(|| panic!("no place for {key:?}"));
            taken[place as usize] = true;
        }
    }
}
