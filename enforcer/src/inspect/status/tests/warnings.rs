//! Facts that an operator should know, and that are no gaps.

use enforcer_ebpf::Address;

use super::*;
use crate::{
    interfaces::{InterfaceOptions, MacvlanMode},
    policy::{NetworkRow, OptionsRow},
    registry::Side,
};

#[test]
fn a_warning_about_a_container_network_changes_no_state() {
    let mut facts = facts();
    let bridge = Interface {
        index: 3,
        name: "podman1".to_owned(),
        kind: Some("bridge".to_owned()),
        ..Interface::default()
    };
    facts.snapshot = host(&[eth0(), bridge]);
    let network = Address::v6(0x2001_0db8_0001_0000, 0);
    let row = NetworkRow {
        bridge: 3,
        allow: PeerSet::EMPTY,
        mode: Mode::Enforce,
        routed: false,
    };
    facts.tables.networks.insert((network, 64), row);
    let status = Status::of(&facts);
    assert_eq!(status.warnings.len(), 1, "{:?}", status.warnings);
    assert_eq!(
        (status.state, status.exit_code()),
        (Condition::Enforcing, 0)
    );
    let json = serde_json::to_string(&status).unwrap();
    assert!(!json.contains("warnings"), "the JSON of the design: {json}");
    facts.tables.networks.clear();
    assert_eq!(Status::of(&facts).warnings, []);
}

#[test]
fn a_promiscuous_interface_with_a_guard_may_have_a_hidden_child() {
    let named = |interfaces: &[Interface], change: fn(&mut Facts)| {
        let mut facts = facts();
        facts.snapshot = host(interfaces);
        change(&mut facts);
        let status = Status::of(&facts);
        assert_eq!(status.state, Condition::Enforcing);
        status.promiscuous
    };
    let parent = Interface {
        promiscuous: true,
        ..eth0()
    };
    assert_eq!(named(std::slice::from_ref(&parent), |_| {}), ["eth0"]);
    assert_eq!(named(&[eth0()], |_| {}), [""; 0]);
    let member = Interface {
        master: Some(3),
        ..parent.clone()
    };
    assert_eq!(named(&[member], |_| {}), [""; 0]);
    let sided = |facts: &mut Facts| {
        facts.tables.interface_options.push(OptionsRow {
            pattern: "eth0".to_owned(),
            options: InterfaceOptions {
                side: Some(Side::Outside),
                ..InterfaceOptions::default()
            },
            allow: PeerSet::EMPTY,
            has_allow: false,
            has_routed: false,
        });
    };
    assert_eq!(named(std::slice::from_ref(&parent), sided), [""; 0]);
    let child = Interface {
        index: 9,
        name: "child0".to_owned(),
        kind: Some("macvlan".to_owned()),
        parent: Some(2),
        macvlan_mode: Some(MacvlanMode::ByDestination),
        ..Interface::default()
    };
    assert_eq!(named(&[parent, child], |_| {}), [""; 0]);
}
