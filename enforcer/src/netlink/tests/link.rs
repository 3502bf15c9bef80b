//! RTM_NEWLINK messages as the kernel writes them, and as no kernel should.

use super::{
    super::framing::message,
    super::link::{Interface, MacvlanMode, XdpAttached, XdpMode, may_be_up, parse},
    attribute,
};

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

/// `struct ifinfomsg` and attributes.
fn link_message(link_type: u16, index: u32, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend_from_slice(&link_type.to_ne_bytes());
    bytes.extend_from_slice(&index.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&u32::MAX.to_ne_bytes());
    bytes.extend(attributes.concat());
    bytes
}

fn read(attributes: &[Vec<u8>]) -> Interface {
    let name = attribute(3, b"eth0\0");
    let all = [&[name], attributes].concat();
    parse(&link_message(1, 2, 1, &all)).unwrap()
}

/// IFLA_LINKINFO with a kind and data.
fn info(kind: &[u8], data: &[Vec<u8>]) -> Vec<u8> {
    let nested = [attribute(1, kind), attribute(2, &data.concat())];
    attribute(18, &nested.concat())
}

#[test]
fn the_fewest_attributes_make_an_interface() {
    let name = attribute(3, b"ib0\0");
    let expected = Interface {
        index: 7,
        name: "ib0".to_owned(),
        link_type: 32,
        ..Interface::default()
    };
    assert_eq!(parse(&link_message(32, 7, 0, &[name])).unwrap(), expected);
}

#[test]
fn promiscuity_counts_the_users() {
    assert!(!read(&[]).promiscuous);
    assert!(!read(&[number(30, 0)]).promiscuous);
    for users in [1, 2] {
        assert!(read(&[number(30, users)]).promiscuous);
    }
}

#[test]
fn flags_are_read_by_their_bits() {
    let name = [attribute(3, b"x\0")];
    let flags = |flags| {
        let it = parse(&link_message(1, 2, flags, &name)).unwrap();
        (it.up, it.loopback, it.point_to_point)
    };
    assert_eq!(flags(0x1), (true, false, false));
    assert_eq!(flags(0x8), (false, true, false));
    assert_eq!(flags(0x10), (false, false, true));
    // GRE to a multicast group has both.
    assert_eq!(flags(0x12), (false, false, false));
    // Running, no ARP and the rest say nothing.
    assert_eq!(flags(!0x19), (false, false, false));
}

#[test]
fn a_parent_in_another_namespace_is_none() {
    assert_eq!(read(&[number(5, 9)]).parent, Some(9));
    assert_eq!(read(&[number(5, 9), number(37, 0)]).parent, None);
    assert_eq!(read(&[number(37, 0), number(5, 9)]).parent, None);
    // Tunnels that are bound to no interface.
    assert_eq!(read(&[number(5, 0)]).parent, None);
    assert_eq!(read(&[number(10, 4)]).master, Some(4));
    assert_eq!(read(&[]).master, None);
}

#[test]
fn a_nic_names_the_device_behind_it() {
    assert!(read(&[attribute(56, b"0000:00:03.0\0")]).has_device);
    assert!(!read(&[]).has_device);
}

#[test]
fn a_mac_has_six_bytes() {
    let mac = [2, 0, 0, 0, 0, 1];
    assert_eq!(read(&[attribute(1, &mac)]).mac, Some(mac));
    assert_eq!(read(&[attribute(1, &[192, 0, 2, 1])]).mac, None);
    assert_eq!(read(&[attribute(1, &[0; 20])]).mac, None);
}

#[test]
fn a_vlan_device_keeps_its_tag_if_the_flag_is_off() {
    let flags = |flags: u32| attribute(2, &[flags.to_ne_bytes(), [0xff; 4]].concat());
    assert!(!read(&[info(b"vlan\0", &[flags(1)])]).keeps_tag);
    assert!(!read(&[info(b"vlan\0", &[flags(3)])]).keeps_tag);
    assert!(read(&[info(b"vlan\0", &[flags(0)])]).keeps_tag);
    assert!(read(&[info(b"vlan\0", &[flags(2)])]).keeps_tag);
    // The same attribute of another kind; and a kind without the NUL.
    let other = read(&[info(b"macvlan", &[flags(0)])]);
    assert_eq!(
        (other.kind.as_deref(), other.keeps_tag),
        (Some("macvlan"), false)
    );
}

#[test]
fn a_bridge_says_whether_netfilter_runs_on_its_members() {
    let nf_call = |kind: &[u8], options: &[(u16, u8)]| {
        let data: Vec<_> = options
            .iter()
            .map(|(it, on)| attribute(*it, &[*on]))
            .collect();
        read(&[info(kind, &data)]).nf_call
    };
    assert!(!nf_call(b"bridge\0", &[]));
    assert!(!nf_call(b"bridge\0", &[(36, 0), (37, 0), (38, 0)]));
    assert!(nf_call(b"bridge\0", &[(36, 1), (37, 0), (38, 0)]));
    assert!(nf_call(b"bridge\0", &[(36, 0), (37, 1), (38, 0)]));
    // The hooks of ARP, and another kind's attribute.
    assert!(!nf_call(b"bridge\0", &[(36, 0), (37, 0), (38, 1)]));
    assert!(!nf_call(b"vxlan\0", &[(36, 1), (37, 1)]));
}

#[test]
fn a_macvlan_device_has_a_mode() {
    use MacvlanMode::{ByDestination, Passthru, Source};
    let mode = |kind: &[u8], code: u32| read(&[info(kind, &[number(1, code)])]).macvlan_mode;
    let modes = [1, 2, 4, 8, 16].map(|code| mode(b"macvlan\0", code));
    let expected = [
        ByDestination,
        ByDestination,
        ByDestination,
        Passthru,
        Source,
    ];
    assert_eq!(modes, expected.map(Some));
    assert_eq!(mode(b"macvtap\0", 8), Some(Passthru));
    assert_eq!(mode(b"ipvlan\0", 8), None);
}

#[test]
fn a_vrf_has_a_table_and_a_tun_device_perhaps_packet_information() {
    let vrf = |kind: &[u8]| read(&[info(kind, &[number(1, 1001)])]).vrf_table;
    assert_eq!(vrf(b"vrf\0"), Some(1001));
    assert_eq!(vrf(b"macvlan\0"), None);
    let packet_info = |kind: &[u8], data: &[Vec<u8>]| read(&[info(kind, data)]).packet_info;
    assert!(packet_info(b"tun\0", &[attribute(4, &[1])]));
    assert!(!packet_info(b"tun\0", &[attribute(4, &[0])]));
    assert!(packet_info(b"tun\0", &[]), "unknown");
    assert!(!packet_info(b"gre\0", &[attribute(4, &[1])]));
}

#[test]
fn alternative_names_are_names() {
    // IFLA_PROP_LIST carries NLA_F_NESTED.
    let names = [attribute(53, b"wgoffice\0"), attribute(53, b"enp1s0\0")];
    let eth0 = read(&[attribute(52 | 0x8000, &names.concat())]);
    assert_eq!(eth0.alternative_names, ["wgoffice", "enp1s0"]);
    let found = ["eth0", "wgoffice", "enp1s0", "enp1s", ""].map(|name| eth0.is_named(name));
    assert_eq!(found, [true, true, true, false, false]);
    assert_eq!(read(&[]).alternative_names, [""; 0]);
}

#[test]
fn xdp_programs_are_seen_in_every_mode() {
    let xdp = |attributes: &[Vec<u8>]| read(&[attribute(43, &attributes.concat())]).xdp;
    let attached = |prog_id, mode| Some(XdpAttached { prog_id, mode });
    let mode = |code: u8| attribute(2, &[code]);
    assert_eq!(xdp(&[mode(0)]), None);
    assert_eq!(
        xdp(&[mode(1), number(4, 7)]),
        attached(Some(7), XdpMode::Native)
    );
    assert_eq!(
        xdp(&[number(4, 7), mode(2)]),
        attached(Some(7), XdpMode::Generic)
    );
    assert_eq!(
        xdp(&[mode(3), number(4, 7)]),
        attached(Some(7), XdpMode::Hardware)
    );
    assert_eq!(
        xdp(&[mode(4), number(5, 7)]),
        attached(None, XdpMode::Several)
    );
    assert_eq!(xdp(&[mode(9)]), attached(None, XdpMode::Several));
}

#[test]
fn unknown_attributes_and_odd_names_hide_nothing() {
    let interface = read(&[
        attribute(0x3fff, b"?"),
        number(10, 4),
        attribute(61, b"alt"),
    ]);
    assert_eq!(interface.master, Some(4));
    let name = attribute(3, b"eth\xff\0");
    let odd = parse(&link_message(1, 2, 1, &[name])).unwrap();
    assert_eq!(odd.name, "eth\u{fffd}ff");
}

#[test]
fn what_is_cut_short_is_an_error() {
    let whole = link_message(1, 2, 1, &[attribute(3, b"eth0\0"), info(b"veth\0", &[])]);
    assert!(parse(&whole).is_ok());
    for length in [0, 15, whole.len() - 1, whole.len() - 10] {
        assert!(parse(&whole[..length]).is_err(), "{length}");
    }
    assert!(parse(&link_message(1, 2, 1, &[])).is_err(), "no name");
    let name = attribute(3, b"eth0\0");
    assert!(
        parse(&link_message(1, 0, 1, &[name])).is_err(),
        "no ifindex"
    );
}

/// A notice: `struct nlmsghdr` and a link message.
fn notice(kind: u16, flags: u32) -> Vec<u8> {
    let body = link_message(1, 2, flags, &[attribute(3, b"eth0\0")]);
    message(kind, 0, 0, &body).unwrap()
}

#[test]
fn a_notice_tells_whether_an_interface_may_have_come_up() {
    const NEW: u16 = 16;
    const GONE: u16 = 17;
    let cases = [
        (notice(NEW, 1), true),
        (notice(NEW, 0x1043), true),
        (notice(NEW, 0x1002), false),
        (notice(GONE, 0), false),
        // The kernel leaves the flag on in the last words about some interfaces.
        (notice(GONE, 1), false),
        ([notice(NEW, 0), notice(GONE, 0)].concat(), false),
        ([notice(GONE, 0), notice(NEW, 1)].concat(), true),
        // Doubt counts as up.
        (notice(20, 0), true),
        (notice(NEW, 0)[..20].to_vec(), true),
        (message(NEW, 0, 0, &[0; 8]).unwrap(), true),
        (vec![1], true),
    ];
    for (notice, expected) in cases {
        assert_eq!(may_be_up(&notice), expected, "{notice:?}");
    }
}
