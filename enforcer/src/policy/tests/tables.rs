//! Interface options, wire views and the maps' limits.

use std::net::IpAddr;

use enforcer_ebpf::{
    Guard, Protocol,
    layout::{MAX_PREFIXES, PREFIX_ENTRIES, WIRE_VIEW},
};
use ipnet::IpNet;

use super::super::{
    InterfaceRow, PacketSpec, PolicyHost, PolicyInterface, PolicyTables, Slots, compile,
};
use super::{attachment, key, registry};
use crate::{
    registry::{Forward, HookChoice, Registry, Side},
    wireguard::AllowedIps,
};

const SERVICE: &str = "[services.a]\nports = [1]\n";

#[test]
fn an_exact_name_beats_a_pattern_and_a_longer_pattern_a_shorter() {
    let registry = registry(&format!(
        "{SERVICE}[interfaces.\"*\"]\nhook = \"xdp-generic\"\n\
         [interfaces.\"eth*\"]\nside = \"outside\"\n\
         [interfaces.\"eth1*\"]\nside = \"inside\"\n\
         [interfaces.eth1]\nforward = true\n\
         [interfaces.z]\nhook = \"tcx\"\n"
    ));
    let tables = compile(&registry, &PolicyHost::of(&[]), &Slots::new()).unwrap();
    let options = |name| {
        let options = tables.options_of([name].into_iter());
        (options.side, options.forward, options.hook)
    };
    assert_eq!(options("eth1"), (None, Forward::True, HookChoice::Auto));
    assert_eq!(
        options("eth10"),
        (Some(Side::Inside), Forward::Auto, HookChoice::Auto)
    );
    assert_eq!(
        options("eth0"),
        (Some(Side::Outside), Forward::Auto, HookChoice::Auto)
    );
    assert_eq!(options("zz"), (None, Forward::Auto, HookChoice::XdpGeneric));
    assert_eq!(options("z"), (None, Forward::Auto, HookChoice::Tcx));
}

#[test]
fn a_table_for_the_name_beats_one_for_an_alternative_name() {
    const ALT: &str = "[interfaces.\"alt*\"]\nside = \"inside\"\n";
    let side = |more: &str| {
        let registry = registry(&format!("{SERVICE}{ALT}{more}"));
        let tables = compile(&registry, &PolicyHost::of(&[]), &Slots::new()).unwrap();
        let names = || ["e0", "altfoo"].into_iter();
        let table = registry.interface_table(names()).unwrap();
        assert_eq!(tables.options_row(names()).unwrap().pattern, table.pattern);
        tables.options_of(names()).side
    };
    assert_eq!(side(""), Some(Side::Inside), "the control");
    // All keys of the table are defaults.
    assert_eq!(side("[interfaces.e0]\nforward = \"auto\"\n"), None);
    assert_eq!(side("[interfaces.\"e*\"]\n"), None);
    assert_eq!(side("[interfaces.\"f*\"]\n"), Some(Side::Inside));
}

/// Returns a registry with a peer `collector` on wg0, allowed to reach port 1.
fn collector() -> Registry {
    registry(&format!(
        "{SERVICE}allow = [\"collector\"]\n\
         [peers.collector]\ninterface = \"wg0\"\naddresses = [\"10.0.0.5\"]\n"
    ))
}

/// Returns wg0, and eth0 with a wire guard unable to tell the packets of wg0 apart.
fn wg0_below_eth0() -> [PolicyInterface; 2] {
    let parent = PolicyInterface {
        merged: vec![5],
        ..attachment(7, "eth0", None)
    };
    [attachment(5, "wg0", None), parent]
}

fn drops(tables: &PolicyTables, guard: Guard, ifindex: u32) -> bool {
    let spec = PacketSpec {
        guard,
        ifindex,
        loopback: false,
        source: "10.0.0.5".parse::<IpAddr>().unwrap().into(),
        destination: None,
        protocol: Protocol::Tcp,
        port: 1,
        route: enforcer_ebpf::Route::Here,
        opens: true,
    };
    let peer = tables.granting_peer(&spec).map(|peer| peer.name.as_str());
    let drops = tables.judge(&spec).drops();
    assert_eq!(peer, (!drops).then_some("collector"));
    drops
}

#[test]
fn only_a_vlan_parents_wire_guard_uses_the_wire_view() {
    let tables = compile(
        &collector(),
        &PolicyHost::of(&wg0_below_eth0()),
        &Slots::new(),
    )
    .unwrap();
    assert!(!drops(&tables, Guard::Wire, 5));
    assert!(!drops(&tables, Guard::Socket, 5));
    assert!(!drops(&tables, Guard::Wire, 7), "the view has wg0's peers");
    assert!(drops(&tables, Guard::Socket, 7), "eth0 has no peer");
    let (parent, view) = (&tables.interfaces[&7], &tables.interfaces[&(7 | WIRE_VIEW)]);
    assert!(parent.vlan_parent && parent.carries.is_empty());
    assert!(!view.vlan_parent && !view.carries.is_empty());

    // Without children, eth0 has no view, and no row at all.
    let apart = wg0_below_eth0().map(|interface| PolicyInterface {
        merged: Vec::new(),
        ..interface
    });
    let tables = compile(&collector(), &PolicyHost::of(&apart), &Slots::new()).unwrap();
    assert!(drops(&tables, Guard::Wire, 7));
    assert!(tables.interfaces.keys().eq(&[5]));
}

#[test]
fn a_wire_view_forwards_where_one_of_its_interfaces_does() {
    for (forwarding, parent, view) in [
        ("wg0", false, true),
        ("eth0", true, true),
        ("eth1", false, false),
    ] {
        let registry = registry(&format!(
            "{SERVICE}[interfaces.{forwarding}]\nforward = true\n"
        ));
        let mut interfaces = wg0_below_eth0().to_vec();
        interfaces.push(attachment(8, "eth1", None));
        let tables = compile(&registry, &PolicyHost::of(&interfaces), &Slots::new()).unwrap();
        let forwards = |ifindex| {
            let row = tables.interfaces.get(&ifindex);
            row.is_some_and(|row| row.hairpin)
        };
        assert_eq!(forwards(7), parent, "{forwarding}");
        assert_eq!(forwards(7 | WIRE_VIEW), view, "{forwarding}");
        assert_eq!(forwards(8), forwarding == "eth1");
    }
}

#[test]
fn the_mac_is_kept_for_macvlan_parents_and_under_xdp() {
    let mac = Some([2, 0, 0, 0, 0, 1]);
    let interface = |ifindex, has_macvlan_children, is_under_xdp, is_headerless| PolicyInterface {
        mac,
        has_macvlan_children,
        is_under_xdp,
        is_headerless,
        ..attachment(ifindex, &format!("eth{ifindex}"), None)
    };
    let interfaces = [
        interface(5, true, false, false),
        interface(6, false, false, false),
        interface(7, false, true, false),
        interface(8, false, true, true),
    ];
    let tables = compile(
        &registry(SERVICE),
        &PolicyHost::of(&interfaces),
        &Slots::new(),
    )
    .unwrap();
    let rows = &tables.interfaces;
    assert_eq!((rows[&5].mac, rows[&5].macvlan_parent), (mac, true));
    assert!(!rows.contains_key(&6));
    assert_eq!((rows[&7].mac, rows[&7].macvlan_parent), (mac, false));
    assert_eq!(rows[&8].mac, None);
}

#[test]
fn rows_of_addresses_alone_give_way_to_others() {
    let plain = |ifindex| PolicyInterface {
        addresses: vec!["192.0.2.1/32".parse().unwrap()],
        ..attachment(ifindex, &format!("eth{ifindex}"), None)
    };
    let mut interfaces: Vec<_> = (2..1200).map(plain).collect();
    interfaces.push(PolicyInterface {
        is_headerless: true,
        ..plain(2000)
    });
    let tables = compile(
        &registry(SERVICE),
        &PolicyHost::of(&interfaces),
        &Slots::new(),
    )
    .unwrap();
    let count = tables.interfaces.len();
    assert!((900..=1024).contains(&count), "{count}");
    assert!(tables.interfaces.contains_key(&2000));
    assert!(tables.interfaces.contains_key(&2));
}

#[test]
fn ports_keep_their_slots_and_new_ones_get_free_slots() {
    let registry = registry("[services.a]\nports = [1, 2, 3]\n");
    let taken = Slots::from([
        ((Protocol::Tcp, 2, None), 5),
        ((Protocol::Tcp, 9, None), 6),
        ((Protocol::Udp, 1, None), 8),
    ]);
    let tables = compile(&registry, &PolicyHost::of(&[]), &taken).unwrap();
    let slots: Vec<u16> = tables.ports.values().map(|binding| binding.slot).collect();
    assert_eq!(slots, [7, 5, 9]);
}

/// Compiles a host with a peer by key on wg0, this many AllowedIPs, and VLAN parents above wg0.
fn views_of(prefixes: u32, parents: u32) -> PolicyTables {
    let registry = registry(&format!(
        "{SERVICE}allow = [\"laptop\"]\n\
         [peers.laptop]\ninterface = \"wg0\"\npublic-key = \"{}\"\n",
        key(1)
    ));
    let mut allowed = AllowedIps::default();
    for n in 0..prefixes {
        let address = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        allowed.allow(key(1), IpNet::from(address)).unwrap();
    }
    let wg0 = PolicyInterface {
        allowed_ips: Some(allowed),
        ..attachment(5, "wg0", None)
    };
    let parents = (0..parents).map(|n| PolicyInterface {
        merged: vec![5],
        ..attachment(10 + n, &format!("eth{n}"), None)
    });
    let interfaces: Vec<_> = std::iter::once(wg0).chain(parents).collect();
    compile(&registry, &PolicyHost::of(&interfaces), &Slots::new()).unwrap()
}

#[test]
fn wire_views_count_towards_the_limit_of_a_bank() {
    let most = PREFIX_ENTRIES / 2;
    let each = most / 4;
    assert!(each as usize <= MAX_PREFIXES);
    let tables = views_of(each, 3);
    assert_eq!(tables.prefixes.len(), most as usize);
    assert!(tables.peers[0].active);

    let tables = views_of(each + 1, 3);
    assert!(tables.prefixes.is_empty(), "wg0 is left out as a whole");
    assert!(!tables.peers[0].active);
}

#[test]
fn a_device_may_have_as_many_prefixes_as_a_registry() {
    let most = u32::try_from(MAX_PREFIXES).unwrap();
    assert!(views_of(most, 0).peers[0].active);
    assert!(!views_of(most + 1, 0).peers[0].active);
}

#[test]
fn an_interface_without_a_guard_has_no_facts_of_a_wire() {
    let container = PolicyInterface {
        is_headerless: true,
        addresses: vec!["fe80::1/64".parse().unwrap()],
        ..attachment(5, "veth5", None)
    };
    let host = PolicyHost {
        interfaces: vec![container],
        ..PolicyHost::default()
    };
    let tables = compile(&registry(SERVICE), &host, &Slots::new()).unwrap();
    assert!(tables.interfaces.is_empty(), "{:?}", tables.interfaces);
    let guarded = PolicyHost::of(&host.interfaces);
    let tables = compile(&registry(SERVICE), &guarded, &Slots::new()).unwrap();
    assert!(tables.interfaces.contains_key(&5), "the control");
}

#[test]
fn a_member_asks_the_fib_as_its_master() {
    let mut tables = PolicyTables::default();
    let row = |member_of, vlan_parent| InterfaceRow {
        member_of,
        vlan_parent,
        ..InterfaceRow::default()
    };
    // A member of one, of several, none, and a member that is a VLAN parent.
    tables.interfaces.insert(2, row(Some(9), false));
    tables.interfaces.insert(3, row(Some(0), false));
    tables.interfaces.insert(4, row(None, false));
    tables.interfaces.insert(5, row(None, true));
    tables.interfaces.insert(5 | WIRE_VIEW, row(Some(8), true));
    let asks_as = [2, 3, 4, 5, 6].map(|ifindex| tables.routes_as(ifindex));
    assert_eq!(asks_as, [9, 3, 4, 8, 6]);
}
