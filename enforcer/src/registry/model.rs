//! A validated registry.

use std::collections::BTreeSet;
use std::fmt;

use enforcer_ebpf::{Mode, Protocol};
use ipnet::IpNet;

use super::public_key::PublicKey;
use super::source::Span;

/// The limit of registered ports: (protocol, port) pairs.
pub const MAX_PORTS: usize = 4_096;
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
    pub(super) peers: Vec<Peer>,
    pub(super) interfaces: Vec<InterfaceTable>,
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

    /// Returns the peers, by name.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Returns the `[interfaces]` tables, by pattern.
    pub fn interfaces(&self) -> &[InterfaceTable] {
        &self.interfaces
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

    /// Returns every registered port and the service, by protocol and port within each service.
    pub fn registered_ports(&self) -> impl Iterator<Item = (Protocol, u16, &Service)> {
        self.services.iter().flat_map(|service| {
            service
                .ports
                .iter()
                .map(move |&(protocol, port)| (protocol, port, service))
        })
    }

    /// Returns the table for an interface: an exact name beats a pattern, a longer pattern a
    /// shorter. The table applies as a whole: keys that the table leaves out have their defaults,
    /// whatever a shorter pattern sets.
    pub fn interface_table(&self, interface: &str) -> Option<&InterfaceTable> {
        self.interfaces
            .iter()
            .filter(|table| table.matches(interface))
            .max_by_key(|table| table.precedence())
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
    /// The service's own mode, if set.
    pub mode: Option<Mode>,
    /// The span of the key `mode`.
    pub mode_at: Option<Span>,
    /// Whether anyone may reach the service.
    pub public: bool,
    /// The span of the key `public`, whatever the value.
    pub public_at: Option<Span>,
    /// The names of the allowed peers, all of them defined; empty when `public`.
    pub allow: Vec<String>,
    /// The span of the key `allow`.
    pub allow_at: Option<Span>,
    /// The span of each item of `allow`.
    pub(super) allowed_at: Vec<Span>,
    /// The span of the service's name.
    pub at: Span,
}

impl Service {
    /// Returns the span of a peer's name in `allow`.
    pub fn allowed_at(&self, peer: &str) -> Option<&Span> {
        let index = self.allow.iter().position(|name| name == peer)?;
        self.allowed_at.get(index)
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
    /// The interface on which the peer's packets arrive; never lo.
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

/// The side of the host that an interface faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Between the host and containers on this host: no wire guard.
    Inside,
    /// Towards other hosts: the interface gets a wire guard.
    Outside,
}

impl Side {
    pub(super) const ALL: [Self; 2] = [Self::Inside, Self::Outside];

    /// Returns the name used by the registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The operator's choice of a hook for a wire guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HookChoice {
    /// The loader chooses.
    #[default]
    Auto,
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack, after the driver.
    XdpGeneric,
    /// tcx, the tc ingress hook of Linux 6.6.
    Tcx,
}

impl HookChoice {
    pub(super) const ALL: [Self; 4] = [Self::Auto, Self::XdpNative, Self::XdpGeneric, Self::Tcx];

    /// Returns the name used by the registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::Tcx => "tcx",
        }
    }
}

impl fmt::Display for HookChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The treatment of packets that are not for this host (rules 3 and 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    /// Packets that another interface forwards, and frames for other machines, pass unjudged.
    #[default]
    Auto,
    /// As `Auto`, and packets that leave by the interface of their arrival too.
    True,
    /// Every packet is judged.
    False,
}

/// An `[interfaces]` table: options for the interfaces that match a pattern.
#[derive(Clone, Debug)]
pub struct InterfaceTable {
    /// An interface name, or the start of names followed by `*`.
    pub pattern: String,
    /// The side, where the operator overrides the loader's choice.
    pub side: Option<Side>,
    /// The treatment of packets for others.
    pub forward: Forward,
    /// The span of the key `forward`, whatever the value.
    pub forward_at: Option<Span>,
    /// The hook to use.
    pub hook: HookChoice,
    /// The span of the table's name.
    pub at: Span,
}

impl InterfaceTable {
    /// Returns whether the pattern matches an interface. Another table may take precedence: see
    /// [`Registry::interface_table`].
    pub fn matches(&self, interface: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(prefix) => interface.starts_with(prefix),
            None => interface == self.pattern,
        }
    }

    fn precedence(&self) -> (bool, usize) {
        (!self.pattern.ends_with('*'), self.pattern.len())
    }
}
