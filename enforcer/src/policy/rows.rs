//! The rows of interfaces, and the rows by which wire guards see several interfaces as one.

use enforcer_ebpf::{
    Address,
    layout::{INTERFACE_ENTRIES, InterfaceKey},
};
use ipnet::IpNet;

use super::{
    host::PolicyInterface,
    tables::{InterfaceRow, PolicyTables},
};
use crate::registry::Forward;

/// Returns the row of an interface, but for its peers.
pub(super) fn interface_row(tables: &PolicyTables, interface: &PolicyInterface) -> InterfaceRow {
    let forward = tables.options_of(interface.names()).forward;
    let own = |is_v4: bool| {
        let mut addresses = interface.addresses.iter().map(IpNet::addr);
        let first = addresses.find(|address| address.is_ipv4() == is_v4);
        first.map(Address::from)
    };
    if !interface.is_guarded {
        return InterfaceRow {
            inside: interface.is_inside,
            vrf: interface.is_vrf,
            ..InterfaceRow::default()
        };
    }
    InterfaceRow {
        // An absent MAC stands for another machine.
        judges_all: forward == Forward::False || interface.has_unknown_macs,
        hairpin: forward == Forward::True || interface.is_headerless,
        inside: interface.is_inside,
        member_of: interface.member_of,
        looks_through_tags: interface.looks_through_tags,
        vrf: interface.is_vrf,
        network: network_of(tables, interface),
        own_v4: own(true),
        own_v6: own(false),
        mac: interface.mac.filter(|_| {
            interface.has_macvlan_children || interface.is_under_xdp && !interface.is_headerless
        }),
        macvlan_parent: interface.mac.is_some() && interface.has_macvlan_children,
        ..InterfaceRow::default()
    }
}

/// Returns the wire view of an interface with `row`: the view passes what any of the interfaces in
/// `all`, the interface itself among them, would pass, but for the peers of these interfaces.
pub(super) fn wire_view(
    tables: &PolicyTables,
    interface: &PolicyInterface,
    row: InterfaceRow,
    all: &[&PolicyInterface],
) -> InterfaceRow {
    let rows = || all.iter().map(|i| interface_row(tables, i));
    let has_hidden_vlans = interface.has_hidden_vlans;
    let networks = all.iter().filter_map(|i| network_of(tables, i));
    InterfaceRow {
        vlan_parent: false,
        // `forward = false` of a master holds on its members.
        judges_all: match interface.member_of {
            Some(_) => rows().any(|row| row.judges_all),
            None => rows().all(|row| row.judges_all),
        },
        // A packet of a VLAN may leave by the parent itself, untagged: forwarded on the VLAN
        // device, and back on the parent.
        hairpin: has_hidden_vlans || rows().any(|row| row.hairpin),
        inside: row.inside || has_hidden_vlans && rows().any(|row| row.inside),
        // The entry has room for one bridge: the first.
        network: row
            .network
            .or_else(|| networks.min().filter(|_| has_hidden_vlans)),
        ..row
    }
}

/// Returns the bridge whose container networks the interface belongs to, by ifindex.
fn network_of(tables: &PolicyTables, interface: &PolicyInterface) -> Option<u32> {
    let has_network = |bridge: &u32| tables.networks.values().any(|row| row.bridge == *bridge);
    interface.bridge.filter(has_network)
}

/// Leaves out rows that only spare a look-up, as far as the map has no place for them. Without its
/// row an interface is judged all the same; under XDP rule 3 has no part there.
pub(super) fn leave_out_plain_rows(tables: &mut PolicyTables) {
    let mut taken = vec![false; INTERFACE_ENTRIES as usize];
    let mut left_out = Vec::new();
    for (ifindex, row) in tables.interfaces_by_need() {
        let mut places = InterfaceKey { ifindex, bank: 0 }.places();
        match places.find(|place| !taken[*place as usize]) {
            Some(place) => taken[place as usize] = true,
            None if row.is_plain() => left_out.push(ifindex),
            // The write names the limit.
            None => {}
        }
    }
    for ifindex in left_out {
        tables.interfaces.remove(&ifindex);
    }
}
