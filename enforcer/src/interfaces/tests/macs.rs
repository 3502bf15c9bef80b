//! The MACs that a guard takes for this host's, and the interfaces above.

use super::super::{Host, Interface, InterfaceOptions, MacvlanMode, Plan, plan};

/// An interface with the MAC 02:00:00:00:00:NN by its ifindex.
fn interface(index: u8, kind: Option<&str>) -> Interface {
    Interface {
        index: index.into(),
        name: format!("if{index}"),
        kind: kind.map(str::to_owned),
        link_type: 1,
        up: true,
        mac: Some(mac(index)),
        ..Interface::default()
    }
}

fn member(index: u8, kind: Option<&str>, master: u32) -> Interface {
    Interface {
        master: Some(master),
        ..interface(index, kind)
    }
}

fn on(index: u8, kind: &str, parent: u32) -> Interface {
    Interface {
        parent: Some(parent),
        ..interface(index, Some(kind))
    }
}

const fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

fn planned(interfaces: &[Interface]) -> Plan {
    plan(
        interfaces,
        |_| InterfaceOptions::default(),
        &Host::default(),
    )
}

/// Returns the last bytes of the MACs of an interface's guard.
#[track_caller]
fn macs(plan: &Plan, index: u32) -> Vec<u8> {
    let guard = plan.guards.iter().find(|guard| guard.ifindex == index);
    let macs = guard.unwrap().macs.iter();
    macs.map(|mac| mac[5]).collect()
}

#[test]
fn a_bridge_takes_its_ports_macs_and_its_permanent_entries() {
    let bridge = Interface {
        local_macs: vec![mac(2), mac(9), mac(77)],
        ..interface(9, Some("bridge"))
    };
    let plan = planned(&[
        member(2, None, 9),
        member(3, Some("veth"), 9),
        bridge,
        on(10, "vlan", 9),
        interface(20, None),
    ]);
    let all = [2, 3, 9, 10, 77];
    for index in [2, 9, 10] {
        assert_eq!(macs(&plan, index), all, "{index}");
    }
    assert_eq!(macs(&plan, 20), [20]);
}

#[test]
fn a_bond_takes_the_macs_of_its_members_and_a_vrf_takes_none() {
    let plan = planned(&[
        member(2, None, 9),
        member(3, None, 9),
        member(9, Some("bond"), 8),
        interface(8, Some("bridge")),
        // The VRF's members have nothing in common.
        interface(30, Some("vrf")),
        member(31, None, 30),
        member(32, None, 30),
    ]);
    for index in [2, 3, 9, 8] {
        assert_eq!(macs(&plan, index), [2, 3, 8, 9], "{index}");
    }
    assert_eq!((macs(&plan, 31), macs(&plan, 32)), (vec![31], vec![32]));
}

#[test]
fn a_macvlan_childs_mac_is_not_the_parents() {
    let child = |index, mode| Interface {
        macvlan_mode: Some(mode),
        ..on(index, "macvlan", 2)
    };
    let plan = planned(&[
        interface(2, None),
        child(5, MacvlanMode::ByDestination),
        child(6, MacvlanMode::Source),
    ]);
    assert_eq!((macs(&plan, 2), macs(&plan, 5)), (vec![2], vec![5]));
    let parent = &plan.guards[0];
    assert!(parent.has_macvlan_children);
    let modes: Vec<MacvlanMode> = parent.macvlan_modes.iter().copied().collect();
    assert_eq!(modes, [MacvlanMode::Source, MacvlanMode::ByDestination]);
    assert!(plan.guards[1].macvlan_modes.is_empty());
}

#[test]
fn an_open_vswitch_takes_the_macs_of_its_own_ports() {
    let plan = planned(&[
        interface(7, Some("openvswitch")),
        interface(8, Some("openvswitch")),
        member(2, None, 7),
    ]);
    assert_eq!(macs(&plan, 2), [2, 7, 8]);
}

#[test]
fn a_bridge_with_an_unread_table_makes_the_macs_around_unknown() {
    let bridge = Interface {
        macs_unknown: true,
        ..interface(9, Some("bridge"))
    };
    let plan = planned(&[
        member(2, None, 9),
        interface(3, None),
        bridge,
        on(10, "vlan", 9),
        interface(19, Some("bridge")),
    ]);
    let guards = plan.guards.iter().chain(&plan.members);
    let unknown = guards.filter(|guard| guard.macs_unknown);
    let mut unknown: Vec<u32> = unknown.map(|guard| guard.ifindex).collect();
    unknown.sort_unstable();
    assert_eq!(unknown, [2, 9, 10]);
}

#[test]
fn a_member_asks_the_fib_as_its_outermost_master() {
    let route_as = |interfaces: &[Interface], index: u32| {
        let plan = planned(interfaces);
        let guard = plan.guards.iter().find(|guard| guard.ifindex == index);
        guard.unwrap().view.route_as
    };
    let stacked = [
        member(2, None, 9),
        member(9, Some("bond"), 8),
        interface(8, Some("bridge")),
    ];
    assert_eq!(
        [2, 9, 8].map(|it| route_as(&stacked, it)),
        [Some(8), Some(8), None]
    );
    let vrf = [member(2, None, 30), interface(30, Some("vrf"))];
    assert_eq!(route_as(&vrf, 2), None);
    let vswitch = |ports: &[u8]| -> Vec<Interface> {
        let ports = ports
            .iter()
            .map(|port| interface(*port, Some("openvswitch")));
        let system = interface(7, Some("openvswitch"));
        ports.chain([system, member(2, None, 7)]).collect()
    };
    // The master has no address; two ports may have one each.
    assert_eq!(route_as(&vswitch(&[8]), 2), Some(8));
    assert_eq!(route_as(&vswitch(&[8, 9]), 2), None);
}
