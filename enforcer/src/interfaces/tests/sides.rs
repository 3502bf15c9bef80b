//! The choice of outside interfaces.

use super::sketch::{check, planned};

#[test]
fn all_but_lo_and_what_a_guarded_master_stands_for_are_outside() {
    check(
        "
        lo                                    |                 | tcx |
        lo eth0                               |                 | tcx | eth0/eth native,tcx,generic
        lo eth0                               | lo.side=outside | tcx | eth0/eth native,tcx,generic
        # An LXC guest's eth0, or a container's veth that nobody put into a bridge.
        veth0:veth                            |                 | tcx | veth0/eth tcx,generic
        br0:bridge eth0>br0                   |                 | tcx | eth0/eth native,tcx,generic master=br0 switched; br0/eth tcx,generic
        bond0:bond eth0>bond0 eth1>bond0      |                 | tcx | eth0/eth native,tcx,generic master=bond0; eth1/eth native,tcx,generic master=bond0; bond0/eth tcx,generic
        team0:team eth0>team0                 |                 | tcx | eth0/eth native,tcx,generic master=team0; team0/eth tcx,generic
        br0:bridge bond0:bond>br0 eth0>bond0  |                 | tcx | eth0/eth native,tcx,generic master=bond0 view=bond0,br0 switched; bond0/eth tcx,generic master=br0 switched; br0/eth tcx,generic
        # Nothing is known of other masters: Hyper-V's netvsc over a VF.
        eth0 vf0>eth0                         |                 | tcx | vf0/eth native,tcx,generic master=eth0; eth0/eth native,tcx,generic
        ",
    );
}

#[test]
fn a_nic_has_a_guard_before_it_is_up_and_a_containers_veth_has_none() {
    check(
        "
        eth0=down,device            |                   | tcx | eth0/eth tcx early
        eth0=device                 |                   | tcx | eth0/eth native,tcx,generic
        # Without tcx, and where nothing says that it stays.
        eth0=down,device            |                   |     |
        eth0=down                   |                   | tcx |
        veth0:veth=down             |                   | tcx |
        veth0:veth=down             | veth*.side=outside | tcx | veth0/eth tcx early
        eth0=down,device            | eth0.side=inside  | tcx |
        nsim0:netdevsim=down,device |                   | tcx |
        # So has a member.
        br0:bridge eth0>br0=down,device |               | tcx | br0/eth tcx,generic; eth0/eth tcx master=br0 switched early
        ",
    );
}

#[test]
fn a_bridge_of_veths_and_taps_is_inside() {
    check(
        "
        podman0:bridge veth0:veth>podman0 veth1:veth>podman0 | | tcx |
        virbr0:bridge vnet0:tun>virbr0 veth0:veth>virbr0     | | tcx |
        # Its members, too, while netfilter runs on them, and while it is down.
        podman0:bridge veth0:veth>podman0                    | | tcx nf |
        podman0:bridge=down veth0:veth>podman0               | | tcx nf |
        # Without members nothing arrives on it.
        podman0:bridge                                       | | tcx |
        br0:bridge eth0>br0 veth0:veth>br0                   | | tcx | eth0/eth native,tcx,generic master=br0 switched; br0/eth tcx,generic
        br0:bridge eth0>br0=down veth0:veth>br0              | | tcx | br0/eth tcx,generic
        br0:bridge vx0:vxlan>br0 veth0:veth>br0              | | tcx | vx0/eth tcx,generic master=br0 switched; br0/eth tcx,generic
        # A tun has no Ethernet, and a bridge takes none.
        br0:bridge tun0:tun#65534>br0                        | | tcx | tun0/ip tcx,generic master=br0 switched; br0/eth tcx,generic
        ",
    );
}

#[test]
fn a_nic_in_open_vswitch_judges_for_the_datapaths_own_ports() {
    check(
        "
        # The master is down, and the host's address is on a port of the same kind.
        ovs-system:openvswitch=down br0:openvswitch eth0>ovs-system | | tcx nf | br0/eth tcx,generic; eth0/eth native,tcx,generic view=ovs-system,br0 switched
        ovs-system:openvswitch=down br0:openvswitch eth0>ovs-system br0.5:vlan@br0 | | tcx | br0/eth tcx,generic vlans=br0.5; eth0/eth tcx,generic vlans=br0.5 view=ovs-system,br0 switched; br0.5/eth tcx,generic
        ovs-system:openvswitch=down br0:openvswitch eth0>ovs-system vnet0:tun>ovs-system p0:veth>ovs-system | | tcx nf | br0/eth tcx,generic; eth0/eth native,tcx,generic view=ovs-system,br0 switched
        ovs-system:openvswitch=down a:openvswitch b:openvswitch eth0>ovs-system | | tcx | a/eth tcx,generic; b/eth tcx,generic; eth0/eth native,tcx,generic view=ovs-system,a,b switched
        ovs-system:openvswitch=down eth0>ovs-system                 | | tcx | eth0/eth native,tcx,generic view=ovs-system switched
        ovs-system:openvswitch=down br0:openvswitch eth0>ovs-system | br0.side=inside | tcx |
        ovs-system:openvswitch=down a:openvswitch b:openvswitch eth0>ovs-system | a.side=inside | tcx | b/eth tcx,generic; eth0/eth native,tcx,generic view=ovs-system,a,b switched
        ovs-system:openvswitch=down br0:openvswitch eth0>ovs-system | ovs-system.side=inside | tcx | br0/eth tcx,generic
        ",
    );
}

#[test]
fn a_bridge_marked_outside_holds_in_full() {
    check(
        "
        docker0:bridge veth0:veth>docker0 vnet0:tun>docker0 | docker0.side=outside | tcx | veth0/eth tcx,generic master=docker0 switched; vnet0/eth tcx,generic master=docker0 switched; docker0/eth tcx,generic
        docker0:bridge veth0:veth>docker0                   | docker0.side=outside | tcx nf | veth0/eth tcx,generic master=docker0; docker0/eth tcx,generic
        docker0:bridge=nf veth0:veth>docker0                | docker0.side=outside | tcx tags | veth0/eth tcx,generic master=docker0 tags; docker0/eth tcx,generic
        docker0:bridge veth0:veth>docker0                   | docker0.side=outside veth*.side=inside | tcx nf | docker0/eth tcx,generic
        # A container comes up later.
        docker0:bridge veth0:veth>docker0=down              | docker0.side=outside | tcx | docker0/eth tcx,generic
        # By an alternative name; a table for the name goes first.
        docker0:bridge=alt-d veth0:veth>docker0             | alt-d.side=outside | tcx | veth0/eth tcx,generic master=docker0 switched; docker0/eth tcx,generic
        docker0:bridge=alt-d veth0:veth>docker0             | alt-d.side=outside docker0.side=inside | tcx |
        # A table with nothing but defaults is a table.
        e0=alt-foo | alt-*.side=inside                 | tcx |
        e0=alt-foo | alt-*.side=inside e0.hook=auto    | tcx | e0/eth native,tcx,generic
        e0=alt-foo | alt-foo.side=inside e*.hook=auto  | tcx | e0/eth native,tcx,generic
        ",
    );
}

#[test]
fn every_member_is_guarded_while_netfilter_runs_on_members() {
    check(
        "
        br0:bridge eth0>br0 veth0:veth>br0 vnet0:tun>br0 dm0:dummy>br0 | | tcx nf | eth0/eth native,tcx,generic master=br0; veth0/eth tcx,generic master=br0; vnet0/eth tcx,generic master=br0; dm0/eth tcx,generic master=br0; br0/eth tcx,generic
        # By the bridge's own option, which says nothing of other bridges.
        br0:bridge=nf eth0>br0 vnet0:tun>br0 br1:bridge eth1>br1 vnet1:tun>br1 | | tcx | eth0/eth native,tcx,generic master=br0; vnet0/eth tcx,generic master=br0; eth1/eth native,tcx,generic master=br1 switched; br0/eth tcx,generic; br1/eth tcx,generic
        # Without netfilter.
        br0:bridge eth0>br0 vnet0:tun>br0 | | tcx | eth0/eth native,tcx,generic master=br0 switched; br0/eth tcx,generic
        # Inside stays inside.
        podman0:bridge=nf veth0:veth>podman0 | | tcx nf |
        br0:bridge=nf eth0>br0 vnet0:tun>br0 | br0.side=inside | tcx nf |
        ",
    );
}

#[test]
fn netfilter_looks_through_tags_where_told_so() {
    check(
        "
        br0:bridge eth0>br0 br0.5:vlan@br0  | | tcx nf tags | eth0/eth tcx,generic vlans=br0.5 master=br0 tags; br0/eth tcx,generic vlans=br0.5; br0.5/eth tcx,generic
        br0:bridge=nf eth0>br0              | | tcx tags    | eth0/eth native,tcx,generic master=br0 tags; br0/eth tcx,generic
        br0:bridge eth0>br0                 | | tcx tags    | eth0/eth native,tcx,generic master=br0 switched; br0/eth tcx,generic
        # The bridge's member alone, and no other masters' members.
        br0:bridge bond0:bond>br0 eth0>bond0 eth1 | | tcx nf tags | eth0/eth native,tcx,generic master=bond0 view=bond0,br0; eth1/eth native,tcx,generic; bond0/eth tcx,generic master=br0 tags; br0/eth tcx,generic
        ",
    );
}

#[test]
fn vlan_devices_on_a_bridge_of_guests_are_inside() {
    check(
        "
        br0:bridge vnet0:tun>br0 br0.10:vlan@br0               | | tcx nf |
        br0:bridge vnet0:tun>br0 br0.10:vlan@br0 c7:vlan@br0.10 | | tcx |
        br0:bridge br0.10:vlan@br0                             | | tcx |
        br0:bridge vnet0:tun>br0 eth0>br0 br0.10:vlan@br0      | | tcx | eth0/eth tcx,generic vlans=br0.10 master=br0 switched; br0/eth tcx,generic vlans=br0.10; br0.10/eth tcx,generic
        br0:bridge vnet0:tun>br0 br0.10:vlan@br0               | br0.side=outside | tcx | vnet0/eth tcx,generic vlans=br0.10 master=br0 switched; br0/eth tcx,generic vlans=br0.10; br0.10/eth tcx,generic
        br0:bridge vnet0:tun>br0 br0.10:vlan@br0               | br0.10.side=outside | tcx | br0.10/eth tcx,generic
        # The side of a bridge with a NIC does not reach to its VLAN devices.
        br0:bridge eth0>br0 br0.10:vlan@br0                    | br0.side=inside | tcx | br0.10/eth tcx,generic
        # Guests' frames that go on to a LAN bridge.
        br0:bridge vnet0:tun>br0 br0.10:vlan@br0>br1 br1:bridge eth0>br1 | | tcx | eth0/eth native,tcx,generic master=br1 switched; br0.10/eth tcx,generic master=br1 switched; br1/eth tcx,generic
        # Other devices on a bridge of guests.
        br0:bridge vnet0:tun>br0 mv0:macvlan@br0               | | tcx | mv0/eth tcx,generic
        ",
    );
}

#[test]
fn a_bridge_with_a_dummy_member_is_inside() {
    check(
        "
        br99:bridge dummy0:dummy>br99                  | | tcx nf |
        br99:bridge dummy0:dummy>br99 veth0:veth>br99  | | tcx    |
        br99:bridge dummy0:dummy>br99 eth0>br99        | | tcx    | eth0/eth native,tcx,generic master=br99 switched; br99/eth tcx,generic
        # Alone, a dummy is as any interface.
        dummy0:dummy                                   | | tcx    | dummy0/eth tcx,generic
        ",
    );
}

#[test]
fn the_parent_of_a_passthru_child_is_inside() {
    check(
        "
        eth0 mv0:macvlan@eth0=passthru          | | tcx | mv0/eth tcx,generic
        eth0 mt0:macvtap@eth0=passthru          | | tcx | mt0/eth tcx,generic
        eth0 mv0:macvlan@eth0=source            | | tcx | eth0/eth tcx,generic macvlans; mv0/eth tcx,generic
        # Frames with a tag go to the VLAN device first.
        eth0 mv0:macvlan@eth0=passthru v5:vlan@eth0 | | tcx | mv0/eth tcx,generic; v5/eth tcx,generic
        eth0 mv0:macvlan@eth0=passthru          | eth0.side=outside | tcx | eth0/eth tcx,generic macvlans; mv0/eth tcx,generic
        ",
    );
}

#[test]
fn members_of_a_bridge_are_guarded_with_the_view_of_their_master() {
    check(
        "
        br0:bridge eth0>br0                       |                 | tcx nf | eth0/eth native,tcx,generic master=br0; br0/eth tcx,generic
        br0:bridge eth0>br0 veth0:veth>br0        |                 | tcx nf | eth0/eth native,tcx,generic master=br0; veth0/eth tcx,generic master=br0; br0/eth tcx,generic
        br0:bridge bond0:bond>br0 eth0>bond0      |                 | tcx nf | eth0/eth native,tcx,generic master=bond0 view=bond0,br0; bond0/eth tcx,generic master=br0; br0/eth tcx,generic
        br0:bridge eth0.5:vlan@eth0>br0 eth0      |                 | tcx nf | eth0/eth tcx,generic vlans=br0,eth0.5; eth0.5/eth tcx,generic master=br0; br0/eth tcx,generic
        # Tags meant for devices on the bridge come through the member.
        br0:bridge eth0>br0 br0.5:vlan@br0        |                 | tcx nf | eth0/eth tcx,generic vlans=br0.5 master=br0; br0/eth tcx,generic vlans=br0.5; br0.5/eth tcx,generic
        br0:bridge=down eth0>br0                  |                 | tcx nf | eth0/eth native,tcx,generic view=br0
        br0:bridge eth0>br0                       | br0.side=inside | tcx nf |
        ",
    );
}

#[test]
fn members_of_a_master_that_is_down_are_guarded_too() {
    check(
        "
        bond0:bond=down eth0>bond0 |                   | tcx | eth0/eth native,tcx,generic view=bond0
        team0:team=down eth0>team0 |                   | tcx | eth0/eth native,tcx,generic view=team0
        bond0:bond=down eth0>bond0 | bond0.side=inside | tcx |
        # A bridge that is down leaves link-local group addresses to the member.
        br0:bridge=down eth0>br0   |                   | tcx | eth0/eth native,tcx,generic view=br0 switched
        ",
    );
}

#[test]
fn what_is_down_has_no_guard_and_misses_none() {
    check(
        "
        eth0=down             |                   | tcx |
        eth0=down             | eth0.side=outside | tcx | eth0/eth tcx early
        eth0=down             | eth0.side=outside |     |
        vrf0:vrf=down         |                   | tcx |
        ib0#32=down           |                   | tcx |
        eth0.5:vlan@eth0=down eth0 | | tcx | eth0/eth tcx,generic vlans=eth0.5
        ",
    );
}

#[test]
fn a_vrfs_members_are_guarded_and_the_vrf_is_uncovered() {
    check(
        "
        vrf0:vrf eth0>vrf0                             |                  | tcx    | eth0/eth native,tcx,generic; vrf0?
        vrf0:vrf eth0>vrf0                             | vrf0.side=inside | tcx    | eth0/eth native,tcx,generic
        vrf0:vrf podman0:bridge>vrf0 veth0:veth>podman0 |                 | tcx nf | vrf0?
        # Unlike a bridge's member, a VRF's may have macvlan devices on it.
        vrf0:vrf eth0>vrf0=macs                        | vrf0.side=inside | tcx    | eth0/eth tcx,generic macvlans
        ",
    );
}

#[test]
fn a_vrf_is_inside_with_its_members_whatever_the_side_of_the_vrf() {
    for (line, options, inside) in [
        ("vrf0:vrf eth0>vrf0", "vrf0.side=inside", &[][..]),
        ("vrf0:vrf eth0>vrf0", "eth0.side=inside", &[1, 2]),
        (
            "vrf0:vrf podman0:bridge>vrf0 veth0:veth>podman0",
            "",
            &[1, 2],
        ),
        (
            "vrf0:vrf podman0:bridge>vrf0 veth0:veth>podman0",
            "vrf0.side=outside",
            &[1, 2],
        ),
        ("vrf0:vrf podman0:bridge>vrf0 eth0>vrf0", "", &[2]),
        (
            "vrf0:vrf podman0:bridge>vrf0 eth0>vrf0=down",
            "vrf0.side=inside",
            &[2],
        ),
        ("vrf0:vrf", "vrf0.side=inside", &[]),
        // The members of other masters arrive on these.
        ("br0:bridge veth0:veth>br0", "", &[1]),
        ("br0:bridge eth0>br0", "eth0.side=inside", &[]),
    ] {
        let found: Vec<u32> = planned(line, options, "tcx").inside.into_iter().collect();
        assert_eq!(found, inside, "{line} | {options}");
    }
}

#[test]
fn the_operators_word_on_the_side_wins() {
    check(
        "
        eth0                              | eth0.side=inside                     | tcx |
        podman0:bridge veth0:veth>podman0 | podman0.side=outside                 | tcx | veth0/eth tcx,generic master=podman0 switched; podman0/eth tcx,generic
        podman0:bridge                    | podman0.side=outside                 | tcx | podman0/eth tcx,generic
        podman0:bridge veth0:veth>podman0 | veth*.side=outside                   | tcx | veth0/eth tcx,generic view=podman0 switched
        bond0:bond eth0>bond0             | eth0.side=outside                    | tcx | eth0/eth native,tcx,generic master=bond0; bond0/eth tcx,generic
        br0:bridge eth0>br0               | eth0.side=inside                     | tcx nf | br0/eth tcx,generic
        # It does not reach to the interfaces around it.
        eth0 eth0.5:vlan@eth0             | eth0.side=inside                     | tcx | eth0.5/eth tcx,generic
        ",
    );
}

#[test]
fn options_are_found_by_the_current_name() {
    check(
        "
        lan0 lan1 wan0 | lan*.side=inside                                         | tcx | wan0/eth native,tcx,generic
        # An exact name beats a pattern, a longer pattern a shorter.
        lan0 lan1      | lan*.side=inside lan1.side=outside                       | tcx | lan1/eth native,tcx,generic
        lan0 lan1      | *.side=outside l*.side=inside lan1*.side=outside         | tcx | lan1/eth native,tcx,generic
        # A table applies as a whole.
        lan0           | lan*.forward=true lan0.hook=tcx                          | tcx | lan0/eth tcx
        lan0           | lan0.forward=true                                        | tcx | lan0/eth native,tcx,generic
        # Renamed: the table for the old name does not apply.
        eth0           | lan0.side=inside                                         | tcx | eth0/eth native,tcx,generic
        ",
    );
}

#[test]
fn the_order_is_that_of_the_ifindexes() {
    use super::super::{Host, Interface, InterfaceOptions, plan};
    let interface = |index: u32, link_type: u16| Interface {
        index,
        name: format!("if{index}"),
        link_type,
        up: true,
        ..Interface::default()
    };
    let vlan = |index: u32| Interface {
        kind: Some("vlan".to_owned()),
        parent: Some(3),
        ..interface(index, 1)
    };
    let all = [
        vlan(9),
        vlan(5),
        interface(8, 32),
        interface(2, 32),
        interface(3, 1),
    ];
    let plan = plan(&all, |_| InterfaceOptions::default(), &Host::default());
    let guards: Vec<u32> = plan.guards.iter().map(|guard| guard.ifindex).collect();
    let uncovered: Vec<u32> = plan.uncovered.iter().map(|it| it.index).collect();
    assert_eq!((guards, uncovered), (vec![3, 5, 9], vec![2, 8]));
    assert_eq!(plan.guards[0].vlan_children, [5, 9]);
}
