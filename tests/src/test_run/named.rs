//! A fixed table of packets, each with what the design says of it: the third opinion, for the day
//! when the kernel's build and the host's share a mistake.

use enforcer_ebpf::Reason::{self, *};

use super::network::On::{self, *};
use super::network::{LOCAL_V4, LOCAL_V6};
use super::packet::Extension::{self, Authentication, Fragment, Options};
use super::packet::{Packet, UDP_LITE};
use crate::lab::frames::{DOT1AD, DOT1Q, number::*};

/// A packet, where it arrives, and why it passes or is dropped.
pub(super) struct Named {
    pub(super) name: &'static str,
    pub(super) on: On,
    pub(super) packet: Packet,
    pub(super) reason: Reason,
}

const HOP: Extension = Options(HOP_BY_HOP, 0);
const ROUTES: Extension = Options(ROUTING, 2);
const TO_END: Extension = Options(DESTINATION, 1);
const ATOMIC: Extension = Fragment(0, false);
const FIRST: Extension = Fragment(0, true);
const LATER: Extension = Fragment(1480, true);

const Q: (u16, u16) = (DOT1Q, 0);
const AD: (u16, u16) = (DOT1AD, 0);
const ICMP: u8 = 1;
const GRE: u8 = 47;
const ICMP_V6: u8 = 58;
const NO_NEXT_HEADER: u8 = 59;
const CHILD_MAC: [u8; 6] = [2, 0, 0, 0, 0x7e, 9];
const BROADCAST: [u8; 6] = [0xff; 6];

/// To the localhost-only service, from the LAN.
fn v4() -> Packet {
    Packet::tcp("192.168.77.2", "192.168.77.1", 9200)
}

fn v6() -> Packet {
    Packet::tcp("fd00:77::2", "fd00:77::1", 9200)
}

fn from(source: &str, port: u16) -> Packet {
    let to = if source.contains(':') { "fd00:10::2" } else { "10.10.0.2" };
    Packet::tcp(source, to, port)
}

fn to(destination: &str, port: u16) -> Packet {
    let source = if destination.contains(':') { "fd00:77::2" } else { "192.168.77.2" };
    Packet::tcp(source, destination, port)
}

fn row(name: &'static str, on: On, packet: Packet, reason: Reason) -> Named {
    Named {
        name,
        on,
        packet,
        reason,
    }
}

/// The table.
pub(super) fn named() -> Vec<Named> {
    [transports(), headers(), tags(), addresses(), peers(), services(), places()]
        .into_iter()
        .flatten()
        .collect()
}

fn transports() -> Vec<Named> {
    vec![
        row("tcp over ipv4", Eth0, v4(), UntrustedInterface),
        row("udp over ipv4", Eth0, v4().protocol(UDP), UntrustedInterface),
        row("udp-lite over ipv4", Eth0, v4().protocol(UDP_LITE), UntrustedInterface),
        row("sctp over ipv4", Eth0, v4().protocol(SCTP), UntrustedInterface),
        row("tcp over ipv6", Eth0, v6(), UntrustedInterface),
        row("udp over ipv6", Eth0, v6().protocol(UDP), UntrustedInterface),
        row("udp-lite over ipv6", Eth0, v6().protocol(UDP_LITE), UntrustedInterface),
        row("sctp over ipv6", Eth0, v6().protocol(SCTP), UntrustedInterface),
        row("icmp", Eth0, v4().protocol(ICMP), OtherProtocol),
        row("gre", Eth0, v4().protocol(GRE), OtherProtocol),
        row("icmpv6", Eth0, v6().protocol(ICMP_V6), OtherProtocol),
        row("arp", Eth0, Packet::other(0x0806, 9200), OtherProtocol),
        row("802.3 with llc", Eth0, Packet::other(0x0026, 9200), OtherProtocol),
    ]
}

fn headers() -> Vec<Named> {
    let chain = |headers: &[Extension]| v6().chain(headers);
    vec![
        row("one word of options", Eth0, v4().options(1), UntrustedInterface),
        row("ten words of options", Eth0, v4().options(10), UntrustedInterface),
        row("first ipv4 fragment", Eth0, v4().fragment(0, true), UntrustedInterface),
        row("first fragment, options", Eth0, v4().options(4).fragment(0, true), UntrustedInterface),
        row("later ipv4 fragment", Eth0, v4().fragment(1480, true), Reason::Fragment),
        row("ipv4 fragment at 8", Eth0, v4().fragment(8, false), Reason::Fragment),
        row("last ipv4 fragment", Eth0, v4().fragment(65_528, false), Reason::Fragment),
        row("hop-by-hop", Eth0, chain(&[HOP]), UntrustedInterface),
        row("routing header", Eth0, chain(&[ROUTES]), UntrustedInterface),
        row("destination options", Eth0, chain(&[TO_END]), UntrustedInterface),
        row("ah, no check value", Eth0, chain(&[Authentication(0)]), UntrustedInterface),
        row("ah, 12 bytes", Eth0, chain(&[Authentication(3)]), UntrustedInterface),
        row("atomic fragment", Eth0, chain(&[ATOMIC]), UntrustedInterface),
        row("first ipv6 fragment", Eth0, chain(&[FIRST]), UntrustedInterface),
        row("first fragment in a chain", Eth0, chain(&[HOP, FIRST, TO_END]), UntrustedInterface),
        row("later ipv6 fragment", Eth0, chain(&[HOP, LATER]), Reason::Fragment),
        row("one of each", Eth0, chain(&[HOP, TO_END, ROUTES, ATOMIC, Authentication(1)]), UntrustedInterface),
        row("8 extension headers", Eth0, chain(&[HOP; 8]), UntrustedInterface),
        row("9 extension headers", Eth0, chain(&[HOP; 9]), HeaderChain),
        row("9 before icmpv6", Eth0, chain(&[TO_END; 9]).protocol(ICMP_V6), HeaderChain),
        row("no next header", Eth0, chain(&[HOP]).protocol(NO_NEXT_HEADER), OtherProtocol),
        row("a chain of 2 KiB headers", Eth0, chain(&[Options(DESTINATION, 30); 3]), UntrustedInterface),
    ]
}

fn tags() -> Vec<Named> {
    let tagged = |tags: &[(u16, u16)]| v4().tags(tags);
    vec![
        row("priority tag", Eth0, tagged(&[Q]), UntrustedInterface),
        row("four priority tags", Eth0, v6().tags(&[Q, AD, AD, Q]), UntrustedInterface),
        row("five priority tags", Eth0, tagged(&[Q; 5]), HeaderChain),
        row("vlan", Eth0, tagged(&[(DOT1Q, 1)]), Tagged),
        row("provider vlan 4095", Eth0, tagged(&[(DOT1AD, 4095)]), Tagged),
        row("vlan behind priority tags", Eth0, tagged(&[Q, AD, (DOT1Q, 256)]), Tagged),
    ]
}

fn addresses() -> Vec<Named> {
    vec![
        row("to 127.0.0.1", Eth0, to("127.0.0.1", 9200), LoopbackAddress),
        row("to 127.255.255.255, any port", Eth0, to("127.255.255.255", 22), LoopbackAddress),
        row("from 127.0.0.1", Eth0, from("127.0.0.1", 8080), LoopbackAddress),
        row("icmp to 127.0.0.1", Eth0, to("127.0.0.1", 0).protocol(ICMP), LoopbackAddress),
        row("later fragment to 127.0.0.1", Eth0, to("127.0.0.1", 0).fragment(8, true), LoopbackAddress),
        row("to ::1", Eth0, to("::1", 22), LoopbackAddress),
        row("from ::1 in a long chain", Eth0, from("::1", 22).chain(&[HOP; 9]), LoopbackAddress),
        row("to v4-mapped 127.0.0.1", Eth0, to("::ffff:127.0.0.1", 22), LoopbackAddress),
        row("to v4-compatible 127.0.0.1", Eth0, to("::127.0.0.1", 22), Unregistered),
        row("to 126.255.255.255", Eth0, to("126.255.255.255", 22), Unregistered),
        row("to 8.8.8.8", Eth0, to("8.8.8.8", 9200), UntrustedInterface),
        row("to a group", Eth0, to("ff02::1", 9200).protocol(UDP), UntrustedInterface),
    ]
}

fn peers() -> Vec<Named> {
    vec![
        row("a /32 peer", Wg0, from("10.10.0.5", 9090), Peer),
        row("a /28 peer, last address", Wg0, from("10.10.0.15", 9101), Peer),
        row("one beyond the /28", Wg0, from("10.10.0.16", 9090), UnknownPeer),
        row("a /12 peer", Wg0, from("10.31.255.255", 8125).protocol(UDP), Peer),
        row("a /25 peer", Wg0, from("192.0.2.129", 9090), Peer),
        row("below the /25", Wg0, from("192.0.2.127", 9090), UnknownPeer),
        row("a narrow peer is in the wide one", Wg0, from("10.10.0.5", 7200), Peer),
        row("the wide peer alone", Wg0, from("10.200.0.1", 7200), Peer),
        row("a peer of another service", Wg0, from("10.200.0.1", 9090), UnknownPeer),
        row("a /128 peer", Wg0, from("fd00:10::5", 9090).protocol(SCTP), Peer),
        row("a /64 peer", Wg0, from("fd00:10::ffff:0:0:1", 8125).protocol(UDP_LITE), Peer),
        row("a /65 peer", Wg0, from("fd00:20::7fff:ffff:ffff:ffff", 9090), Peer),
        row("one beyond the /65", Wg0, from("fd00:20::8000:0:0:0", 9090), UnknownPeer),
        row("a v4-mapped peer's address", Wg0, from("::ffff:10.10.0.5", 9090), UnknownPeer),
        row("a peer behind options", Wg0, from("10.10.0.5", 9090).options(10), Peer),
        row("a peer behind a chain", Wg0, from("fd00:10::5", 9090).chain(&[HOP, TO_END]), Peer),
        row("a peer behind priority tags", Wg0, from("10.10.0.5", 9090).tags(&[Q, Q]), Peer),
        row("a peer's address from the LAN", Eth0, from("10.10.0.5", 9090), UntrustedInterface),
        row("a peer, and a localhost-only service", Wg0, from("10.10.0.5", 9200), UntrustedInterface),
        row("the twin on its interface", Wg1, from("10.10.0.5", 7000), Peer),
        row("the twin's address on wg0", Wg0, from("10.10.0.5", 7000), UntrustedInterface),
        row("wg0's peer on wg1", Wg1, from("10.10.0.5", 9090), UntrustedInterface),
        row("anyone", Any0, from("203.0.113.9", 7100), Peer),
        row("anyone, ipv6", Any0, from("::ffff:10.10.0.5", 7100), Peer),
    ]
}

fn services() -> Vec<Named> {
    vec![
        row("a public service", Eth0, to("192.168.77.1", 8080), Public),
        row("a public service from a peer", Wg0, from("10.10.0.5", 8443).protocol(UDP), Public),
        row("unregistered port", Eth0, to("192.168.77.1", 22), Unregistered),
        row("registered for another protocol", Eth0, to("192.168.77.1", 8125), Unregistered),
        row("port 0", Eth0, to("192.168.77.1", 0), Unregistered),
        row("the port's bytes swapped", Eth0, to("192.168.77.1", 9200_u16.swap_bytes()), Unregistered),
        row("an audited service", Eth0, to("192.168.77.1", 9300), UntrustedInterface),
        row("an audited service's stranger", Wg0, from("10.10.0.6", 9300), UnknownPeer),
        row("an audited service's peer", Wg0, from("10.10.0.5", 9300), Peer),
    ]
}

fn places() -> Vec<Named> {
    let forwarded = |port| Packet::tcp("10.10.0.5", "198.51.100.7", port);
    vec![
        row("lo, registered", Lo, Packet::tcp("127.0.0.1", "127.0.0.1", 9200), Loopback),
        row("lo, unregistered", Lo, Packet::tcp("::1", "::1", 22), Loopback),
        row("lo, too many headers", Lo, v6().chain(&[HOP; 9]), Loopback),
        row("only passing through", Fwd0, forwarded(9200), Forwarded),
        row("only passing through, ipv6", Fwd0, Packet::tcp("fd00:77::2", "2001:db8:2::7", 9200), Forwarded),
        row("passing through to a public port", Fwd0, forwarded(8080), Forwarded),
        row("passing through where nothing may", Eth0, forwarded(9200), UntrustedInterface),
        row("for this router", Fwd0, to(LOCAL_V4, 9200), UntrustedInterface),
        row("for this router, ipv6", Fwd0, to(LOCAL_V6, 9200), UntrustedInterface),
        row("a peer for this router", Fwd0, Packet::tcp("10.10.0.5", LOCAL_V4, 7300), Peer),
        row("no route", Fwd0, to("203.0.113.1", 9200), UntrustedInterface),
        row("a loopback source that passes through", Fwd0, Packet::tcp("127.0.0.1", "198.51.100.7", 9200), LoopbackAddress),
        row("a vlan device's peer on the parent", Par0, from("10.10.0.5", 9090), Peer),
        row("a stranger on the parent", Par0, from("10.10.0.99", 9090), UnknownPeer),
        row("for a macvlan child", Mac0, v4().to(CHILD_MAC), Tagged),
        row("for the child's parent", Mac0, v4(), UntrustedInterface),
        row("for all, on the child's parent", Mac0, v4().to(BROADCAST), UntrustedInterface),
        row("for another, without children", Eth0, v4().to(CHILD_MAC), UntrustedInterface),
    ]
}
