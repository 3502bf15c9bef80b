//! Services at addresses of the host, peers on patterns, and the rows of further keys.

use std::net::IpAddr;

use enforcer_ebpf::{
    Guard, Mode, PeerSet, Protocol, Reason,
    layout::{BANKS, ON_ENTRIES},
};

use super::super::{PacketSpec, PolicyHost, PolicyTables, Slots, compile};
use super::{attachment, grants, registry};
use crate::registry::{Forward, MAX_PORTS_AT_ADDRESSES};

/// Returns a packet from 192.0.2.7 on eth0.
fn packet(port: u16, destination: Option<&str>) -> PacketSpec {
    let address = |text: &str| text.parse::<IpAddr>().unwrap().into();
    PacketSpec {
        guard: Guard::Wire,
        ifindex: 2,
        loopback: false,
        source: address("192.0.2.7"),
        destination: destination.map(address),
        protocol: Protocol::Tcp,
        port,
        route: enforcer_ebpf::Route::Here,
        opens: true,
    }
}

/// Returns the reason of the verdict on a packet, and whether the drop is counted only.
fn judged(tables: &PolicyTables, port: u16, destination: Option<&str>) -> (Reason, bool) {
    let decision = tables.judge(&packet(port, destination));
    (decision.reason, decision.audited)
}

const LAN: &str = "[services.lan]\nports = [9000]\non = [\"192.168.1.10\", \"fd00::1\"]\n";

#[test]
fn a_port_is_closed_where_no_on_covers_the_address() {
    let registry = registry(&format!("{LAN}public = true\n"));
    let interfaces = [attachment(2, "eth0", None)];
    let tables = compile(&registry, &PolicyHost::of(&interfaces), &Slots::new()).unwrap();
    let closed = (Reason::UntrustedInterface, false);
    for destination in ["192.168.1.10", "fd00::1"] {
        let open = (Reason::Public, false);
        assert_eq!(judged(&tables, 9000, Some(destination)), open);
    }
    for destination in [Some("192.168.1.11"), Some("fd00::2"), None] {
        assert_eq!(judged(&tables, 9000, destination), closed);
    }
}

#[test]
fn peers_of_an_address_get_in_at_that_address_alone() {
    let registry = registry(&format!(
        "{LAN}allow = [\"p\"]\n[peers.p]\ninterface = \"eth0\"\naddresses = [\"any\"]\n"
    ));
    let interfaces = [attachment(2, "eth0", None)];
    let tables = compile(&registry, &PolicyHost::of(&interfaces), &Slots::new()).unwrap();
    let at = |destination| judged(&tables, 9000, Some(destination)).0;
    assert_eq!(at("192.168.1.10"), Reason::Peer);
    assert_eq!(at("192.168.1.11"), Reason::UntrustedInterface);
}

#[test]
fn a_service_without_on_holds_every_other_address() {
    let registry = registry(&format!(
        "{LAN}[services.everywhere]\nports = [9000]\npublic = true\n"
    ));
    let tables = compile(&registry, &PolicyHost::of(&[]), &Slots::new()).unwrap();
    let at = |destination| judged(&tables, 9000, destination).0;
    assert_eq!(at(Some("192.168.1.10")), Reason::UntrustedInterface);
    assert_eq!(at(Some("192.168.1.11")), Reason::Public);
    assert_eq!(at(None), Reason::Public);
}

#[test]
fn the_service_of_a_packet_is_the_service_at_its_destination() {
    let registry = registry(&format!("{LAN}[services.everywhere]\nports = [9000]\n"));
    let tables = compile(&registry, &PolicyHost::of(&[]), &Slots::new()).unwrap();
    let service = |port, destination: Option<&str>| {
        let service = tables.service_for(&packet(port, destination));
        service.map(str::to_owned)
    };
    assert_eq!(service(9000, Some("fd00::1")).as_deref(), Some("lan"));
    assert_eq!(
        service(9000, Some("fd00::2")).as_deref(),
        Some("everywhere")
    );
    assert_eq!(service(9000, None).as_deref(), Some("everywhere"));
    assert_eq!(service(9001, Some("fd00::1")), None);
}

#[test]
fn audit_holds_elsewhere_only_if_all_services_of_the_port_audit() {
    let text = |mode: &str| {
        format!(
            "{LAN}mode = \"audit\"\n[services.other]\nports = [9000]\non = [\"10.0.0.1\"]\n\
             mode = \"{mode}\"\n"
        )
    };
    for (mode, audited) in [("audit", true), ("enforce", false)] {
        let tables = compile(&registry(&text(mode)), &PolicyHost::of(&[]), &Slots::new()).unwrap();
        let at = |destination| judged(&tables, 9000, Some(destination)).1;
        assert_eq!(at("10.0.0.2"), audited);
        assert!(at("192.168.1.10"));
    }
}

#[test]
fn a_slot_belongs_to_one_service_of_a_port() {
    let registry = registry(&format!(
        "{LAN}[services.a]\nports = [9000]\n[services.b]\nports = [9000]\non = [\"10.0.0.1\"]\n"
    ));
    let taken = Slots::from([((Protocol::Tcp, 9000, None), 77)]);
    let tables = compile(&registry, &PolicyHost::of(&[]), &taken).unwrap();
    assert_eq!(tables.ports[&(Protocol::Tcp, 9000)].slot, 77);
    let slots: Vec<u16> = tables.ports_at.values().map(|it| it.slot).collect();
    // The two addresses of `lan` share a slot.
    let address = |text: &str| text.parse::<IpAddr>().unwrap().into();
    let slot = |at: &str| tables.ports_at[&(Protocol::Tcp, 9000, address(at))].slot;
    assert_eq!(slot("192.168.1.10"), slot("fd00::1"));
    assert_ne!(slot("192.168.1.10"), slot("10.0.0.1"));
    assert!(slots.iter().all(|slot| *slot != 77 && *slot != 0));
}

#[test]
fn a_peer_on_a_pattern_is_on_each_matching_interface() {
    let registry = registry(
        "[services.a]\nports = [1]\nallow = [\"p\"]\n\
         [peers.p]\ninterface = \"br-*\"\naddresses = [\"10.0.0.5\"]\n",
    );
    let interfaces = [(2, "br-a"), (3, "br-b"), (4, "br"), (5, "eth0")]
        .map(|(ifindex, name)| attachment(ifindex, name, None));
    let tables = compile(&registry, &PolicyHost::of(&interfaces), &Slots::new()).unwrap();
    let granted = [2, 3, 4, 5].map(|ifindex| grants(&tables, ifindex, "10.0.0.5").len());
    assert_eq!(granted, [1, 1, 0, 0]);
    assert!(tables.peers[0].active);
    let none = compile(&registry, &PolicyHost::of(&interfaces[2..]), &Slots::new()).unwrap();
    assert!(!none.peers[0].active);
}

#[test]
fn every_port_at_an_address_has_room_in_both_banks() {
    let banks = BANKS as usize;
    assert_eq!(ON_ENTRIES as usize, banks * MAX_PORTS_AT_ADDRESSES);
}

#[test]
fn rule_6_leaves_the_udp_ports_of_clients_and_tunnels_alone() {
    let text = |udp: &str| {
        format!(
            "[services.a]\nports = [123]\nprotocol = \"udp\"\n[services.b]\nports = [5000]\n\
             [unregistered]\ntcp = \"drop\"\n{udp}"
        )
    };
    let host = PolicyHost {
        open_udp: [123, 4789, 5000].into_iter().collect(),
        ..PolicyHost::of(&[])
    };
    let closed = compile(&registry(&text("udp = \"drop\"\n")), &host, &Slots::new()).unwrap();
    let mode = |protocol, port| closed.unregistered_mode(protocol, port);
    assert_eq!(mode(Protocol::Udp, 4789), None);
    assert_eq!(mode(Protocol::Udp, 5000), None, "TCP alone is registered");
    assert_eq!(mode(Protocol::Udp, 4790), Some(Mode::Enforce));
    assert_eq!(mode(Protocol::Tcp, 4789), Some(Mode::Enforce));
    assert_eq!(mode(Protocol::Sctp, 4790), None);
    // A registered port is judged, whoever else may use the number.
    assert!(!closed.open_udp.contains(123));
    assert!(closed.ports.contains_key(&(Protocol::Udp, 123)));
    let open = compile(&registry(&text("")), &host, &Slots::new()).unwrap();
    assert_eq!(open.open_udp, super::super::PortSet::default());
}

#[test]
fn the_keys_of_networks_and_unregistered_ports_have_rows() {
    let registry = registry(
        "[services.a]\nports = [1]\n[unregistered]\ntcp = \"drop\"\nsctp = \"audit\"\n\
         allow = [\"q\"]\n[interfaces.podman1]\nforward = false\ncontainers = true\n\
         allow = [\"p\"]\nmode = \"audit\"\n[interfaces.podman2]\nrouted = true\n\
         [peers.p]\ninterface = \"wg0\"\naddresses = [\"any\"]\n\
         [peers.q]\ninterface = \"wg0\"\naddresses = [\"any\"]\n",
    );
    let tables = compile(&registry, &PolicyHost::of(&[]), &Slots::new()).unwrap();
    let [p, q] = [0, 1].map(|number| {
        let mut set = PeerSet::EMPTY;
        set.insert(number);
        set
    });
    let modes = [Some(Mode::Enforce), None, Some(Mode::Audit)];
    assert_eq!(tables.unregistered.modes, modes);
    assert_eq!(tables.unregistered.allow, q);
    let [one, two] = &tables.interface_options[..] else {
        panic!("{:?}", tables.interface_options);
    };
    assert_eq!((one.allow, two.allow), (p, PeerSet::EMPTY));
    let of = |row: &super::super::OptionsRow| {
        let options = row.options;
        (
            options.forward,
            options.containers,
            options.routed,
            options.mode,
        )
    };
    let expected = (Forward::False, Some(true), false, Some(Mode::Audit));
    assert_eq!(of(one), expected);
    assert_eq!(of(two), (Forward::Auto, None, true, None));
}
