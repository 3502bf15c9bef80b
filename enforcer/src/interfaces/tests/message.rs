//! Messages as the kernel writes them, and as it never should.

use super::super::facts::{Interface, XdpAttached, XdpMode};
use super::super::message::{Answers, link, listens_for};

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

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
    link(&link_message(1, 2, 1, &all)).unwrap()
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
    assert_eq!(link(&link_message(32, 7, 0, &[name])).unwrap(), expected);
}

#[test]
fn flags_are_read_by_their_bits() {
    let name = [attribute(3, b"x\0")];
    let flags = |flags| {
        let it = link(&link_message(1, 2, flags, &name)).unwrap();
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
        attribute(52, b"alt"),
    ]);
    assert_eq!(interface.master, Some(4));
    let name = attribute(3, b"eth\xff\0");
    let odd = link(&link_message(1, 2, 1, &[name])).unwrap();
    assert_eq!(odd.name, "eth\u{fffd}");
}

#[test]
fn what_is_cut_short_is_an_error() {
    let whole = link_message(1, 2, 1, &[attribute(3, b"eth0\0"), info(b"veth\0", &[])]);
    assert!(link(&whole).is_ok());
    for length in [0, 15, whole.len() - 1, whole.len() - 10] {
        assert!(link(&whole[..length]).is_err(), "{length}");
    }
    assert!(link(&link_message(1, 2, 1, &[])).is_err(), "no name");
    let name = attribute(3, b"eth0\0");
    assert!(link(&link_message(1, 0, 1, &[name])).is_err(), "no ifindex");
}

#[test]
fn only_a_devices_own_unicast_addresses_count() {
    let entry = |flags: u8, mac: &[u8]| {
        let mut bytes = vec![7, 0, 0, 0, 2, 0, 0, 0, 0x80, 0, flags, 0];
        bytes.extend(attribute(2, mac));
        listens_for(&bytes).unwrap()
    };
    let mac = [0x82, 6, 0x19, 0x8e, 0x8c, 0xdf];
    assert_eq!(entry(0x02, &mac), Some((2, mac)));
    // Learned by a bridge; a multicast group; not Ethernet.
    assert_eq!(entry(0x04, &mac), None);
    assert_eq!(entry(0x02, &[0x33, 0x33, 0, 0, 0, 1]), None);
    assert_eq!(entry(0x02, &[0; 20]), None);
    assert!(listens_for(&[7, 0, 0]).is_err());
}

const SEQUENCE: u32 = 5;
const WANTED: u16 = 16;
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// NLM_F_MULTI, and with it NLM_F_DUMP_INTR.
const MULTI: u16 = 2;
const INTERRUPTED: u16 = 2 | 16;

/// `struct nlmsghdr` and a payload.
fn answer(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// What was visited, and whether the answers are done and whole.
fn answered(datagrams: &[&[Vec<u8>]]) -> anyhow::Result<(Vec<Vec<u8>>, bool, bool)> {
    let mut answers = Answers::to(SEQUENCE);
    let mut seen = Vec::new();
    for datagram in datagrams {
        answers.read(&datagram.concat(), WANTED, |payload| {
            seen.push(payload.to_vec());
            Ok(())
        })?;
    }
    Ok((seen, answers.done, answers.whole))
}

#[test]
fn answers_come_in_several_datagrams_until_one_says_done() {
    let [a, b] = [b"a", b"b"].map(|it| answer(WANTED, MULTI, SEQUENCE, it));
    let done = answer(DONE, MULTI, SEQUENCE, &[0; 4]);
    let seen = vec![b"a".to_vec(), b"b".to_vec()];
    let one: &[Vec<u8>] = &[a.clone(), b.clone()];
    assert_eq!(answered(&[one]).unwrap(), (seen.clone(), false, true));
    let all = answered(&[one, std::slice::from_ref(&done)]).unwrap();
    assert_eq!(all, (seen, true, true));
    // Another question's answers, and other types, are none.
    let strays = [
        answer(WANTED, MULTI, SEQUENCE - 1, b"x"),
        answer(WANTED + 1, MULTI, SEQUENCE, b"x"),
        answer(DONE, INTERRUPTED, SEQUENCE - 1, &[0; 4]),
    ];
    assert_eq!(answered(&[&strays]).unwrap(), (vec![], false, true));
}

#[test]
fn an_interrupted_answer_spoils_the_list_wherever_it_says_so() {
    let link = |flags| answer(WANTED, flags, SEQUENCE, b"a");
    let done = |flags| answer(DONE, flags, SEQUENCE, &[0; 4]);
    let whole = |datagram: &[Vec<u8>]| answered(&[datagram]).unwrap().2;
    assert!(whole(&[link(MULTI), done(MULTI)]));
    assert!(!whole(&[link(INTERRUPTED), link(MULTI), done(MULTI)]));
    assert!(!whole(&[link(MULTI), done(INTERRUPTED)]));
}

#[test]
fn the_kernels_refusal_is_an_error() {
    let refusal = |kind, code: i32| {
        let refused = answer(kind, 0, SEQUENCE, &code.to_ne_bytes());
        answered(&[&[refused]]).unwrap_err().to_string()
    };
    assert!(refusal(ERROR, -1).contains("Operation not permitted"));
    assert!(refusal(DONE, -19).contains("No such device"));
    assert!(refusal(ERROR, 0).contains("acknowledged"));
    let cut = &answer(WANTED, MULTI, SEQUENCE, b"abcd")[..18];
    assert!(answered(&[&[cut.to_vec()]]).is_err());
}
