//! A fixed table of packets with what the design says of each, worked out by hand: the third
//! opinion, for the day when both implementations share a mistake.

use enforcer_ebpf::{Link, Protocol, Reason};

use super::{Extension, Fragment, Frame, Ip, Spec, choices::v6};

pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) frame: Frame,
    pub(crate) expected: Result<(Protocol, u16), Reason>,
    pub(crate) loopback: bool,
}

/// The port that every named packet is for; in bytes 0x23f0.
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
        row("tcp over ipv4", v4(6, 0, Fragment::WHOLE), tcp),
        row("udp over ipv4", v4(17, 0, Fragment::WHOLE), udp),
        row("udp-lite over ipv4", v4(136, 0, Fragment::WHOLE), udp),
        row("sctp over ipv4", v4(132, 0, Fragment::WHOLE), sctp),
        row(
            "icmp",
            v4(1, 0, Fragment::WHOLE),
            Err(Reason::OtherProtocol),
        ),
        row(
            "gre",
            v4(47, 0, Fragment::WHOLE),
            Err(Reason::OtherProtocol),
        ),
        row(
            "esp",
            v4(50, 0, Fragment::WHOLE),
            Err(Reason::OtherProtocol),
        ),
        row("one word of options", v4(6, 1, Fragment::WHOLE), tcp),
        row("all ten words of options", v4(17, 10, Fragment::WHOLE), udp),
        row("first ipv4 fragment", v4(6, 0, Fragment::FIRST), tcp),
        row(
            "first ipv4 fragment, options",
            v4(17, 4, Fragment::FIRST),
            udp,
        ),
        row(
            "later ipv4 fragment",
            v4(6, 0, Fragment::LATER),
            Err(Reason::Fragment),
        ),
        row(
            "last ipv4 fragment, offset 1",
            v4(6, 0, Fragment::LAST),
            Err(Reason::Fragment),
        ),
        row(
            "ipv4 fragment, all bits of the offset",
            v4(6, 0, Fragment::at(0x1fff, false)),
            Err(Reason::Fragment),
        ),
        row(
            "ipv4 fragment, top bit of the offset",
            v4(6, 0, Fragment::at(0x1000, false)),
            Err(Reason::Fragment),
        ),
        row("tcp over ipv6", v6s(6, &[]), tcp),
        row("udp over ipv6", v6s(17, &[]), udp),
        row("udp-lite over ipv6", v6s(136, &[]), udp),
        row("sctp over ipv6", v6s(132, &[]), sctp),
        row("icmpv6", v6s(58, &[]), Err(Reason::OtherProtocol)),
        row(
            "no next header",
            v6s(59, &[HOP]),
            Err(Reason::OtherProtocol),
        ),
        row("mobility header", v6s(135, &[]), Err(Reason::OtherProtocol)),
        row("hop-by-hop", v6s(6, &[HOP]), tcp),
        row("routing header", v6s(6, &[ROUTING]), tcp),
        row("destination options", v6s(17, &[DESTINATION]), udp),
        row(
            "ah without a check value",
            v6s(6, &[Extension::Auth(0)]),
            tcp,
        ),
        row("ah with 12 bytes", v6s(6, &[AUTH]), tcp),
        row("the longest ah", v6s(6, &[Extension::Auth(254)]), tcp),
        row(
            "8 times the longest options",
            v6s(6, &[Extension::Options(60, 255); 8]),
            tcp,
        ),
        row("atomic fragment", v6s(6, &[ATOMIC]), tcp),
        row(
            "atomic fragment, reserved bits set",
            v6s(6, &[RESERVED]),
            tcp,
        ),
        row(
            "evil bit",
            v4(6, 0, Fragment::WHOLE.with_reserved_bits()),
            tcp,
        ),
        row("first ipv6 fragment", v6s(6, &[FIRST]), tcp),
        row(
            "first ipv6 fragment behind options",
            v6s(17, &[HOP, DESTINATION, FIRST, AUTH]),
            udp,
        ),
        row(
            "later ipv6 fragment",
            v6s(6, &[HOP, LATER]),
            Err(Reason::Fragment),
        ),
        row(
            "first fragment of a later one",
            v6s(6, &[FIRST, LATER]),
            Err(Reason::Fragment),
        ),
        row("atomic, then first fragment", v6s(6, &[ATOMIC, FIRST]), tcp),
        row(
            "one of each kind",
            v6s(6, &[HOP, DESTINATION, ROUTING, ATOMIC, AUTH]),
            tcp,
        ),
        row("8 extension headers", v6s(6, &[HOP; 8]), tcp),
        row(
            "9 extension headers",
            v6s(6, &[HOP; 9]),
            Err(Reason::HeaderChain),
        ),
        row(
            "9 extension headers before icmpv6",
            v6s(58, &[HOP; 9]),
            Err(Reason::HeaderChain),
        ),
        row(
            "a later fragment as the 9th",
            v6s(6, &[HOP, HOP, HOP, HOP, HOP, HOP, HOP, HOP, LATER]),
            Err(Reason::HeaderChain),
        ),
        row("one priority tag", tagged(&[Q]), tcp),
        row("four priority tags", tagged(&[Q, AD, AD, Q]), tcp),
        row(
            "five priority tags",
            tagged(&[Q; 5]),
            Err(Reason::HeaderChain),
        ),
        row("a vlan", tagged(&[(0x8100, 1)]), Err(Reason::Tagged)),
        row(
            "vlan 4095 of a provider",
            tagged(&[(0x88a8, 4095)]),
            Err(Reason::Tagged),
        ),
        row(
            "a vlan behind priority tags",
            tagged(&[Q, Q, (0x8100, 256)]),
            Err(Reason::Tagged),
        ),
        row("arp", plain(0x0806), Err(Reason::OtherProtocol)),
        row("802.3 with llc", plain(0x0026), Err(Reason::OtherProtocol)),
        row("raw tcp over ipv4", raw(v4(6, 0, Fragment::WHOLE)), tcp),
        row("raw udp over ipv6", raw(v6s(17, &[HOP])), udp),
        loopback("from 127.0.0.1", [127, 0, 0, 1], [192, 168, 1, 2]),
        loopback("to 127.255.255.255", [192, 168, 1, 1], [127, 255, 255, 255]),
        loopback6("from ::1", "::1", "fd00:10::2"),
        loopback6("to v4-mapped 127.0.0.1", "fd00:10::1", "::ffff:127.0.0.1"),
    ]
}

fn row(name: &'static str, spec: Spec, expected: Result<(Protocol, u16), Reason>) -> Named {
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
