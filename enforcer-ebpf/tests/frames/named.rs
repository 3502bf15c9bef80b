//! Named packets with their expected outcome, worked out by hand from the design: a third opinion,
//! for the day when both implementations share a mistake.

use enforcer_ebpf::{Link, Protocol, Reason};

use super::{Extension, Fragment, Frame, Ip, Spec, choices::v6};

pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) frame: Frame,
    pub(crate) expected: Result<(Protocol, u16), Reason>,
    pub(crate) loopback: bool,
}

/// The destination port of all named packets; in bytes 0x23f0.
pub(crate) const PORT: u16 = 9200;

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
    let tcp = Ok((Protocol::Tcp, PORT));
    let udp = Ok((Protocol::Udp, PORT));
    let sctp = Ok((Protocol::Sctp, PORT));
    vec![
        sample("tcp over ipv4", v4(6, 0, Fragment::WHOLE), tcp),
        sample("udp over ipv4", v4(17, 0, Fragment::WHOLE), udp),
        sample("udp-lite over ipv4", v4(136, 0, Fragment::WHOLE), udp),
        sample("sctp over ipv4", v4(132, 0, Fragment::WHOLE), sctp),
        sample(
            "icmp",
            v4(1, 0, Fragment::WHOLE),
            Err(Reason::OtherProtocol),
        ),
        sample(
            "gre",
            v4(47, 0, Fragment::WHOLE),
            Err(Reason::OtherProtocol),
        ),
        sample(
            "esp",
            v4(50, 0, Fragment::WHOLE),
            Err(Reason::OtherProtocol),
        ),
        sample("one word of options", v4(6, 1, Fragment::WHOLE), tcp),
        sample("all ten words of options", v4(17, 10, Fragment::WHOLE), udp),
        sample("first ipv4 fragment", v4(6, 0, Fragment::FIRST), tcp),
        sample(
            "first ipv4 fragment, options",
            v4(17, 4, Fragment::FIRST),
            udp,
        ),
        sample(
            "later ipv4 fragment",
            v4(6, 0, Fragment::LATER),
            Err(Reason::Fragment),
        ),
        sample(
            "last ipv4 fragment, offset 1",
            v4(6, 0, Fragment::LAST),
            Err(Reason::Fragment),
        ),
        sample(
            "ipv4 fragment, all bits of the offset",
            v4(6, 0, Fragment::at(0x1fff, false)),
            Err(Reason::Fragment),
        ),
        sample(
            "ipv4 fragment, top bit of the offset",
            v4(6, 0, Fragment::at(0x1000, false)),
            Err(Reason::Fragment),
        ),
        sample("tcp over ipv6", v6s(6, &[]), tcp),
        sample("udp over ipv6", v6s(17, &[]), udp),
        sample("udp-lite over ipv6", v6s(136, &[]), udp),
        sample("sctp over ipv6", v6s(132, &[]), sctp),
        sample("icmpv6", v6s(58, &[]), Err(Reason::OtherProtocol)),
        sample(
            "no next header",
            v6s(59, &[HOP]),
            Err(Reason::OtherProtocol),
        ),
        sample("mobility header", v6s(135, &[]), Err(Reason::OtherProtocol)),
        sample("hop-by-hop", v6s(6, &[HOP]), tcp),
        sample("routing header", v6s(6, &[ROUTING]), tcp),
        sample("destination options", v6s(17, &[DESTINATION]), udp),
        sample(
            "ah without a check value",
            v6s(6, &[Extension::Auth(0)]),
            tcp,
        ),
        sample("ah with 12 bytes", v6s(6, &[AUTH]), tcp),
        sample("the longest ah", v6s(6, &[Extension::Auth(254)]), tcp),
        sample(
            "8 times the longest options",
            v6s(6, &[Extension::Options(60, 255); 8]),
            tcp,
        ),
        sample("atomic fragment", v6s(6, &[ATOMIC]), tcp),
        sample(
            "atomic fragment, reserved bits set",
            v6s(6, &[RESERVED]),
            tcp,
        ),
        sample(
            "evil bit",
            v4(6, 0, Fragment::WHOLE.with_reserved_bits()),
            tcp,
        ),
        sample("first ipv6 fragment", v6s(6, &[FIRST]), tcp),
        sample(
            "first ipv6 fragment behind options",
            v6s(17, &[HOP, DESTINATION, FIRST, AUTH]),
            udp,
        ),
        sample(
            "later ipv6 fragment",
            v6s(6, &[HOP, LATER]),
            Err(Reason::Fragment),
        ),
        sample(
            "first fragment of a later one",
            v6s(6, &[FIRST, LATER]),
            Err(Reason::Fragment),
        ),
        sample("atomic, then first fragment", v6s(6, &[ATOMIC, FIRST]), tcp),
        sample(
            "one of each kind",
            v6s(6, &[HOP, DESTINATION, ROUTING, ATOMIC, AUTH]),
            tcp,
        ),
        sample("8 extension headers", v6s(6, &[HOP; 8]), tcp),
        sample(
            "9 extension headers",
            v6s(6, &[HOP; 9]),
            Err(Reason::HeaderChain),
        ),
        sample(
            "9 extension headers before icmpv6",
            v6s(58, &[HOP; 9]),
            Err(Reason::HeaderChain),
        ),
        sample(
            "a later fragment as the 9th",
            v6s(6, &[HOP, HOP, HOP, HOP, HOP, HOP, HOP, HOP, LATER]),
            Err(Reason::HeaderChain),
        ),
        sample("one priority tag", tagged(&[Q]), tcp),
        sample("four priority tags", tagged(&[Q, AD, AD, Q]), tcp),
        sample(
            "five priority tags",
            tagged(&[Q; 5]),
            Err(Reason::HeaderChain),
        ),
        sample("a vlan", tagged(&[(0x8100, 1)]), Err(Reason::Tagged)),
        sample(
            "vlan 4095 of a provider",
            tagged(&[(0x88a8, 4095)]),
            Err(Reason::Tagged),
        ),
        sample(
            "a vlan behind priority tags",
            tagged(&[Q, Q, (0x8100, 256)]),
            Err(Reason::Tagged),
        ),
        sample("arp", plain(0x0806), Err(Reason::OtherProtocol)),
        sample("802.3 with llc", plain(0x0026), Err(Reason::OtherProtocol)),
        sample("raw tcp over ipv4", raw(v4(6, 0, Fragment::WHOLE)), tcp),
        sample("raw udp over ipv6", raw(v6s(17, &[HOP])), udp),
        loopback("from 127.0.0.1", [127, 0, 0, 1], [192, 168, 1, 2]),
        loopback("to 127.255.255.255", [192, 168, 1, 1], [127, 255, 255, 255]),
        loopback6("from ::1", "::1", "fd00:10::2"),
        loopback6("to v4-mapped 127.0.0.1", "fd00:10::1", "::ffff:127.0.0.1"),
    ]
}

fn sample(name: &'static str, spec: Spec, expected: Result<(Protocol, u16), Reason>) -> Named {
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
    }
}

fn v6s(protocol: u8, extensions: &[Extension]) -> Spec {
    let ip = Ip::V6 {
        addresses: (v6("fe80::1"), v6("fe80::2")),
        extensions: extensions.to_vec(),
    };
    Spec {
        ip,
        ..v4(protocol, 0, Fragment::WHOLE)
    }
}

fn tagged(tags: &[(u16, u16)]) -> Spec {
    Spec {
        tags: tags.to_vec(),
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
