//! Valid messages of the kernel, and malformed messages.

use std::net::IpAddr;

use super::super::{AllowedIps, parse::*};
use super::words;

/// NLA_F_NESTED of linux/netlink.h, set by the kernel.
const NESTED: u16 = 1 << 15;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &parts.concat())
}

fn allowed_ip(text: &str) -> Vec<u8> {
    let (address, length) = text.split_once('/').unwrap();
    let (family, octets) = match address.parse().unwrap() {
        IpAddr::V4(v4) => (2u16, v4.octets().to_vec()),
        IpAddr::V6(v6) => (10, v6.octets().to_vec()),
    };
    let parts = [
        attribute(3, &[length.parse().unwrap()]),
        attribute(1, &family.to_ne_bytes()),
        attribute(2, &octets),
    ];
    nested(0, &parts)
}

/// Returns a peer with further attributes of the kernel: preshared key, endpoint and so on.
fn peer(key: u8, allowed: &[&str]) -> Vec<u8> {
    let allowed: Vec<_> = allowed.iter().map(|text| allowed_ip(text)).collect();
    let mut parts = vec![
        attribute(1, &[key; 32]),
        attribute(2, &[0xee; 32]),
        attribute(4, &[2; 16]),
        attribute(6, &[0; 16]),
    ];
    if !allowed.is_empty() {
        parts.push(nested(9, &allowed));
    }
    parts.push(attribute(10, &1u32.to_ne_bytes()));
    nested(0, &parts)
}

fn answer(peers: &[Vec<u8>]) -> Vec<u8> {
    let parts = [
        vec![WG_CMD_GET_DEVICE, 1, 0, 0],
        ifindex(3).to_vec(),
        attribute(2, b"wg0\0"),
        attribute(3, &[0xaa; 32]),
        nested(8, peers),
    ];
    parts.concat()
}

fn read(messages: &[Vec<u8>]) -> anyhow::Result<AllowedIps> {
    let mut known = AllowedIps::default();
    for message in messages {
        device(message, &mut known)?;
    }
    Ok(known)
}

#[test]
fn keys_and_their_prefixes_are_read() {
    let peers = [
        peer(1, &["10.0.0.5/32", "fd00::5/128", "0.0.0.0/0"]),
        peer(2, &[]),
        peer(3, &["::/0"]),
    ];
    let words = words(&read(&[answer(&peers)]).unwrap());
    assert_eq!(words[&1], ["0.0.0.0/0", "10.0.0.5/32", "fd00::5/128"]);
    assert!(words[&2].is_empty());
    assert_eq!(words[&3], ["::/0"]);
    assert_eq!(words.len(), 3);
}

#[test]
fn a_device_without_peers_has_none() {
    let header = [&[WG_CMD_GET_DEVICE, 1, 0, 0][..], &ifindex(3)].concat();
    assert_eq!(read(&[header]).unwrap(), AllowedIps::default());
    assert_eq!(read(&[answer(&[])]).unwrap(), AllowedIps::default());
}

#[test]
fn a_peer_may_be_split_over_messages() {
    // Later messages begin with peers: the first alone has the device's attributes.
    let rest = [
        vec![WG_CMD_GET_DEVICE, 1, 0, 0],
        nested(8, &[peer(2, &["10.2.0.2/32"]), peer(3, &["10.3.0.0/16"])]),
    ];
    let first = answer(&[peer(1, &["10.1.0.0/16"]), peer(2, &["10.2.0.1/32"])]);
    let words = words(&read(&[first, rest.concat()]).unwrap());
    assert_eq!(words[&1], ["10.1.0.0/16"]);
    assert_eq!(words[&2], ["10.2.0.1/32", "10.2.0.2/32"]);
    assert_eq!(words[&3], ["10.3.0.0/16"]);
}

#[test]
fn host_bits_mean_nothing() {
    let words = words(&read(&[answer(&[peer(1, &["10.1.2.3/8"])])]).unwrap());
    assert_eq!(words[&1], ["10.0.0.0/8"]);
}

#[test]
fn what_the_kernel_never_says_is_refused() {
    let without_length = nested(
        0,
        &[attribute(1, &2u16.to_ne_bytes()), attribute(2, &[10; 4])],
    );
    let of = |allowed: Vec<u8>| nested(0, &[attribute(1, &[1; 32]), nested(9, &[allowed])]);
    let family = |family: u16, octets: &[u8], length: u8| {
        let parts = [
            attribute(1, &family.to_ne_bytes()),
            attribute(2, octets),
            attribute(3, &[length]),
        ];
        of(nested(0, &parts))
    };
    let bad = [
        vec![nested(0, &[attribute(2, &[1; 32])])],
        vec![nested(0, &[attribute(1, &[1; 31])])],
        vec![of(without_length)],
        vec![family(2, &[10; 4], 33)],
        vec![family(2, &[10; 16], 8)],
        vec![family(10, &[10; 4], 8)],
        vec![family(10, &[10; 16], 129)],
        vec![family(1, &[10; 4], 8)],
        vec![peer(1, &["10.0.0.0/8"]), peer(2, &["10.0.0.0/8"])],
    ];
    for (index, peers) in bad.iter().enumerate() {
        assert!(read(&[answer(peers)]).is_err(), "case {index}");
    }
    let mut other = answer(&[]);
    other[0] = 1;
    assert!(read(&[other]).is_err());
}

/// A cut is an error, or loses only attributes of no use: no peer or prefix is lost in silence.
#[test]
fn a_message_that_is_cut_short_never_loses_a_prefix() {
    let peers = [
        peer(1, &["10.1.0.0/16", "fd00::/64"]),
        peer(2, &["10.1.2.0/24"]),
    ];
    let whole = answer(&peers);
    let expected = read(std::slice::from_ref(&whole)).unwrap();
    let before_peers = whole.len() - nested(8, &peers).len();
    for cut in 0..whole.len() {
        match read(&[whole[..cut].to_vec()]) {
            // Attributes before the peers; netlink's message length detects such a cut.
            Ok(known) if cut <= before_peers => assert_eq!(known, AllowedIps::default()),
            Ok(known) => assert_eq!(known, expected, "cut at {cut}"),
            Err(_) => {}
        }
    }
}

#[test]
fn no_byte_makes_the_reader_panic() {
    let whole = answer(&[peer(1, &["10.1.0.0/16"]), peer(2, &["fd00::/64"])]);
    for index in 0..whole.len() {
        for value in 0..=u8::MAX {
            let mut message = whole.clone();
            message[index] = value;
            let _ = read(&[message]);
        }
    }
}
