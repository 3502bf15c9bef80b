//! Messages of forwarding databases, routes, addresses and families.

use std::net::IpAddr;

use enforcer_ebpf::Protocol;

use super::{
    super::{
        address::{self, Address},
        fdb::{self, Taken},
        generic,
        route::{self, Kind, Query, Route, Transport},
    },
    attribute,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn only_addresses_that_an_interface_takes_count() {
    let entry = |state: u8, flags: u8, mac: &[u8], master: Option<u32>| {
        let mut bytes = vec![7, 0, 0, 0, 2, 0, 0, 0, state, 0, flags, 0];
        bytes.extend(attribute(2, mac));
        let master = master.map(|index| attribute(9, &index.to_ne_bytes()));
        bytes.extend(master.unwrap_or_default());
        fdb::parse(&bytes).unwrap()
    };
    let mac = [0x82, 6, 0x19, 0x8e, 0x8c, 0xdf];
    let taken = |ifindex, by_bridge| {
        Some(Taken {
            ifindex,
            mac,
            by_bridge,
        })
    };
    assert_eq!(entry(0x80, 0x02, &mac, None), taken(2, false));
    // A permanent local entry, of the port 2, is the bridge's.
    assert_eq!(entry(0x80, 0, &mac, Some(9)), taken(9, true));
    // A master's entries that are learned (reachable, stale) or static.
    for state in [0x02, 0x04, 0x40] {
        assert_eq!(entry(state, 0, &mac, Some(9)), None, "{state:#x}");
    }
    // Learned by a bridge; a multicast group; not Ethernet.
    assert_eq!(entry(0x80, 0x04, &mac, None), None);
    assert_eq!(entry(0x80, 0x02, &[0x33, 0x33, 0, 0, 0, 1], None), None);
    assert_eq!(entry(0x80, 0x02, &[0; 20], None), None);
    assert!(fdb::parse(&[7, 0, 0]).is_err());
}

#[test]
fn a_route_has_a_type_and_an_interface() {
    let message = |kind: u8, attributes: &[Vec<u8>]| {
        let header = vec![2, 32, 0, 0, 254, 2, 0, kind, 0, 0, 0, 0];
        route::parse(&[header, attributes.concat()].concat())
    };
    let oif = |index: u32| attribute(4, &index.to_ne_bytes());
    let found = message(1, &[attribute(1, &[192, 0, 2, 1]), oif(3)]).unwrap();
    let expected = Route {
        kind: Kind::Unicast,
        oif: Some(3),
        is_encapsulated: false,
    };
    assert_eq!(found, expected);
    // LWTUNNEL_ENCAP_SEG6 (linux/lwtunnel.h).
    let tunnelled = message(1, &[oif(3), attribute(21, &5u16.to_ne_bytes())]);
    assert!(tunnelled.unwrap().is_encapsulated);
    assert_eq!(message(2, &[oif(1)]).unwrap().kind, Kind::Local);
    assert_eq!(message(7, &[]).unwrap().kind, Kind::Other(7));
    assert_eq!(message(7, &[oif(0)]).unwrap().oif, None);
    assert!(message(1, &[oif(3)[..7].to_vec()]).is_err());
    assert!(route::parse(&[0; 11]).is_err());
}

#[test]
fn a_question_for_a_route_names_both_ends() {
    let query = Query {
        iif: Some(3),
        ..Query::of_host(ip("192.0.2.1"), Some(ip("198.51.100.7")))
    };
    let question = route::request(&query).unwrap();
    let expected = [
        vec![2, 32, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        attribute(1, &[192, 0, 2, 1]),
        attribute(2, &[198, 51, 100, 7]),
        attribute(3, &3u32.to_ne_bytes()),
    ];
    assert_eq!(question, expected.concat());
    let question = route::request(&Query::of_host(ip("2001:db8::1"), None)).unwrap();
    assert_eq!(question[..4], [10, 128, 0, 0]);
    assert_eq!(question.len(), 12 + 20);
    assert!(route::request(&Query::of_host(ip("192.0.2.1"), Some(ip("::1")))).is_err());
}

#[test]
fn a_question_for_a_route_names_the_ports() {
    let question = |protocol| {
        let transport = Transport {
            protocol,
            source: 49_152,
            destination: 9200,
        };
        let query = Query {
            transport: Some(transport),
            ..Query::of_host(ip("192.0.2.1"), None)
        };
        route::request(&query).unwrap().split_off(12 + 8)
    };
    let ports = [attribute(28, &[0xc0, 0]), attribute(29, &[0x23, 0xf0])].concat();
    for (protocol, number) in [(Protocol::Tcp, 6), (Protocol::Udp, 17)] {
        let expected = [attribute(27, &[number]), ports.clone()].concat();
        assert_eq!(question(protocol), expected, "{protocol}");
    }
    assert_eq!(question(Protocol::Sctp), ports);
}

#[test]
fn an_address_is_this_hosts_end() {
    let message = |family: u8, attributes: &[Vec<u8>]| {
        let header = vec![family, 24, 0, 0, 3, 0, 0, 0];
        address::parse(&[header, attributes.concat()].concat()).unwrap()
    };
    let found = |text| {
        Some(Address {
            ifindex: 3,
            ip: ip(text),
            prefix_length: 24,
        })
    };
    let (near, far) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let ends = [attribute(1, &far), attribute(2, &near)];
    assert_eq!(message(2, &ends), found("192.0.2.1"));
    assert_eq!(message(2, &ends[..1]), found("192.0.2.2"));
    assert_eq!(
        message(10, &[attribute(1, &ip_octets("2001:db8::1"))]),
        found("2001:db8::1")
    );
    // No address, one of another length, another family.
    assert_eq!(message(2, &[]), None);
    assert_eq!(message(10, &ends), None);
    assert_eq!(message(1, &ends), None);
    assert!(address::parse(&[0; 7]).is_err());
}

fn ip_octets(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

#[test]
fn a_family_has_a_name_and_a_number() {
    let header = generic::header(1, 2).to_vec();
    let name = attribute(2, b"wireguard\0");
    let number = attribute(1, &31u16.to_ne_bytes());
    let whole = [header.clone(), name.clone(), number].concat();
    let parsed = generic::parse_family(&whole).unwrap();
    assert_eq!(parsed, ("wireguard".to_owned(), 31));
    assert!(generic::parse_family(&[header, name].concat()).is_err());
    assert!(generic::parse_family(&[1, 2]).is_err());
}
