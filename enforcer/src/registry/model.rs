//! A validated registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use enforcer_ebpf::{Mode, Protocol};
use ipnet::IpNet;

use super::doctor::IgnoredFinding;
use super::name::winning_pattern;
use super::options::InterfaceTable;
use super::public_key::PublicKey;
use super::source::Span;
use super::unregistered::Unregistered;

/// The limit of registered ports: (protocol, port) pairs, counted for each service, as a slot of
/// counters belongs to one (protocol, port, service).
pub const MAX_PORTS: usize = 4_096;
/// The limit of ports at single addresses: (protocol, port, address) triples of services with `on`.
pub const MAX_PORTS_AT_ADDRESSES: usize = 8_192;
/// The limit of address prefixes of all peers together.
pub const MAX_PREFIXES: usize = 10_000;
/// The limit of peers.
pub const MAX_PEERS: usize = 256;
/// The limit of `[interfaces]` tables.
pub const MAX_INTERFACE_TABLES: usize = 256;

/// A valid registry. [`super::load`] alone makes registries, and no code changes them.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(super) mode: Mode,
    pub(super) mode_at: Option<Span>,
    pub(super) services: Vec<Service>,
    pub(super) unregistered: Unregistered,
    pub(super) peers: Vec<Peer>,
    pub(super) interfaces: Vec<InterfaceTable>,
    pub(super) ignored: Vec<IgnoredFinding>,
}

impl Registry {
    /// Returns the global mode, for services without a mode of their own.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the span of the global mode, if the files set one.
    pub fn mode_at(&self) -> Option<&Span> {
        self.mode_at.as_ref()
    }

    /// Returns the services, by name; at least one.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Returns the table `[unregistered]`, with defaults where the files have none.
    pub fn unregistered(&self) -> &Unregistered {
        &self.unregistered
    }

    /// Returns the peers, by name.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Returns the `[interfaces]` tables, by pattern.
    pub fn interfaces(&self) -> &[InterfaceTable] {
        &self.interfaces
    }

    /// Returns the findings that `doctor` leaves out, in the order of the file.
    pub fn ignored_findings(&self) -> &[IgnoredFinding] {
        &self.ignored
    }

    /// Returns the service of this name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        let index = self
            .services
            .binary_search_by(|service| service.name.as_str().cmp(name));
        self.services.get(index.ok()?)
    }

    /// Returns the peer of this name.
    pub fn peer(&self, name: &str) -> Option<&Peer> {
        let index = self
            .peers
            .binary_search_by(|peer| peer.name.as_str().cmp(name));
        self.peers.get(index.ok()?)
    }

    /// Returns the effective mode of a service: the service's own, else the global mode.
    pub fn mode_of(&self, service: &Service) -> Mode {
        service.mode.unwrap_or(self.mode)
    }

    /// Returns every registered port and the service, by protocol and port within each service. A
    /// port that two services hold at different addresses comes twice.
    pub fn registered_ports(&self) -> impl Iterator<Item = (Protocol, u16, &Service)> {
        self.services.iter().flat_map(|service| {
            service
                .ports
                .iter()
                .map(move |&(protocol, port)| (protocol, port, service))
        })
    }

    /// Returns the number of registered ports: distinct (protocol, port) pairs.
    pub fn port_count(&self) -> usize {
        let pairs = self.registered_ports();
        let pairs: BTreeSet<_> = pairs.map(|(protocol, port, _)| (protocol, port)).collect();
        pairs.len()
    }

    /// Returns the service of a port at an address of the host: the service with the address in
    /// `on`, else the service without `on`. Without an address, `on` covers nothing.
    pub fn service_at(
        &self,
        protocol: Protocol,
        port: u16,
        address: Option<IpAddr>,
    ) -> Option<&Service> {
        let of_port = || {
            let services = self.services.iter();
            services.filter(move |service| service.ports.contains(&(protocol, port)))
        };
        let named = address.and_then(|address| of_port().find(|it| it.on.contains_key(&address)));
        named.or_else(|| of_port().find(|service| service.on.is_empty()))
    }

    /// Returns the table for an interface with these names, by the order of [`winning_pattern`].
    /// The table applies as a whole: keys that the table leaves out have their defaults, whatever
    /// another table sets.
    pub fn interface_table<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Option<&InterfaceTable> {
        winning_pattern(&self.interfaces, |table| &table.pattern, names)
    }
}

/// A service: ports under one name.
#[derive(Clone, Debug)]
pub struct Service {
    /// The name.
    pub name: String,
    /// The registered ports: every port of [`Self::ranges`] for each protocol; at least one.
    pub ports: BTreeSet<(Protocol, u16)>,
    /// The protocols; at least one.
    pub protocols: BTreeSet<Protocol>,
    /// The ports as written in the file, for messages.
    pub ranges: Vec<PortRange>,
    /// The addresses of the host at which the service holds its ports, each with the span of the
    /// item; empty for every address that no other service of the port names.
    pub on: BTreeMap<IpAddr, Span>,
    /// The span of the key `on`.
    pub on_at: Option<Span>,
    /// The service's own mode, if set.
    pub mode: Option<Mode>,
    /// The span of the key `mode`.
    pub mode_at: Option<Span>,
    /// Whether anyone may reach the service.
    pub public: bool,
    /// The span of the key `public`, whatever the value.
    pub public_at: Option<Span>,
    /// The allowed peers; empty when `public`.
    pub allow: Allow,
    /// The span of the service's name.
    pub at: Span,
}

/// The peers of a key `allow`, all of them defined.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    pub(super) peers: Vec<(String, Span)>,
    /// The span of the key, if the table has the key.
    pub at: Option<Span>,
}

impl Allow {
    /// Returns the peers' names, each once, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().map(|(name, _)| name.as_str())
    }

    /// Returns whether no peer is allowed.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Returns the span of a peer's name.
    pub fn at_of(&self, peer: &str) -> Option<&Span> {
        let mut peers = self.peers.iter();
        peers.find(|(name, _)| name == peer).map(|(_, at)| at)
    }
}

/// One item of a service's `ports`.
#[derive(Clone, Debug)]
pub struct PortRange {
    /// The first port, not 0.
    pub first: u16,
    /// The last port, not below the first.
    pub last: u16,
    /// The span of the item.
    pub at: Span,
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A peer: a trusted source under one name.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The name.
    pub name: String,
    /// The interface on which the peer's packets arrive, never lo: a name, or for a peer by
    /// addresses the start of names followed by `*`. See [`super::pattern_matches`].
    pub interface: String,
    /// The property that identifies the peer on that interface.
    pub identity: Identity,
    /// The span of the peer's name.
    pub at: Span,
}

/// The property that identifies a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A WireGuard public key, whose AllowedIPs are the peer's addresses.
    Key(PublicKey),
    /// Prefixes without host bits, each once, in the order of the file; at least one. `any` is
    /// 0.0.0.0/0 and ::/0.
    Addresses(Vec<IpNet>),
}
