//! The places of interfaces in the banks.

use std::collections::BTreeSet;

use enforcer_ebpf::layout::{INTERFACE_ENTRIES, WIRE_VIEW};

use super::*;

#[test]
fn the_banks_share_the_places_of_interfaces_between_them() {
    let both: Vec<usize> = interface_places(0).chain(interface_places(1)).collect();
    let all: BTreeSet<usize> = (0..INTERFACE_ENTRIES as usize).collect();
    assert_eq!(both.len(), all.len());
    assert_eq!(BTreeSet::from_iter(both), all);
}

#[test]
fn every_probe_of_an_interface_is_a_place_of_its_bank() {
    for bank in 0..BANKS {
        let places: BTreeSet<usize> = interface_places(bank).collect();
        for ifindex in [1, 1023, 1024, 70_000, 1 | WIRE_VIEW, 1023 | WIRE_VIEW] {
            let key = InterfaceKey { ifindex, bank };
            let mut probes = key.places();
            assert!(probes.all(|place| places.contains(&(place as usize))));
        }
    }
}
