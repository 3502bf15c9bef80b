//! Lints: warnings about a valid registry that need facts about this host.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use enforcer_ebpf::Protocol;

use super::diagnostic::{Diagnostic, Fault, Severity};
use super::model::{Identity, Peer, PortRange, Registry, Service};
use super::name::pattern_matches;
use super::report::{Diagnostics, Report};
use super::suggest::quoted;

/// UDP ports from which clients on the host send; the replies come to the same ports. Names are
/// from the IANA service name and port number registry.
const CLIENT_PORTS: [(u16, &str); 13] = [
    (53, "DNS"),
    (67, "DHCP server and relay"),
    (68, "DHCP client"),
    (123, "NTP"),
    (137, "NetBIOS names"),
    (138, "NetBIOS datagrams"),
    (500, "IKE"),
    (546, "DHCPv6 client"),
    (1701, "L2TP"),
    (4500, "IPsec NAT traversal"),
    (5060, "SIP"),
    (5353, "mDNS"),
    (5355, "LLMNR"),
];

/// The TCP ports that the kernel's RPC clients bind, such as NFS mounts: `RPC_DEF_MIN_RESVPORT` and
/// `RPC_DEF_MAX_RESVPORT` (include/linux/sunrpc/xprtsock.h). An explicit bind ignores
/// `net.ipv4.ip_local_reserved_ports`.
const SUNRPC_PORTS: RangeInclusive<u16> = 665..=1023;

/// Facts about a host.
#[derive(Clone, Debug)]
pub struct HostFacts<'a> {
    /// `/proc/sys/net/ipv4/ip_local_port_range`, which TCP, UDP and SCTP share.
    pub ephemeral: RangeInclusive<u16>,
    /// The names of the interfaces, alternative names included, each with whether the interface is
    /// a WireGuard device. Absent interfaces cause no warning.
    pub interfaces: BTreeMap<&'a str, bool>,
    /// Warnings about interfaces of the host, made elsewhere.
    pub warnings: Vec<InterfaceWarning>,
}

/// A warning about an interface of the host, shown at the interface's table, else at a peer, else
/// for the first file.
#[derive(Clone, Debug)]
pub struct InterfaceWarning {
    /// The interface's name, then its alternative names.
    pub names: Vec<String>,
    /// The peer's name.
    pub peer: Option<String>,
    /// The fact.
    pub message: String,
    /// The proposed fix.
    pub help: String,
}

/// Returns warnings about a valid registry on this host, in file order.
pub fn lint(registry: &Registry, host: &HostFacts<'_>) -> Diagnostics {
    let mut report = Report::default();
    for service in registry.services() {
        for range in &service.ranges {
            warn_of_ephemeral_ports(service, range, &host.ephemeral, &mut report);
            warn_of_sunrpc_ports(service, range, &mut report);
            warn_of_client_ports(service, range, &mut report);
        }
    }
    let services = registry.services().iter().map(|service| &service.allow);
    let interfaces = registry.interfaces().iter().map(|table| &table.allow);
    let allows = services.chain(interfaces);
    let allows = allows.chain([&registry.unregistered().allow]);
    let allowed: BTreeSet<&str> = allows.flat_map(|allow| allow.names()).collect();
    for peer in registry.peers() {
        if !allowed.contains(peer.name.as_str()) {
            report.warning(&peer.at, unused(peer));
        }
        let mut matching = host.interfaces.iter();
        let exposed = matching
            .find(|(name, is_wireguard)| !**is_wireguard && pattern_matches(&peer.interface, name));
        if let (Identity::Addresses(_), Some((interface, _))) = (&peer.identity, exposed) {
            report.warning(&peer.at, spoofable(peer, interface));
        }
    }
    for warning in &host.warnings {
        warn_of_interface(registry, warning, &mut report);
    }
    report.finish().1
}

fn warn_of_interface(registry: &Registry, warning: &InterfaceWarning, report: &mut Report) {
    let fault = Fault::new(warning.message.as_str(), warning.help.as_str());
    let table = registry.interface_table(warning.names.iter().map(String::as_str));
    let peer = warning.peer.as_deref().and_then(|name| registry.peer(name));
    let at = table.map(|table| &table.at).or(peer.map(|peer| &peer.at));
    if let Some(at) = at {
        return report.warning(at, fault);
    }
    let services = registry.services().iter().map(|service| &service.at);
    // A registry has at least one service.
    if let Some(first) = services.min_by(|one, other| one.reading_order(other)) {
        report.push(Diagnostic::of_file(
            Severity::Warning,
            first.source(),
            fault,
        ));
    }
}

/// Returns the part of an item of `ports` within a range of other users, in words: "ports
/// 32768-33000 lie".
fn part_within(range: &PortRange, within: &RangeInclusive<u16>) -> Option<String> {
    let inside = PortRange {
        first: range.first.max(*within.start()),
        last: range.last.min(*within.end()),
        at: range.at.clone(),
    };
    if inside.first > inside.last {
        return None;
    }
    Some(match inside.first == inside.last {
        true => format!("port {inside} lies"),
        false => format!("ports {inside} lie"),
    })
}

/// Returns the fate of replies to this host's own clients at a port of a service.
const fn fate(service: &Service, dropped: &'static str) -> &'static str {
    match service.public {
        true => "count as packets of this public service",
        false => dropped,
    }
}

fn warn_of_ephemeral_ports(
    service: &Service,
    range: &PortRange,
    ephemeral: &RangeInclusive<u16>,
    report: &mut Report,
) {
    let Some(ports_lie) = part_within(range, ephemeral) else {
        return;
    };
    let protocols: Vec<&str> = service.protocols.iter().map(|it| it.name()).collect();
    let protocols = protocols.join(" and ");
    let (low, high) = (ephemeral.start(), ephemeral.end());
    report.warning(
        &range.at,
        Fault::new(
            format!("{protocols} {ports_lie} in the ephemeral range {low}-{high}"),
            format!(
                "this host's own connections use such ports: enforcer reserves them, but replies to an explicit bind or a NAT source port there {}; prefer a port outside",
                fate(service, "are dropped")
            ),
        ),
    );
}

fn warn_of_sunrpc_ports(service: &Service, range: &PortRange, report: &mut Report) {
    let Some(ports_lie) = part_within(range, &SUNRPC_PORTS) else {
        return;
    };
    if !service.protocols.contains(&Protocol::Tcp) {
        return;
    }
    let (low, high) = (SUNRPC_PORTS.start(), SUNRPC_PORTS.end());
    report.warning(
        &range.at,
        Fault::new(
            format!("tcp {ports_lie} in the range {low}-{high} of the kernel's NFS client (sunrpc)"),
            format!(
                "an NFS mount binds such a port whatever is reserved, and the server's replies there {}; prefer a port outside, or keep the client away with the sysctls sunrpc.min_resvport and sunrpc.max_resvport",
                fate(service, "would be dropped")
            ),
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
            format!(
                "replies to this host's own clients come to the same port, and {}; {}",
                fate(service, "would be dropped"),
                match service.public {
                    true => "leave the port out if none but this host's clients use it",
                    false => "allow the servers as peers, or leave the port out",
                }
            ),
        ),
    );
}

fn unused(peer: &Peer) -> Fault {
    let name = quoted(&peer.name);
    Fault::new(
        format!("peer {name} is in no `allow`"),
        format!(
            "add it to the service that it may reach, `allow = [\"{}\"]`, or remove it",
            peer.name
        ),
    )
}

/// A peer by address on an interface that is not WireGuard.
fn spoofable(peer: &Peer, interface: &str) -> Fault {
    let (name, on) = (quoted(&peer.name), quoted(&peer.interface));
    let which = match peer.interface == interface {
        true => "which is not WireGuard".to_owned(),
        false => format!("and {} is not WireGuard", quoted(interface)),
    };
    Fault::new(
        format!("peer {name} is trusted by its address on {on}, {which}"),
        "any neighbour on that network can use the address; reach the service through WireGuard, or know that the network is trusted",
    )
}
