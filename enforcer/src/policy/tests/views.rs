//! The wire view of a VLAN parent: the guard there may not see the tag.

use enforcer_ebpf::layout::WIRE_VIEW;

use super::super::{InterfaceRow, PolicyHost, PolicyInterface, Slots, compile};
use super::{attachment, registry};

const ETH0: u32 = 7;
const VLAN5: u32 = 5;
const VLAN6: u32 = 6;

/// Returns the view of eth0 above two VLAN devices, after changes to the three interfaces.
fn view(options: &str, change: impl Fn(&mut PolicyInterface)) -> InterfaceRow {
    let parent = PolicyInterface {
        merged: vec![VLAN5, VLAN6],
        has_hidden_vlans: true,
        ..attachment(ETH0, "eth0", None)
    };
    let mut interfaces = vec![
        attachment(VLAN5, "eth0.5", None),
        attachment(VLAN6, "eth0.6", None),
        parent,
    ];
    interfaces.iter_mut().for_each(change);
    let registry = registry(&format!("[services.a]\nports = [1]\n{options}"));
    let host = PolicyHost::of(&interfaces);
    let tables = compile(&registry, &host, &Slots::new()).unwrap();
    // A row that equals the default is left out.
    let row = tables.interfaces.get(&(ETH0 | WIRE_VIEW));
    row.cloned().unwrap_or_default()
}

#[test]
fn a_vlan_parent_is_inside_with_any_of_its_vlans() {
    assert!(!view("", |_| {}).inside);
    for inside in [ETH0, VLAN5, VLAN6] {
        let view = view("", |interface| {
            interface.is_inside = interface.ifindex == inside;
        });
        assert!(view.inside, "{inside}");
    }
    let without_vlans = view("", |interface| {
        interface.is_inside = interface.ifindex == VLAN6;
        interface.has_hidden_vlans = false;
    });
    assert!(!without_vlans.inside, "a master's side is the master's");
}

#[test]
fn a_vlan_parent_lets_a_vlans_packets_leave_by_itself() {
    assert!(view("", |_| {}).hairpin);
    assert!(!view("", |interface| interface.has_hidden_vlans = false).hairpin);
    let closed = "[interfaces.\"eth0*\"]\nforward = false\n";
    assert!(view(closed, |_| {}).judges_all, "before any look at routes");
    let parent_alone = "[interfaces.eth0]\nforward = false\n";
    assert!(!view(parent_alone, |_| {}).judges_all);
}

#[test]
fn a_vlan_parent_belongs_to_the_container_network_of_a_vlan() {
    let network = |members: &[u32]| {
        let options = "[interfaces.\"eth0.6\"]\ncontainers = true\n";
        let view = view(options, |interface| {
            // A container network's bridge among the masters of the VLAN devices.
            if interface.ifindex == VLAN6 {
                interface.is_bridge = true;
                interface.addresses = vec!["10.88.0.1/16".parse().unwrap()];
            }
            let is_member = members.contains(&interface.ifindex);
            interface.bridge = is_member.then_some(VLAN6);
        });
        view.network
    };
    assert_eq!(network(&[VLAN5, VLAN6]), Some(VLAN6));
    assert_eq!(network(&[VLAN5]), Some(VLAN6));
    assert_eq!(network(&[]), None);
}
