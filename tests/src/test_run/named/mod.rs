//! A fixed table of packets, each with the design's verdict: the third opinion, for the day when
//! the kernel's build and the host's share a mistake.

mod builders;
mod policy;

use enforcer_ebpf::Reason::{UntrustedInterface as Untrusted, *};

pub(super) use builders::Named;
use builders::*;

use super::packet::Extension::{self, Authentication, Options};
use super::packet::{Packet, UDP_LITE};
use crate::lab::frames::{DOT1AD, DOT1Q, number::*};

/// The table.
pub(super) fn named() -> Vec<Named> {
    [
        transports(),
        headers(),
        tags(),
        addresses(),
        policy::peer_prefixes(),
        policy::peers(),
        policy::services(),
        policy::lo(),
        policy::forwarded(),
        policy::parents(),
        policy::macs(),
        policy::networks(),
        policy::others(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn transports() -> Vec<Named> {
    vec![
        lan("tcp over ipv4", v4(), Untrusted),
        lan("udp over ipv4", v4().protocol(UDP), Untrusted),
        lan("udp-lite over ipv4", v4().protocol(UDP_LITE), Untrusted),
        lan("sctp over ipv4", v4().protocol(SCTP), Untrusted),
        lan("tcp over ipv6", v6(), Untrusted),
        lan("udp over ipv6", v6().protocol(UDP), Untrusted),
        lan("udp-lite over ipv6", v6().protocol(UDP_LITE), Untrusted),
        lan("sctp over ipv6", v6().protocol(SCTP), Untrusted),
        lan("icmp", v4().protocol(ICMP), OtherProtocol),
        lan("gre", v4().protocol(GRE), OtherProtocol),
        lan("icmpv6", v6().protocol(ICMP_V6), OtherProtocol),
        lan("arp", Packet::other(0x0806, 9200), OtherProtocol),
        lan("802.3 with llc", Packet::other(0x0026, 9200), OtherProtocol),
    ]
}

fn headers() -> Vec<Named> {
    let chain = |headers: &[Extension]| v6().chain(headers);
    vec![
        lan("one word of options", v4().options(1), Untrusted),
        lan("ten words of options", v4().options(10), Untrusted),
        lan("first ipv4 fragment", v4().fragment(0, true), Untrusted),
        lan(
            "first fragment, options",
            v4().options(4).fragment(0, true),
            Untrusted,
        ),
        lan("later ipv4 fragment", v4().fragment(1480, true), Fragment),
        lan("ipv4 fragment at 8", v4().fragment(8, false), Fragment),
        lan("last ipv4 fragment", v4().fragment(65_528, false), Fragment),
        lan("hop-by-hop", chain(&[HOP]), Untrusted),
        lan("routing header", chain(&[ROUTES]), Untrusted),
        lan("destination options", chain(&[TO_END]), Untrusted),
        lan("ah, no check value", chain(&[Authentication(0)]), Untrusted),
        lan("ah, 12 bytes", chain(&[Authentication(3)]), Untrusted),
        lan("atomic fragment", chain(&[ATOMIC]), Untrusted),
        lan("first ipv6 fragment", chain(&[FIRST]), Untrusted),
        lan(
            "first fragment in a chain",
            chain(&[HOP, FIRST, TO_END]),
            Untrusted,
        ),
        lan(
            "later ipv6 fragment",
            Packet::tcp("2001:db8:77::2", "fd00:77::1", 9200).chain(&[HOP, LATER]),
            Fragment,
        ),
        lan(
            "one of each",
            chain(&[HOP, TO_END, ROUTES, ATOMIC, Authentication(1)]),
            Untrusted,
        ),
        lan("8 extension headers", chain(&[HOP; 8]), Untrusted),
        lan("9 extension headers", chain(&[HOP; 9]), HeaderChain),
        lan(
            "9 before icmpv6",
            chain(&[TO_END; 9]).protocol(ICMP_V6),
            HeaderChain,
        ),
        lan(
            "no next header",
            chain(&[HOP]).protocol(NO_NEXT_HEADER),
            OtherProtocol,
        ),
        lan(
            "three headers of 248 bytes",
            chain(&[Options(DESTINATION, 30); 3]),
            Untrusted,
        ),
    ]
}

fn tags() -> Vec<Named> {
    let tagged = |tags: &[(u16, u16)]| v4().tags(tags);
    vec![
        lan("priority tag", tagged(&[Q]), Untrusted),
        lan("four priority tags", v6().tags(&[Q, AD, AD, Q]), Untrusted),
        lan("five priority tags", tagged(&[Q; 5]), HeaderChain),
        lan("vlan", tagged(&[(DOT1Q, 1)]), Tagged),
        lan("provider vlan 4095", tagged(&[(DOT1AD, 4095)]), Tagged),
        lan(
            "vlan behind priority tags",
            tagged(&[Q, AD, (DOT1Q, 256)]),
            Tagged,
        ),
    ]
}

fn addresses() -> Vec<Named> {
    vec![
        lan("to 127.0.0.1", to("127.0.0.1", 9200), LoopbackAddress),
        lan(
            "to 127.255.255.255, any port",
            to("127.255.255.255", 22),
            LoopbackAddress,
        ),
        lan("from 127.0.0.1", from("127.0.0.1", 8080), LoopbackAddress),
        lan(
            "icmp to 127.0.0.1",
            to("127.0.0.1", 0).protocol(ICMP),
            LoopbackAddress,
        ),
        lan(
            "later fragment to 127.0.0.1",
            to("127.0.0.1", 0).fragment(8, true),
            LoopbackAddress,
        ),
        lan("to ::1", to("::1", 22), LoopbackAddress),
        lan(
            "from ::1 in a long chain",
            from("::1", 22).chain(&[HOP; 9]),
            LoopbackAddress,
        ),
        lan(
            "to v4-mapped 127.0.0.1",
            to("::ffff:127.0.0.1", 22),
            LoopbackAddress,
        ),
        lan(
            "to v4-compatible 127.0.0.1",
            to("::127.0.0.1", 22),
            Unregistered,
        ),
        lan(
            "to 126.255.255.255",
            to("126.255.255.255", 22),
            Unregistered,
        ),
        lan("to 8.8.8.8", to("8.8.8.8", 9200), Untrusted),
        lan("to a group", to("ff02::1", 9200).protocol(UDP), Untrusted),
    ]
}
