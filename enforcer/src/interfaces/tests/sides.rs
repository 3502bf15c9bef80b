//! The choice of outside interfaces.

use super::sketch::check;

#[test]
fn all_but_lo_and_what_a_guarded_master_stands_for_are_outside() {
    check(
        "
        lo                                    |                 | tcx |
        lo eth0                               |                 | tcx | eth0/eth native,tcx,generic
        lo eth0                               | lo.side=outside | tcx | eth0/eth native,tcx,generic
        # An LXC guest's eth0, or a container's veth that nobody put into a bridge.
        veth0:veth                            |                 | tcx | veth0/eth tcx,generic
        br0:bridge eth0>br0                   |                 | tcx | br0/eth tcx,generic
        bond0:bond eth0>bond0 eth1>bond0      |                 | tcx | bond0/eth tcx,generic
        team0:team eth0>team0                 |                 | tcx | team0/eth tcx,generic
        br0:bridge bond0:bond>br0 eth0>bond0  |                 | tcx | br0/eth tcx,generic
        # Nothing is known of other masters: Open vSwitch, Hyper-V's netvsc over a VF.
        ovs:openvswitch eth0>ovs              |                 | tcx | ovs/eth tcx,generic; eth0/eth native,tcx,generic master=ovs
        eth0 vf0>eth0                         |                 | tcx | eth0/eth native,tcx,generic; vf0/eth native,tcx,generic master=eth0
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
        # Its packets are judged on the bridge.
        br0:bridge eth0>br0=down,device |               | tcx | br0/eth tcx,generic
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
        br0:bridge eth0>br0 veth0:veth>br0                   | | tcx | br0/eth tcx,generic
        br0:bridge eth0>br0=down veth0:veth>br0              | | tcx | br0/eth tcx,generic
        br0:bridge vx0:vxlan>br0 veth0:veth>br0              | | tcx | br0/eth tcx,generic
        # A tun has no Ethernet, and a bridge takes none.
        br0:bridge tun0:tun#65534>br0                        | | tcx | br0/eth tcx,generic
        ",
    );
}

#[test]
fn nic_members_of_a_bridge_are_guarded_while_netfilter_runs_on_them() {
    check(
        "
        br0:bridge eth0>br0                       |                 | tcx nf | br0/eth tcx,generic; eth0/eth native,tcx,generic master=br0
        br0:bridge eth0>br0 veth0:veth>br0        |                 | tcx nf | br0/eth tcx,generic; eth0/eth native,tcx,generic master=br0
        br0:bridge bond0:bond>br0 eth0>bond0      |                 | tcx nf | br0/eth tcx,generic; bond0/eth tcx,generic master=br0
        br0:bridge eth0.5:vlan@eth0>br0 eth0      |                 | tcx nf | br0/eth tcx,generic; eth0.5/eth tcx,generic master=br0; eth0/eth tcx,generic vlans=eth0.5
        # Tags meant for devices on the bridge come through the member.
        br0:bridge eth0>br0 br0.5:vlan@br0        |                 | tcx nf | br0/eth tcx,generic vlans=br0.5; eth0/eth tcx,generic vlans=br0.5 master=br0; br0.5/eth tcx,generic
        br0:bridge=down eth0>br0                  |                 | tcx nf | eth0/eth native,tcx,generic
        br0:bridge eth0>br0                       | br0.side=inside | tcx nf |
        ",
    );
}

#[test]
fn members_of_a_bond_that_is_down_stand_in_for_it() {
    check(
        "
        bond0:bond=down eth0>bond0 |                   | tcx | eth0/eth native,tcx,generic
        team0:team=down eth0>team0 |                   | tcx | eth0/eth native,tcx,generic
        bond0:bond=down eth0>bond0 | bond0.side=inside | tcx |
        # A bridge that is down passes nothing up.
        br0:bridge=down eth0>br0   |                   | tcx |
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
fn the_operators_word_on_the_side_wins() {
    check(
        "
        eth0                              | eth0.side=inside                     | tcx |
        podman0:bridge veth0:veth>podman0 | podman0.side=outside                 | tcx | podman0/eth tcx,generic
        podman0:bridge                    | podman0.side=outside                 | tcx | podman0/eth tcx,generic
        podman0:bridge veth0:veth>podman0 | veth*.side=outside                   | tcx | veth0/eth tcx,generic
        bond0:bond eth0>bond0             | eth0.side=outside                    | tcx | bond0/eth tcx,generic; eth0/eth native,tcx,generic master=bond0
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
