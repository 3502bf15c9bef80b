//! The choice of hooks.

use super::super::Hook;
use super::sketch::{check, planned};

#[test]
fn native_xdp_is_for_nics_and_tcx_for_software() {
    check(
        "
        eth0                         | | tcx | eth0/eth native,tcx,generic
        eth0                         | |     | eth0/eth native,generic
        # A modem in raw-ip mode: no driver of that sort has XDP.
        wwan0#65534                  | | tcx | wwan0/ip tcx,generic
        br0:bridge eth0>br0          | |     | eth0/eth native,generic master=br0 switched; br0/eth generic
        bond0:bond eth0>bond0        | | tcx | eth0/eth native,tcx,generic master=bond0; bond0/eth tcx,generic
        wg0:wireguard#65534          | |     | wg0/ip generic
        ",
    );
}

#[test]
fn vlan_parents_get_tcx_which_sees_the_tag() {
    check(
        "
        eth0 eth0.5:vlan@eth0                    | | tcx | eth0/eth tcx,generic vlans=eth0.5; eth0.5/eth tcx,generic
        eth0 eth0.5:vlan@eth0 eth0.6:vlan@eth0   | |     | eth0/eth generic vlans=eth0.5,eth0.6; eth0.5/eth generic; eth0.6/eth generic
        # The bond is the parent, not the NICs.
        eth0>bond0 eth1>bond0 bond0:bond v5:vlan@bond0 | | tcx | eth0/eth tcx,generic vlans=v5 master=bond0; eth1/eth tcx,generic vlans=v5 master=bond0; bond0/eth tcx,generic vlans=v5; v5/eth tcx,generic
        # Two tags: each device has its own children only.
        eth0 s5:vlan@eth0 c6:vlan@s5             | | tcx | eth0/eth tcx,generic vlans=s5; s5/eth tcx,generic vlans=c6; c6/eth tcx,generic
        # Its bond down, a NIC takes the bond's frames, tags and all.
        eth0>bond0 bond0:bond=down v5:vlan@bond0 | | tcx | eth0/eth tcx,generic vlans=v5 view=bond0; v5/eth tcx,generic
        # A veth's other end and a tunnel's carrier are parents of another sort.
        eth0 veth0:veth@eth0 vx0:vxlan@eth0      | | tcx | eth0/eth native,tcx,generic; veth0/eth tcx,generic; vx0/eth tcx,generic
        ",
    );
}

#[test]
fn macvlan_parents_let_frames_for_other_macs_pass() {
    check(
        "
        eth0 mv0:macvlan@eth0          | | tcx | eth0/eth tcx,generic macvlans; mv0/eth tcx,generic
        eth0 mt0:macvtap@eth0          | |     | eth0/eth generic macvlans; mt0/eth generic
        # The child lives in a container.
        eth0=macs                      | | tcx | eth0/eth tcx,generic macvlans
        eth0.5:vlan@eth0=macs eth0     | | tcx | eth0/eth tcx,generic vlans=eth0.5; eth0.5/eth tcx,generic macvlans
        # An ipvlan device has its parent's MAC.
        eth0 iv0:ipvlan@eth0           | | tcx | eth0/eth native,tcx,generic; iv0/eth tcx,generic
        # On a bridge's member, frames for another MAC are the bridge's.
        br0:bridge eth0>br0=macs       | | tcx nf | eth0/eth native,tcx,generic master=br0; br0/eth tcx,generic
        ",
    );
}

#[test]
fn another_xdp_program_keeps_its_place() {
    check(
        "
        eth0=xdp7 | | tcx         | eth0/eth tcx
        eth0=xdp  | | tcx own=7   | eth0/eth tcx
        eth0=xdp7 | |             | eth0?
        # Ours is no reason to go.
        eth0=xdp7 | | tcx own=7   | eth0/eth native,tcx,generic
        eth0=xdp7 | | own=7 own=8 | eth0/eth native,generic
        eth0=xdp7 | | own=8       | eth0?
        ",
    );
}

#[test]
fn no_xdp_goes_below_another_program() {
    check(
        "
        # A member that joins late, with tcx and without.
        br0:bridge=xdp7 eth0>br0                  | | tcx own=7 | eth0/eth tcx master=br0 switched; br0/eth tcx,generic
        br0:bridge=xdp7 eth0>br0                  | | own=7     | br0/eth generic; eth0?
        # A guard that is there stays there.
        br0:bridge=xdp7 eth0>br0=xdp8             | | own=7 own=8 | eth0/eth native,generic master=br0 switched; br0/eth generic
        # Another owner's program is in the way as well.
        br0:bridge=xdp7 eth0>br0                  | | tcx       | eth0/eth tcx master=br0 switched; br0/eth tcx
        eth0 v5:vlan@eth0=xdp7                    | | own=7     | v5/eth generic; eth0?
        eth0 mv0:macvlan@eth0=xdp7                | | tcx own=7 | eth0/eth tcx macvlans; mv0/eth tcx,generic
        # No relation of this sort.
        eth0 veth0:veth@eth0=xdp7 vx0:vxlan@eth0=xdp7 | | own=7 | eth0/eth native,generic; veth0/eth generic; vx0/eth generic
        # A member with a program would be in the way of the bond's.
        bond0:bond eth0>bond0                     | bond0.hook=xdp-native | tcx | eth0/eth tcx master=bond0; bond0/eth native
        bond0:bond eth0>bond0                     | bond0.hook=xdp-native |     | bond0/eth native; eth0?
        bond0:bond eth0>bond0                     | bond0.hook=tcx        | tcx | eth0/eth native,tcx,generic master=bond0; bond0/eth tcx
        ",
    );
}

#[test]
fn members_are_attached_before_masters() {
    check(
        "
        v5:vlan@br0 br0:bridge bond0:bond>br0 eth1>bond0 eth0>bond0 wan | | | eth1/eth generic vlans=v5 master=bond0 view=bond0,br0 switched; eth0/eth generic vlans=v5 master=bond0 view=bond0,br0 switched; wan/eth native,generic; bond0/eth generic vlans=v5 master=br0 switched; br0/eth generic vlans=v5; v5/eth generic
        # Of a master that an XDP program is on already, each member alone is uncovered.
        br0:bridge=xdp7 eth1>br0=xdp7 eth0>br0 | | own=7 | eth1/eth native,generic master=br0 switched; br0/eth generic; eth0?
        ",
    );
}

#[test]
fn macvlan_children_of_a_bond_are_behind_its_members() {
    check(
        "
        bond0:bond eth0>bond0 mv0:macvlan@bond0 | | tcx | eth0/eth native,tcx,generic master=bond0 switched; bond0/eth tcx,generic macvlans; mv0/eth tcx,generic
        bond0:bond=macs eth0>bond0              | | tcx | eth0/eth native,tcx,generic master=bond0 switched; bond0/eth tcx,generic macvlans
        bond0:bond eth0>bond0                   | | tcx | eth0/eth native,tcx,generic master=bond0; bond0/eth tcx,generic
        ",
    );
}

#[test]
fn a_forced_hook_is_the_only_one() {
    check(
        "
        eth0                  | eth0.hook=tcx         | tcx | eth0/eth tcx
        eth0                  | eth0.hook=xdp-generic | tcx | eth0/eth generic
        veth0:veth            | veth*.hook=xdp-native | tcx | veth0/eth native
        eth0                  | eth0.hook=auto        | tcx | eth0/eth native,tcx,generic
        eth0 eth0.5:vlan@eth0 | eth0.hook=xdp-native  | tcx | eth0/eth native vlans=eth0.5; eth0.5/eth tcx,generic
        # Whether the place is really taken, the attempt will tell.
        eth0=xdp7             | eth0.hook=xdp-native  | tcx | eth0/eth native
        eth0                  | eth0.hook=tcx         |     | eth0?
        ",
    );
}

#[test]
fn the_hooks_names_are_those_of_the_json() {
    let names = [Hook::XdpNative, Hook::XdpGeneric, Hook::Tcx].map(|hook| hook.to_string());
    assert_eq!(names, ["xdp-native", "xdp-generic", "tcx"]);
}

#[test]
fn a_guard_knows_its_interfaces_mac() {
    use super::super::{Host, Interface, InterfaceOptions, plan};
    let mac = Some([2, 0, 0, 0, 0, 1]);
    let eth0 = Interface {
        index: 2,
        name: "eth0".to_owned(),
        link_type: 1,
        up: true,
        mac,
        ..Interface::default()
    };
    let plan = plan(&[eth0], |_| InterfaceOptions::default(), &Host::default());
    assert_eq!(plan.guards[0].mac, mac);
}

#[test]
fn a_late_member_without_tcx_has_a_way_that_keeps_the_socket_guard() {
    let plan = planned("br0:bridge=xdp7 eth0>br0", "", "own=7");
    let [uncovered] = plan.uncovered.as_slice() else {
        panic!("{plan:?}");
    };
    assert_eq!(uncovered.name, "eth0");
    let why = &uncovered.why;
    assert!(why.contains("br0 has an XDP program"), "{why}");
    assert!(
        why.contains("run `enforcer up --guards socket` and then `enforcer up`"),
        "{why}"
    );
    assert!(!why.contains("down"), "`down` would open the host: {why}");
}

#[test]
fn the_reason_says_what_would_help() {
    for (interfaces, options, words) in [
        ("eth0=xdp7", "", "another XDP program (id 7) is attached"),
        ("eth0=xdp", "", "another XDP program is attached"),
        (
            "eth0=xdp7",
            "",
            "needs Linux 6.6: detach that program or update",
        ),
        (
            "eth0",
            "eth0.hook=tcx",
            "leave `hook` out of [interfaces] for eth0",
        ),
        ("vrf0:vrf", "", "`side = \"inside\"` in [interfaces.vrf0]"),
        (
            "v5:vlan=tagged",
            "",
            "ip link set dev v5 type vlan reorder_hdr on",
        ),
        ("gre1:gre#778", "", "give the tunnel a `remote`"),
        ("ipsec0:xfrm#65534", "", "IPsec interface (kind xfrm)"),
        ("vti2:vti6#769", "", "IPsec interface (kind vti6)"),
        ("ib0#32", "", "link type 32 (InfiniBand) begin with"),
        (
            "x0:new#999",
            "",
            "link type 999 (linux/if_arp.h) and kind new begin",
        ),
    ] {
        let plan = planned(interfaces, options, "");
        let [uncovered] = plan.uncovered.as_slice() else {
            panic!("{interfaces}: {plan:?}");
        };
        assert!(
            uncovered.why.contains(words),
            "{interfaces}: {}",
            uncovered.why
        );
    }
}
