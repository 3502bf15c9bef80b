//! Packets of different fate under the policy: by source, port and interface.

use enforcer_ebpf::Reason::{UntrustedInterface as Untrusted, *};

use super::builders::{
    BROADCAST, CHILD_MAC, HOP, ICMP, Named, Q, TO_END, from, fwd, lan, row, to, v4, v6, wg,
};
use crate::lab::frames::{DOT1Q, number::*};
use crate::test_run::network::On::*;
use crate::test_run::network::{LOCAL_V4, LOCAL_V6};
use crate::test_run::packet::{HOSTS_CHILD_MAC, PORTS_MAC, Packet, UDP_LITE};

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
        row("passing through wg0", Wg0, forwarded(9200), Forwarded),
        row("passing through a member", Mem0, forwarded(9200), Forwarded),
        row(
            "passing through where all is judged",
            All0,
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

/// Interfaces below a VLAN device or a master.
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
        row(
            "a member looks through VLAN tags",
            Mem0,
            v4().tags(&[(DOT1Q, 7)]),
            Untrusted,
        ),
        row(
            "the master's peer on a member",
            Mem0,
            from("10.10.0.5", 9090),
            Peer,
        ),
    ]
}

/// Frames for other MAC addresses than the interface's.
pub(super) fn macs() -> Vec<Named> {
    vec![
        row("for a macvlan child", Mac0, v4().to(CHILD_MAC), Forwarded),
        row(
            "for a macvlan child, at an address of the host",
            Mac0,
            to(LOCAL_V4, 9200).to(CHILD_MAC),
            Tagged,
        ),
        row(
            "for a macvlan child of the host",
            Mac0,
            to(LOCAL_V4, 9200).to(HOSTS_CHILD_MAC),
            Tagged,
        ),
        row(
            "for another interface of the host, on the child's parent",
            Mac0,
            v4().to(PORTS_MAC),
            Untrusted,
        ),
        lan(
            "for another interface of the host",
            v4().to(PORTS_MAC),
            Untrusted,
        ),
        row("for the child's parent", Mac0, v4(), Untrusted),
        row(
            "for all, on the child's parent",
            Mac0,
            v4().to(BROADCAST),
            Untrusted,
        ),
        lan("for another machine", v4().to(CHILD_MAC), Forwarded),
        lan(
            "for another machine, to no address",
            Packet::tcp("fd00:77::2", "::", 9200).to(CHILD_MAC),
            Forwarded,
        ),
        lan(
            "for another machine, at an address of the host",
            to(LOCAL_V4, 9200).to(CHILD_MAC),
            Untrusted,
        ),
    ]
}

/// Container networks.
pub(super) fn networks() -> Vec<Named> {
    vec![
        lan("to a container", to("10.88.5.9", 22), ContainerNetwork),
        lan(
            "to a container, ipv6",
            to("fd00:88::9", 9200),
            ContainerNetwork,
        ),
        lan(
            "ping to a container",
            to("10.88.5.9", 0).protocol(ICMP),
            ContainerNetwork,
        ),
        lan(
            "later fragment to a container",
            to("10.88.5.9", 0).fragment(8, false),
            ContainerNetwork,
        ),
        lan(
            "to the bridge's own address",
            to("10.88.0.1", 8080),
            ContainerNetwork,
        ),
        lan(
            "to a container, through another machine",
            to("10.88.5.9", 22).to(CHILD_MAC),
            Forwarded,
        ),
        lan(
            "to another interface's address in the subnet",
            to("10.88.0.7", 22),
            Unregistered,
        ),
        wg(
            "a peer of the network",
            Packet::tcp("10.10.0.5", "10.88.5.9", 22),
            Peer,
        ),
        wg(
            "a peer of no network",
            Packet::tcp("10.200.0.1", "10.88.5.9", 22),
            ContainerNetwork,
        ),
        row(
            "from container to container",
            Pod0,
            to("10.88.5.9", 22),
            Unregistered,
        ),
        row(
            "a registered port on the bridge",
            Pod0,
            to("10.88.0.1", 9200),
            Untrusted,
        ),
    ]
}

/// Unregistered ports, `on`, and fragments of another interface's peer.
pub(super) fn others() -> Vec<Named> {
    let init = |source| from(source, 22).protocol(SCTP);
    vec![
        lan(
            "an association to an unregistered port",
            init("192.168.77.2"),
            UnregisteredPort,
        ),
        wg("a peer of [unregistered]", init("10.10.0.5"), Peer),
        wg(
            "a peer of a service alone",
            init("10.200.0.1"),
            UnregisteredPort,
        ),
        row("the inside", Pod0, init("192.168.77.2"), Unregistered),
        row(
            "an association that passes through",
            Wg0,
            Packet::tcp("10.200.0.1", "198.51.100.7", 22).protocol(SCTP),
            Forwarded,
        ),
        lan("at the service's address", to(LOCAL_V4, 9400), Public),
        lan("at another address", to("192.168.77.1", 9400), Untrusted),
        lan("at another address, ipv6", to(LOCAL_V6, 9400), Untrusted),
        lan(
            "a fragment of wg0's peer on another interface",
            from("10.10.0.5", 0).fragment(8, false),
            UnknownPeer,
        ),
        wg(
            "a fragment of wg0's peer",
            from("10.10.0.5", 0).fragment(8, false),
            Fragment,
        ),
        row(
            "a fragment of wg0's peer where everyone is a peer",
            Any0,
            from("10.10.0.5", 0).fragment(8, false),
            Fragment,
        ),
        fwd(
            "a fragment of wg0's peer that passes through",
            Packet::tcp("10.10.0.5", "198.51.100.7", 0).fragment(8, true),
            Fragment,
        ),
    ]
}
