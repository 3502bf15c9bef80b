//! Registry lines behind a decision, for `explain`.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use enforcer_ebpf::{Decision, Mode, Reason, Verdict};
use serde::Serialize;

use super::tables::PacketSpec;
use crate::interfaces::Interface;
use crate::registry::{InterfaceTable, Registry, Service, Span};

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
/// the wire is dropped, and an unregistered port is open. `peer` is the name of the granting peer,
/// `interface` is the interface of the arrival, and `table` is the `[interfaces]` table of the
/// destination's container network.
pub fn cite(
    registry: &Registry,
    spec: &PacketSpec,
    interface: &Interface,
    decision: &Decision,
    peer: Option<&str>,
    table: Option<&InterfaceTable>,
) -> Vec<Citation> {
    let mut cited = Cited::default();
    if decision.rule() == Some(NETWORKS) {
        if let Some(table) = table {
            cited.add_network(registry, table, decision, peer);
        }
        return cited.0;
    }
    let service = service_of(registry, spec);
    match (decision.reason, service) {
        (Reason::Forwarded, _) => {
            let table = registry.interface_table(interface.names());
            let at = table.and_then(|table| table.forward_at.as_ref());
            cited.add(at, || format!("forward of {}", interface.name));
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
            cited.add_closed(service, spec);
        }
        _ => {}
    }
    if decision.audited && decision.verdict() == Verdict::Drop {
        cited.add_mode(registry, service, decision.reason);
    }
    cited.0
}

/// The rule of container networks.
const NETWORKS: u8 = 4;

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

    /// Adds the lines that close a service's port to a source.
    fn add_closed(&mut self, service: &Service, spec: &PacketSpec) {
        self.add(port_of(service, spec.port), || {
            format!("port {} of {}", spec.port, service.name)
        });
        match covers(service, spec) {
            true => self.add(service.allow.at.as_ref(), || {
                format!("allow of {}", service.name)
            }),
            false => self.add(service.on_at.as_ref(), || format!("on of {}", service.name)),
        }
    }

    /// Adds the lines of a container network: the peer's, or the lines that leave the source out,
    /// or else the line of the table.
    fn add_network(
        &mut self,
        registry: &Registry,
        table: &InterfaceTable,
        decision: &Decision,
        peer: Option<&str>,
    ) {
        let of = |key: &str| format!("{key} of {}", table.pattern);
        if decision.reason == Reason::Peer {
            let allowed = peer.and_then(|peer| table.allow.at_of(peer));
            self.add(allowed, || of("allow"));
            self.add_peer(registry, peer);
            return;
        }
        self.add(table.allow.at.as_ref(), || of("allow"));
        let marked = table.containers_at.as_ref();
        self.add(marked, || of("containers"));
        if self.0.is_empty() {
            self.add(Some(&table.at), || {
                format!("[interfaces.{}]", table.pattern)
            });
        }
        match (decision.audited, &table.mode_at) {
            (false, _) => {}
            (true, Some(at)) => self.add(Some(at), || of("mode")),
            (true, None) => self.add(registry.mode_at(), || "mode".to_owned()),
        }
    }

    /// Adds the line that made a drop an audited one.
    fn add_mode(&mut self, registry: &Registry, service: Option<&Service>, reason: Reason) {
        match service.and_then(|service| Some((service, service.mode_at.as_ref()?))) {
            // Rule 2 does not ask for the service.
            Some((service, at)) if reason != Reason::LoopbackAddress => {
                self.add(Some(at), || format!("mode of {}", service.name));
            }
            // `[unregistered]` has modes of its own.
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
