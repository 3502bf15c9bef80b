//! Packets of different fate under the policy: by source, port and interface.

use enforcer_ebpf::Reason::{UntrustedInterface as Untrusted, *};

use super::builders::{
    BROADCAST, CHILD_MAC, HOP, Named, Q, TO_END, from, fwd, lan, row, to, v4, v6, wg,
};
use crate::lab::frames::number::*;
use crate::test_run::network::On::*;
use crate::test_run::network::{LOCAL_V4, LOCAL_V6};
use crate::test_run::packet::{Packet, UDP_LITE};

pub(super) fn peer_prefixes() -> Vec<Named> {
    vec![
        wg("a /32 peer", from("10.10.0.5", 9090), Peer),
        wg("a /28 peer, last address", from("10.10.0.15", 9101), Peer),
        wg("one beyond the /28", from("10.10.0.16", 9090), UnknownPeer),
        wg(
            "a /12 peer",
            from("10.31.255.255", 8125).protocol(UDP),
            Peer,
        ),
        wg("a /25 peer", from("192.0.2.129", 9090), Peer),
        wg("below the /25", from("192.0.2.127", 9090), UnknownPeer),
        wg(
            "a narrow peer is in the wide one",
            from("10.10.0.5", 7200),
            Peer,
        ),
        wg("the wide peer alone", from("10.200.0.1", 7200), Peer),
        wg(
            "a peer of another service",
            from("10.200.0.1", 9090),
            UnknownPeer,
        ),
        wg("the wide peer alone, ipv6", from("fd99::1", 7200), Peer),
        wg("a /126 peer", from("fd00:31::7", 9090), Peer),
        wg("one beyond the /126", from("fd00:31::8", 9090), UnknownPeer),
        wg("a /48 peer", from("fd00:30:0:ffff::1", 9090), Peer),
        wg("a /128 peer", from("fd00:10::5", 9090).protocol(SCTP), Peer),
        wg(
            "a /64 peer",
            from("fd00:10::ffff:0:0:1", 8125).protocol(UDP_LITE),
            Peer,
        ),
        wg(
            "a /65 peer",
            from("fd00:20::7fff:ffff:ffff:ffff", 9090),
            Peer,
        ),
        wg(
            "one beyond the /65",
            from("fd00:20::8000:0:0:0", 9090),
            UnknownPeer,
        ),
    ]
}

/// Peers in other packets, at other services and on other interfaces.
pub(super) fn peers() -> Vec<Named> {
    vec![
        wg(
            "a v4-mapped peer's address",
            from("::ffff:10.10.0.5", 9090),
            UnknownPeer,
        ),
        wg(
            "a peer behind options",
            from("10.10.0.5", 9090).options(10),
            Peer,
        ),
        wg(
            "a peer behind a chain",
            from("fd00:10::5", 9090).chain(&[HOP, TO_END]),
            Peer,
        ),
        wg(
            "a peer behind priority tags",
            from("10.10.0.5", 9090).tags(&[Q, Q]),
            Peer,
        ),
        lan(
            "a peer's address from the LAN",
            from("10.10.0.5", 9090),
            Untrusted,
        ),
        wg(
            "a peer, and a localhost-only service",
            from("10.10.0.5", 9200),
            Untrusted,
        ),
        row(
            "the twin on its interface",
            Wg1,
            from("10.10.0.5", 7000),
            Peer,
        ),
        wg(
            "the twin's address on wg0",
            from("10.10.0.5", 7000),
            Untrusted,
        ),
        row("wg0's peer on wg1", Wg1, from("10.10.0.5", 9090), Untrusted),
        row("anyone", Any0, from("203.0.113.9", 7100), Peer),
        row("anyone, ipv6", Any0, from("::ffff:10.10.0.5", 7100), Peer),
    ]
}

pub(super) fn services() -> Vec<Named> {
    vec![
        lan("a public service", to("192.168.77.1", 8080), Public),
        wg(
            "a public service from a peer",
            from("10.10.0.5", 8443).protocol(UDP),
            Public,
        ),
        lan("unregistered port", to("192.168.77.1", 22), Unregistered),
        lan(
            "registered for another protocol",
            to("192.168.77.1", 8125),
            Unregistered,
        ),
        lan("port 0", to("192.168.77.1", 0), Unregistered),
        lan(
            "the port's bytes swapped",
            to("192.168.77.1", 9200_u16.swap_bytes()),
            Unregistered,
        ),
        lan("an audited service", to("192.168.77.1", 9300), Untrusted),
        wg(
            "an audited service's stranger",
            from("10.10.0.6", 9300),
            UnknownPeer,
        ),
        wg("an audited service's peer", from("10.10.0.5", 9300), Peer),
    ]
}

pub(super) fn lo() -> Vec<Named> {
    vec![
        row(
            "lo, registered",
            Lo,
            Packet::tcp("127.0.0.1", "127.0.0.1", 9200),
            Loopback,
        ),
        row(
            "lo, unregistered",
            Lo,
            Packet::tcp("::1", "::1", 22),
            Loopback,
        ),
        row("lo, too many headers", Lo, v6().chain(&[HOP; 9]), Loopback),
    ]
}

pub(super) fn forwarded() -> Vec<Named> {
    let forwarded = |port| Packet::tcp("10.10.0.5", "198.51.100.7", port);
    vec![
        fwd("only passing through", forwarded(9200), Forwarded),
        fwd(
            "only passing through, ipv6",
            Packet::tcp("fd00:77::2", "2001:db8:2::7", 9200),
            Forwarded,
        ),
        fwd(
            "passing through to a public port",
            forwarded(8080),
            Forwarded,
        ),
        lan(
            "passing through where nothing may",
            forwarded(9200),
            Untrusted,
        ),
        fwd("for this router", to(LOCAL_V4, 9200), Untrusted),
        fwd("for this router, ipv6", to(LOCAL_V6, 9200), Untrusted),
        fwd(
            "a peer for this router",
            Packet::tcp("10.10.0.5", LOCAL_V4, 7300),
            Peer,
        ),
        fwd("no route", to("203.0.113.1", 9200), Untrusted),
        fwd(
            "a loopback source that passes through",
            Packet::tcp("127.0.0.1", "198.51.100.7", 9200),
            LoopbackAddress,
        ),
    ]
}

/// Interfaces below a VLAN device or a macvlan child.
pub(super) fn parents() -> Vec<Named> {
    vec![
        row(
            "a vlan device's peer on the parent",
            Par0,
            from("10.10.0.5", 9090),
            Peer,
        ),
        row(
            "a stranger on the parent",
            Par0,
            from("10.10.0.99", 9090),
            UnknownPeer,
        ),
        row("for a macvlan child", Mac0, v4().to(CHILD_MAC), Tagged),
        row("for the child's parent", Mac0, v4(), Untrusted),
        row(
            "for all, on the child's parent",
            Mac0,
            v4().to(BROADCAST),
            Untrusted,
        ),
        lan(
            "for another, without children",
            v4().to(CHILD_MAC),
            Untrusted,
        ),
    ]
}
