//! Framing, by the type of the interface.

use super::sketch::check;

#[test]
fn ethernet_devices() {
    check(
        "
        tap0:tun                | | tcx | tap0/eth tcx,generic
        dummy0:dummy            | | tcx | dummy0/eth tcx,generic
        ifb0:ifb                | | tcx | ifb0/eth tcx,generic
        vx0:vxlan               | | tcx | vx0/eth tcx,generic
        gnv0:geneve             | | tcx | gnv0/eth tcx,generic
        gretap0:gretap          | | tcx | gretap0/eth tcx,generic
        nk0:netkit              | | tcx | nk0/eth tcx,generic
        bat0:batadv             | | tcx | bat0/eth tcx,generic
        hsr0:hsr                | | tcx | hsr0/eth tcx,generic
        ms0:macsec@eth0 eth0    | | tcx | eth0/eth native,tcx,generic; ms0/eth tcx,generic
        lan1:dsa@eth0 eth0      | | tcx | lan1/eth tcx,generic; eth0/eth native,tcx,generic
        new0:something-new      | | tcx | new0/eth tcx,generic
        ",
    );
}

#[test]
fn a_vlan_device_that_shows_its_tag_is_uncovered() {
    check(
        "
        v5:vlan        | | tcx | v5/eth tcx,generic
        v5:vlan=tagged | | tcx | v5?
        ",
    );
}

#[test]
fn devices_whose_packets_begin_with_the_ip_header() {
    check(
        "
        wg0:wireguard#65534  | | tcx | wg0/ip tcx,generic
        tun0:tun#65534       | | tcx | tun0/ip tcx,generic
        tun0:tun#65534=pi    | | tcx | tun0/ip tcx,generic chosen
        tap0:tun=pi          | | tcx | tap0/eth tcx,generic
        gpe0:vxlan#65534     | | tcx | gpe0/ip tcx,generic
        gnv0:geneve#65534    | | tcx | gnv0/ip tcx,generic chosen
        bud0:bareudp#65534   | | tcx | bud0/ip tcx,generic
        gtp0:gtp#65534       | | tcx | gtp0/ip tcx,generic
        # GRE with `external`, which the kernel gives another link type.
        gre1:gre#65534       | | tcx | gre1/ip tcx,generic chosen
        rmnet0:rmnet#519     | | tcx | rmnet0/ip tcx,generic
        ppp0:ppp#512         | | tcx | ppp0/ip tcx,generic
        tunl1:ipip#768       | | tcx | tunl1/ip tcx,generic
        ip6tnl1:ip6tnl#769   | | tcx | ip6tnl1/ip tcx,generic
        sit1:sit#776         | | tcx | sit1/ip tcx,generic
        gre1:gre#778=p2p     | | tcx | gre1/ip tcx,generic chosen
        ip6gre1:ip6gre#823   | | tcx | ip6gre1/ip tcx,generic chosen
        ",
    );
}

#[test]
fn devices_that_no_guard_can_read_are_uncovered() {
    check(
        "
        gre1:gre#778         |                   | tcx | gre1?
        ipsec0:xfrm#65534    |                   | tcx | ipsec0?
        vti1:vti#768         |                   | tcx | vti1?
        vti2:vti6#769        |                   | tcx | vti2?
        ib0#32               |                   | tcx | ib0?
        bond0:bond#32 ib0#32>bond0 |             | tcx | ib0?; bond0?
        fw0#24               |                   | tcx | fw0?
        lr0#804              |                   | tcx | lr0?
        lowpan0:lowpan#825   |                   | tcx | lowpan0?
        pimreg#779           |                   | tcx | pimreg?
        amt0:amt#65534       |                   | tcx | amt0?
        wwan0:wwan#65534     |                   | tcx | wwan0?
        ovpn0:ovpn#65534     |                   | tcx | ovpn0?
        mhi0#519             |                   | tcx | mhi0?
        hdlc0#512            |                   | tcx | hdlc0?
        x0#999               |                   | tcx | x0?
        x0#65535             | x0.side=outside   | tcx | x0?
        # The operator knows that nothing is to be feared there.
        x0#999               | x0.side=inside    | tcx |
        ",
    );
}

#[test]
fn devices_that_never_carry_ip_need_no_guard() {
    check(
        "
        can0:can#280         | | tcx |
        vcan0:vcan#280       | | tcx |
        nlmon0:nlmon#824     | | tcx |
        vsockmon0:vsockmon#826 | | tcx |
        mon0#801             | | tcx |
        mon0#802             | | tcx |
        mon0#803             | | tcx |
        ",
    );
}
