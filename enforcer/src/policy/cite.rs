//! Registry lines behind a decision, for `explain`.

use std::net::IpAddr;

use enforcer_ebpf::{Decision, Mode, Reason, Verdict};
use serde::Serialize;

use super::tables::PacketSpec;
use crate::registry::{Registry, Service, Span};

/// A registry line that contributed to a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Citation {
    /// The path of the file, as the operator gave the path.
    pub file: String,
    /// The line number, from 1.
    pub line: usize,
    /// The entry on the line, such as "allow of grafana".
    pub what: String,
}

/// Returns the registry lines that led to a decision, the deciding line first.
///
/// The list is empty where no line contributed: every packet on lo passes, a loopback address on
/// the wire is dropped, and an unregistered port is open. `peer` is the name of the granting peer.
pub fn cite(
    registry: &Registry,
    spec: &PacketSpec,
    interface: &str,
    decision: &Decision,
    peer: Option<&str>,
) -> Vec<Citation> {
    let mut cited = Cited::default();
    let service = service_of(registry, spec);
    match (decision.reason, service) {
        (Reason::Forwarded, _) => {
            let table = registry.interface_table(interface);
            let at = table.and_then(|table| table.forward_at.as_ref());
            cited.add(at, || format!("forward of {interface}"));
        }
        (Reason::UnregisteredPort, _) => {
            let at = registry.unregistered().action_at(spec.protocol);
            cited.add(at, || format!("{} of [unregistered]", spec.protocol));
        }
        (Reason::Peer, None) => {
            let allow = &registry.unregistered().allow;
            let allowed = peer.and_then(|peer| allow.at_of(peer));
            cited.add(allowed, || "allow of [unregistered]".to_owned());
            cited.add_peer(registry, peer);
        }
        (Reason::Public, Some(service)) => {
            cited.add(service.public_at.as_ref(), || {
                format!("public of {}", service.name)
            });
        }
        (Reason::Peer, Some(service)) => {
            let allowed = peer.and_then(|peer| service.allow.at_of(peer));
            cited.add(allowed.or(service.allow.at.as_ref()), || {
                format!("allow of {}", service.name)
            });
            cited.add_peer(registry, peer);
        }
        (Reason::UnknownPeer | Reason::UntrustedInterface, Some(service)) => {
            cited.add(port_of(service, spec.port), || {
                format!("port {} of {}", spec.port, service.name)
            });
            match covers(service, spec) {
                true => cited.add(service.allow.at.as_ref(), || {
                    format!("allow of {}", service.name)
                }),
                false => cited.add(service.on_at.as_ref(), || format!("on of {}", service.name)),
            }
        }
        _ => {}
    }
    if decision.audited && decision.verdict() == Verdict::Drop {
        cited.add_mode(registry, service, decision.reason);
    }
    cited.0
}

/// Returns whether a drop comes before the look at the port's service.
const fn is_before_services(reason: Reason) -> bool {
    matches!(reason, Reason::LoopbackAddress | Reason::ContainerNetwork)
}

fn service_of<'a>(registry: &'a Registry, spec: &PacketSpec) -> Option<&'a Service> {
    let address = spec.destination.map(IpAddr::from);
    let at_address = registry.service_at(spec.protocol, spec.port, address);
    // Where no `on` covers the address, the first service of the port is cited.
    at_address.or_else(|| {
        let mut services = registry.services().iter();
        services.find(|service| service.ports.contains(&(spec.protocol, spec.port)))
    })
}

/// Returns whether a service holds its ports at the packet's destination.
fn covers(service: &Service, spec: &PacketSpec) -> bool {
    let address = spec.destination.map(IpAddr::from);
    service.on.is_empty() || address.is_some_and(|address| service.on.contains_key(&address))
}

/// Returns the span of the range that holds a port of a service.
fn port_of(service: &Service, port: u16) -> Option<&Span> {
    let mut ranges = service.ranges.iter();
    let range = ranges.find(|range| (range.first..=range.last).contains(&port))?;
    Some(&range.at)
}

#[derive(Default)]
struct Cited(Vec<Citation>);

impl Cited {
    /// Adds the line of a peer.
    fn add_peer(&mut self, registry: &Registry, peer: Option<&str>) {
        if let Some(peer) = peer.and_then(|name| registry.peer(name)) {
            self.add(Some(&peer.at), || format!("peer {}", peer.name));
        }
    }

    /// Adds the line that made a drop an audited one.
    fn add_mode(&mut self, registry: &Registry, service: Option<&Service>, reason: Reason) {
        match service.and_then(|service| Some((service, service.mode_at.as_ref()?))) {
            // Rules 2 and 4 do not ask for the service.
            Some((service, at)) if !is_before_services(reason) => {
                self.add(Some(at), || format!("mode of {}", service.name));
            }
            // A container network and `[unregistered]` have modes of their own.
            _ if registry.mode() == Mode::Audit => {
                self.add(registry.mode_at(), || "mode".to_owned());
            }
            _ => {}
        }
    }

    /// Adds a citation if the entry has a span.
    fn add(&mut self, at: Option<&Span>, what: impl FnOnce() -> String) {
        if let Some(at) = at {
            self.0.push(Citation {
                file: at.file().to_owned(),
                line: at.line(),
                what: what(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use enforcer_ebpf::{Guard, Protocol, Route};

    use super::*;
    use crate::{
        policy::{PolicyHost, PolicyInterface, Slots, compile},
        printable::decode_path,
        registry::{Reader, Source, load},
    };

    const REGISTRY: &str = r#"mode = "audit"
[services.grafana]
ports = [
    2999,
    "3000-3001",
]
allow = [
    "collector",
    "office",
]
[services.redis]
ports = [6379]
[services.statsd]
ports = [8125]
protocol = "udp"
mode = "audit"
[services.traefik]
public = true
ports = [8443]
[services.strict]
ports = [9100]
mode = "enforce"
allow = ["office"]
[peers.collector]
interface = "wg0"
addresses = ["10.10.0.5"]
[peers.office]
interface = "wg0"
addresses = ["10.10.0.0/28"]
[interfaces."wg*"]
forward = true
[services.minio]
ports = [9000]
on = ["192.168.1.10"]
allow = ["office"]
[services.backup]
ports = [9000]
on = ["192.168.1.11"]
mode = "enforce"
[unregistered]
sctp = "drop"
"#;

    struct Packet {
        interface: &'static str,
        source: &'static str,
        protocol: Protocol,
        port: u16,
        destination: Option<&'static str>,
        forwarded: bool,
    }

    const fn packet(interface: &'static str, source: &'static str, port: u16) -> Packet {
        Packet {
            interface,
            source,
            protocol: Protocol::Tcp,
            port,
            destination: None,
            forwarded: false,
        }
    }

    fn cited(packet: &Packet) -> Vec<String> {
        cited_under(REGISTRY, packet)
    }

    /// Returns the citations for a packet as `line entry`, and checks that all name one file.
    fn cited_under(registry: &str, packet: &Packet) -> Vec<String> {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        file.write_all(registry.as_bytes()).unwrap();
        let registry = load(&Source::Named(file.path().to_owned()), &Reader::NAMED).unwrap();
        let registry = registry.registry;
        let attachments = [("eth0", 10), ("wg0", 11)].map(|(name, ifindex)| PolicyInterface {
            ifindex,
            name: name.to_owned(),
            ..PolicyInterface::default()
        });
        let tables = compile(&registry, &PolicyHost::of(&attachments), &Slots::new()).unwrap();
        let ifindex = match packet.interface {
            "lo" => 1,
            "eth0" => 10,
            _ => 11,
        };
        let address = |text: &str| text.parse::<IpAddr>().unwrap().into();
        let spec = PacketSpec {
            guard: Guard::Wire,
            ifindex,
            loopback: ifindex == 1,
            source: address(packet.source),
            destination: packet.destination.map(address),
            protocol: packet.protocol,
            port: packet.port,
            route: if packet.forwarded {
                Route::Back
            } else {
                Route::Here
            },
            opens: true,
        };
        let decision = tables.judge(&spec);
        let peer = match decision.reason {
            Reason::Peer => tables.granting_peer(&spec),
            _ => None,
        };
        let name = peer.map(|peer| peer.name.as_str());
        let found = cite(&registry, &spec, packet.interface, &decision, name);
        let is_ours = |citation: &Citation| citation.file == decode_path(file.path());
        assert!(found.iter().all(is_ours));
        found
            .into_iter()
            .map(|citation| format!("{} {}", citation.line, citation.what))
            .collect()
    }

    #[test]
    fn a_peer_is_let_in_by_the_item_that_names_it() {
        assert_eq!(
            cited(&packet("wg0", "10.10.0.5", 3001)),
            ["8 allow of grafana", "24 peer collector"]
        );
        assert_eq!(
            cited(&packet("wg0", "10.10.0.6", 2999)),
            ["9 allow of grafana", "27 peer office"]
        );
    }

    #[test]
    fn a_drop_is_for_the_port_and_for_whom_alone_it_is_there() {
        assert_eq!(
            cited(&packet("wg0", "10.10.0.99", 9100)),
            ["21 port 9100 of strict", "23 allow of strict"]
        );
        assert_eq!(
            cited(&packet("eth0", "10.10.0.5", 3000)),
            ["5 port 3000 of grafana", "7 allow of grafana", "1 mode"]
        );
    }

    #[test]
    fn what_is_only_counted_is_so_by_the_nearest_mode() {
        assert_eq!(
            cited(&packet("eth0", "192.0.2.1", 6379)),
            ["12 port 6379 of redis", "1 mode"]
        );
        let statsd = Packet {
            protocol: Protocol::Udp,
            ..packet("eth0", "192.0.2.1", 8125)
        };
        assert_eq!(
            cited(&statsd),
            ["14 port 8125 of statsd", "16 mode of statsd"]
        );
        // Rule 2 follows the global mode, whatever the port.
        let looped = Packet {
            destination: Some("127.0.0.1"),
            ..statsd
        };
        assert_eq!(cited(&looped), ["1 mode"]);
    }

    #[test]
    fn public_and_forwarded_have_a_line_each() {
        assert_eq!(
            cited(&packet("eth0", "192.0.2.1", 8443)),
            ["18 public of traefik"]
        );
        let passing = Packet {
            forwarded: true,
            destination: Some("203.0.113.9"),
            ..packet("wg0", "10.10.0.99", 6379)
        };
        assert_eq!(cited(&passing), ["31 forward of wg0"]);
    }

    #[test]
    fn the_service_at_the_destination_is_cited_or_the_on_that_leaves_it_out() {
        let at = |interface, destination| Packet {
            destination: Some(destination),
            ..packet(interface, "10.10.0.6", 9000)
        };
        assert_eq!(
            cited(&at("wg0", "192.168.1.10")),
            ["35 allow of minio", "27 peer office"]
        );
        assert_eq!(
            cited(&at("eth0", "192.168.1.10")),
            ["33 port 9000 of minio", "35 allow of minio", "1 mode"]
        );
        assert_eq!(
            cited(&at("wg0", "192.168.1.11")),
            ["37 port 9000 of backup"]
        );
        assert_eq!(
            cited(&at("wg0", "192.168.1.12")),
            ["37 port 9000 of backup", "38 on of backup"]
        );
    }

    #[test]
    fn a_port_of_no_service_is_closed_by_the_action_of_its_protocol() {
        let sctp = Packet {
            protocol: Protocol::Sctp,
            ..packet("eth0", "192.0.2.1", 22)
        };
        assert_eq!(cited(&sctp), ["41 sctp of [unregistered]", "1 mode"]);
        // The global mode says nothing of an action that only counts.
        let text = "mode = \"enforce\"\n[services.a]\nports = [1]\n\
                    [unregistered]\ntcp = \"audit\"\n";
        let tcp = packet("eth0", "192.0.2.1", 22);
        assert_eq!(cited_under(text, &tcp), ["5 tcp of [unregistered]"]);
    }

    #[test]
    fn where_no_line_decided_none_is_cited() {
        assert!(cited(&packet("eth0", "192.0.2.1", 22)).is_empty());
        assert!(cited(&packet("lo", "127.0.0.1", 6379)).is_empty());
    }
}
