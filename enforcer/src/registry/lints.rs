//! Lints: warnings about a valid registry that need facts about this host.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use enforcer_ebpf::Protocol;

use super::diagnostic::Fault;
use super::model::{Identity, Peer, PortRange, Registry, Service};
use super::report::{Diagnostics, Report};
use super::suggest::quoted;

/// UDP ports from which clients on the host send; the replies come to the same ports. Names are
/// from the IANA service name and port number registry.
const CLIENT_PORTS: [(u16, &str); 9] = [
    (53, "DNS"),
    (67, "DHCP server and relay"),
    (68, "DHCP client"),
    (123, "NTP"),
    (500, "IKE"),
    (546, "DHCPv6 client"),
    (4500, "IPsec NAT traversal"),
    (5353, "mDNS"),
    (5355, "LLMNR"),
];

/// Returns warnings about a valid registry on this host, in file order.
///
/// `ephemeral` is `/proc/sys/net/ipv4/ip_local_port_range`, which TCP, UDP and SCTP share.
/// `is_wireguard` returns whether an interface is a WireGuard device, or `None` if unknown; unknown
/// interfaces cause no warning.
pub fn lint(
    registry: &Registry,
    ephemeral: &RangeInclusive<u16>,
    is_wireguard: impl Fn(&str) -> Option<bool>,
) -> Diagnostics {
    let mut report = Report::default();
    // A public service drops nothing, so no reply either.
    for service in registry.services().iter().filter(|service| !service.public) {
        for range in &service.ranges {
            warn_of_ephemeral_ports(service, range, ephemeral, &mut report);
            warn_of_client_ports(service, range, &mut report);
        }
    }
    let allowed: BTreeSet<&String> = registry
        .services()
        .iter()
        .flat_map(|it| &it.allow)
        .collect();
    for peer in registry.peers() {
        if !allowed.contains(&peer.name) {
            report.warning(&peer.at, unused(peer));
        }
        let by_address = matches!(peer.identity, Identity::Addresses(_));
        if by_address && is_wireguard(&peer.interface) == Some(false) {
            report.warning(&peer.at, spoofable(peer));
        }
    }
    report.finish().1
}

fn warn_of_ephemeral_ports(
    service: &Service,
    range: &PortRange,
    ephemeral: &RangeInclusive<u16>,
    report: &mut Report,
) {
    let inside = PortRange {
        first: range.first.max(*ephemeral.start()),
        last: range.last.min(*ephemeral.end()),
        at: range.at.clone(),
    };
    if inside.first > inside.last {
        return;
    }
    let (ports, lie) = if inside.first == inside.last {
        ("port", "lies")
    } else {
        ("ports", "lie")
    };
    let protocols: Vec<&str> = service.protocols.iter().map(|it| it.name()).collect();
    let (low, high) = (ephemeral.start(), ephemeral.end());
    report.warning(
        &range.at,
        Fault::new(
            format!(
                "{} {ports} {inside} {lie} in the ephemeral range {low}-{high}",
                protocols.join(" and ")
            ),
            "this host's own connections use such ports: enforcer reserves them, but replies to an explicit bind or a NAT source port there are dropped; prefer a port outside",
        ),
    );
}

fn warn_of_client_ports(service: &Service, range: &PortRange, report: &mut Report) {
    if !service.protocols.contains(&Protocol::Udp) {
        return;
    }
    let hit: Vec<String> = CLIENT_PORTS
        .iter()
        .filter(|(port, _)| (range.first..=range.last).contains(port))
        .map(|(port, protocol)| format!("{port} ({protocol})"))
        .collect();
    let (ports, are) = match hit.len() {
        0 => return,
        1 => ("port", "is"),
        _ => ("ports", "are"),
    };
    report.warning(
        &range.at,
        Fault::new(
            format!("udp {ports} {} {are} also used by clients", hit.join(", ")),
            "replies to this host's own clients come to the same port, and would be dropped; allow the servers as peers, or leave the port out",
        ),
    );
}

fn unused(peer: &Peer) -> Fault {
    let name = quoted(&peer.name);
    Fault::new(
        format!("peer {name} is allowed by no service"),
        format!(
            "add it to the service that it may reach, `allow = [\"{}\"]`, or remove it",
            peer.name
        ),
    )
}

fn spoofable(peer: &Peer) -> Fault {
    Fault::new(
        format!(
            "peer {} is trusted by its address on {}, which is not WireGuard",
            quoted(&peer.name),
            quoted(&peer.interface)
        ),
        "any neighbour on that network can use the address; reach the service through WireGuard, or know that the network is trusted",
    )
}
