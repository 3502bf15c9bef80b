//! Named packets with their expected outcome, worked out by hand from the design: a third opinion,
//! for the day when both implementations share a mistake.

use enforcer_ebpf::{Link, Protocol, Reason};

use super::{
    Extension, Fragment, Frame, Ip, Spec,
    choices::{OWN_MAC, v6},
};

/// Transport protocol and destination port, or the reason for the lack of them.
type Outcome = Result<(Protocol, u16), Reason>;

pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) frame: Frame,
    pub(crate) expected: Outcome,
    pub(crate) loopback: bool,
}

/// The destination port of all named packets; in bytes 0x23f0.
pub(crate) const PORT: u16 = 9200;

const TCP: Outcome = Ok((Protocol::Tcp, PORT));
const UDP: Outcome = Ok((Protocol::Udp, PORT));
const SCTP: Outcome = Ok((Protocol::Sctp, PORT));
const OTHER: Outcome = Err(Reason::OtherProtocol);
const FRAGMENT: Outcome = Err(Reason::Fragment);
const CHAIN: Outcome = Err(Reason::HeaderChain);
const TAGGED: Outcome = Err(Reason::Tagged);

const HOP: Extension = Extension::Options(0, 0);
const ROUTING: Extension = Extension::Options(43, 2);
const DESTINATION: Extension = Extension::Options(60, 1);
const AUTH: Extension = Extension::Auth(3);
const ATOMIC: Extension = Extension::Fragment(Fragment::WHOLE);
const RESERVED: Extension = Extension::Fragment(Fragment::WHOLE.with_reserved_bits());
const FIRST: Extension = Extension::Fragment(Fragment::FIRST);
const LATER: Extension = Extension::Fragment(Fragment::LATER);

const Q: (u16, u16) = (0x8100, 0);
const AD: (u16, u16) = (0x88a8, 0);

pub(crate) fn named() -> Vec<Named> {
    [
        ipv4(),
        ipv4_fragments(),
        ipv6(),
        extension_headers(),
        fragment_headers(),
        chains(),
        tags(),
        link_layers(),
        loopbacks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn ipv4() -> Vec<Named> {
    vec![
        sample("tcp over ipv4", v4(6, 0, Fragment::WHOLE), TCP),
        sample("udp over ipv4", v4(17, 0, Fragment::WHOLE), UDP),
        sample("udp-lite over ipv4", v4(136, 0, Fragment::WHOLE), UDP),
        sample("sctp over ipv4", v4(132, 0, Fragment::WHOLE), SCTP),
        sample("icmp", v4(1, 0, Fragment::WHOLE), OTHER),
        sample("gre", v4(47, 0, Fragment::WHOLE), OTHER),
        sample("esp", v4(50, 0, Fragment::WHOLE), OTHER),
        sample("one word of options", v4(6, 1, Fragment::WHOLE), TCP),
        sample("all ten words of options", v4(17, 10, Fragment::WHOLE), UDP),
    ]
}

fn ipv4_fragments() -> Vec<Named> {
    vec![
        sample("first ipv4 fragment", v4(6, 0, Fragment::FIRST), TCP),
        sample(
            "first ipv4 fragment, options",
            v4(17, 4, Fragment::FIRST),
            UDP,
        ),
        sample("later ipv4 fragment", v4(6, 0, Fragment::LATER), FRAGMENT),
        sample(
            "last ipv4 fragment, offset 1",
            v4(6, 0, Fragment::LAST),
            FRAGMENT,
        ),
        sample(
            "ipv4 fragment, all bits of the offset",
            v4(6, 0, Fragment::at(0x1fff, false)),
            FRAGMENT,
        ),
        sample(
            "ipv4 fragment, top bit of the offset",
            v4(6, 0, Fragment::at(0x1000, false)),
            FRAGMENT,
        ),
    ]
}

fn ipv6() -> Vec<Named> {
    vec![
        sample("tcp over ipv6", v6s(6, &[]), TCP),
        sample("udp over ipv6", v6s(17, &[]), UDP),
        sample("udp-lite over ipv6", v6s(136, &[]), UDP),
        sample("sctp over ipv6", v6s(132, &[]), SCTP),
        sample("icmpv6", v6s(58, &[]), OTHER),
        sample("no next header", v6s(59, &[HOP]), OTHER),
        sample("mobility header", v6s(135, &[]), OTHER),
    ]
}

fn extension_headers() -> Vec<Named> {
    vec![
        sample("hop-by-hop", v6s(6, &[HOP]), TCP),
        sample("routing header", v6s(6, &[ROUTING]), TCP),
        sample("destination options", v6s(17, &[DESTINATION]), UDP),
        sample(
            "ah without a check value",
            v6s(6, &[Extension::Auth(0)]),
            TCP,
        ),
        sample("ah with 12 bytes", v6s(6, &[AUTH]), TCP),
        sample("the longest ah", v6s(6, &[Extension::Auth(254)]), TCP),
        sample(
            "8 times the longest options",
            v6s(6, &[Extension::Options(60, 255); 8]),
            TCP,
        ),
    ]
}

fn fragment_headers() -> Vec<Named> {
    vec![
        sample("atomic fragment", v6s(6, &[ATOMIC]), TCP),
        sample(
            "atomic fragment, reserved bits set",
            v6s(6, &[RESERVED]),
            TCP,
        ),
        sample(
            "evil bit",
            v4(6, 0, Fragment::WHOLE.with_reserved_bits()),
            TCP,
        ),
        sample("first ipv6 fragment", v6s(6, &[FIRST]), TCP),
        sample(
            "first ipv6 fragment behind options",
            v6s(17, &[HOP, DESTINATION, FIRST, AUTH]),
            UDP,
        ),
        sample("later ipv6 fragment", v6s(6, &[HOP, LATER]), FRAGMENT),
        sample(
            "first fragment of a later one",
            v6s(6, &[FIRST, LATER]),
            FRAGMENT,
        ),
        sample("atomic, then first fragment", v6s(6, &[ATOMIC, FIRST]), TCP),
    ]
}

fn chains() -> Vec<Named> {
    vec![
        sample(
            "one of each kind",
            v6s(6, &[HOP, DESTINATION, ROUTING, ATOMIC, AUTH]),
            TCP,
        ),
        sample("8 extension headers", v6s(6, &[HOP; 8]), TCP),
        sample("9 extension headers", v6s(6, &[HOP; 9]), CHAIN),
        sample(
            "9 extension headers before icmpv6",
            v6s(58, &[HOP; 9]),
            CHAIN,
        ),
        sample(
            "a later fragment as the 9th",
            v6s(6, &[HOP, HOP, HOP, HOP, HOP, HOP, HOP, HOP, LATER]),
            CHAIN,
        ),
    ]
}

fn tags() -> Vec<Named> {
    vec![
        sample("one priority tag", tagged(&[Q]), TCP),
        sample("four priority tags", tagged(&[Q, AD, AD, Q]), TCP),
        sample("five priority tags", tagged(&[Q; 5]), CHAIN),
        sample(
            "a vlan behind four priority tags",
            tagged(&[Q, Q, Q, Q, (0x8100, 256)]),
            TAGGED,
        ),
        sample("a vlan", tagged(&[(0x8100, 1)]), TAGGED),
        sample("vlan 4095 of a provider", tagged(&[(0x88a8, 4095)]), TAGGED),
        sample(
            "a vlan behind priority tags",
            tagged(&[Q, Q, (0x8100, 256)]),
            TAGGED,
        ),
    ]
}

fn link_layers() -> Vec<Named> {
    vec![
        sample("arp", plain(0x0806), OTHER),
        sample("802.3 with llc", plain(0x0026), OTHER),
        sample("raw tcp over ipv4", raw(v4(6, 0, Fragment::WHOLE)), TCP),
        sample("raw udp over ipv6", raw(v6s(17, &[HOP])), UDP),
        sample("raw priority tag", raw(tagged(&[Q])), TCP),
        sample("raw, four priority tags", raw(tagged(&[Q; 4])), TCP),
        sample("raw, five priority tags", raw(tagged(&[Q; 5])), CHAIN),
        sample(
            "raw vlan behind a tag",
            raw(tagged(&[Q, (0x8100, 9)])),
            TAGGED,
        ),
        sample(
            "raw tag with the nibble of ipv4",
            raw(with_control(0x4000)),
            TCP,
        ),
        sample(
            "raw tag with the nibble of ipv6",
            raw(with_control(0x6000)),
            CHAIN,
        ),
    ]
}

fn loopbacks() -> Vec<Named> {
    vec![
        loopback("from 127.0.0.1", [127, 0, 0, 1], [192, 168, 1, 2]),
        loopback("to 127.255.255.255", [192, 168, 1, 1], [127, 255, 255, 255]),
        loopback6("from ::1", "::1", "fd00:10::2"),
        loopback6("to v4-mapped 127.0.0.1", "fd00:10::1", "::ffff:127.0.0.1"),
    ]
}

fn sample(name: &'static str, spec: Spec, expected: Outcome) -> Named {
    Named {
        name,
        frame: spec.build(),
        expected,
        loopback: false,
    }
}

fn loopback(name: &'static str, source: [u8; 4], destination: [u8; 4]) -> Named {
    let mut spec = v4(6, 0, Fragment::WHOLE);
    spec.ip = Ip::V4 {
        addresses: (source, destination),
        options: 0,
        fragment: Fragment::WHOLE,
    };
    Named {
        name,
        frame: spec.build(),
        expected: Ok((Protocol::Tcp, PORT)),
        loopback: true,
    }
}

fn loopback6(name: &'static str, source: &str, destination: &str) -> Named {
    let mut spec = v6s(6, &[]);
    spec.ip = Ip::V6 {
        addresses: (v6(source), v6(destination)),
        flow: 0,
        extensions: Vec::new(),
    };
    Named {
        name,
        frame: spec.build(),
        expected: Ok((Protocol::Tcp, PORT)),
        loopback: true,
    }
}

fn v4(protocol: u8, options: usize, fragment: Fragment) -> Spec {
    let addresses = ([192, 168, 1, 1], [192, 168, 1, 2]);
    Spec {
        link: Link::Ethernet,
        tags: Vec::new(),
        ip: Ip::V4 {
            addresses,
            options,
            fragment,
        },
        protocol,
        port: PORT,
        mac: OWN_MAC,
        opens: true,
    }
}

fn v6s(protocol: u8, extensions: &[Extension]) -> Spec {
    let ip = Ip::V6 {
        addresses: (v6("fe80::1"), v6("fe80::2")),
        flow: 0,
        extensions: extensions.to_vec(),
    };
    Spec {
        ip,
        ..v4(protocol, 0, Fragment::WHOLE)
    }
}

fn tagged(tags: &[(u16, u16)]) -> Spec {
    Spec {
        // Priority and drop bits must not be taken for a part of the id.
        tags: tags.iter().map(|(kind, id)| (*kind, 0xb000 | id)).collect(),
        ..v4(6, 0, Fragment::WHOLE)
    }
}

/// A priority tag with these bits.
fn with_control(control: u16) -> Spec {
    Spec {
        tags: vec![(0x8100, control)],
        ..v4(6, 0, Fragment::WHOLE)
    }
}

fn plain(ethertype: u16) -> Spec {
    Spec {
        ip: Ip::None(ethertype),
        ..v4(0, 0, Fragment::WHOLE)
    }
}

fn raw(spec: Spec) -> Spec {
    Spec {
        link: Link::Ip,
        ..spec
    }
}
