//! A validated registry.

use std::collections::BTreeSet;
use std::fmt;

use enforcer_ebpf::{Mode, Protocol};
use ipnet::IpNet;

use super::public_key::PublicKey;
use super::source::Span;

/// The most registered ports, (protocol, port) pairs, that a registry may have.
pub const MAX_PORTS: usize = 4_096;
/// The most address prefixes that all peers together may have.
pub const MAX_PREFIXES: usize = 10_000;
/// The most peers that a registry may have.
pub const MAX_PEERS: usize = 256;
/// The most interface rules that a registry may have.
pub const MAX_INTERFACE_TABLES: usize = 256;

/// A registry that keeps every rule of the design. Only [`super::load`] makes one, and nothing
/// changes one.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(super) mode: Mode,
    pub(super) mode_at: Option<Span>,
    pub(super) services: Vec<Service>,
    pub(super) peers: Vec<Peer>,
    pub(super) interfaces: Vec<InterfaceTable>,
}

impl Registry {
    /// The global mode, for services without one of their own.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Where the global mode is written, if it is.
    pub fn mode_at(&self) -> Option<&Span> {
        self.mode_at.as_ref()
    }

    /// The services, by name. There is at least one.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The peers, by name.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The interface rules, by pattern.
    pub fn interfaces(&self) -> &[InterfaceTable] {
        &self.interfaces
    }

    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        let index = self
            .services
            .binary_search_by(|service| service.name.as_str().cmp(name));
        self.services.get(index.ok()?)
    }

    /// The peer of this name.
    pub fn peer(&self, name: &str) -> Option<&Peer> {
        let index = self
            .peers
            .binary_search_by(|peer| peer.name.as_str().cmp(name));
        self.peers.get(index.ok()?)
    }

    /// The mode that holds for a service: its own, else the global one.
    pub fn mode_of(&self, service: &Service) -> Mode {
        service.mode.unwrap_or(self.mode)
    }

    /// Every registered port with its service, by protocol and port within each service.
    pub fn registered_ports(&self) -> impl Iterator<Item = (Protocol, u16, &Service)> {
        self.services.iter().flat_map(|service| {
            service
                .ports
                .iter()
                .map(move |&(protocol, port)| (protocol, port, service))
        })
    }

    /// The rule for an interface: an exact name beats a pattern, a longer pattern a shorter. The
    /// one rule holds as a whole; what it leaves out is not looked for in a shorter pattern.
    pub fn interface_table(&self, interface: &str) -> Option<&InterfaceTable> {
        self.interfaces
            .iter()
            .filter(|rule| rule.matches(interface))
            .max_by_key(|rule| rule.precedence())
    }
}

/// A named entry of the registry.
#[derive(Clone, Debug)]
pub struct Service {
    /// The name.
    pub name: String,
    /// The registered ports: those of [`Self::ranges`], for each protocol. At least one.
    pub ports: BTreeSet<(Protocol, u16)>,
    /// The protocols, at least one.
    pub protocols: BTreeSet<Protocol>,
    /// The ports as they were written, for messages.
    pub ranges: Vec<PortRange>,
    /// The service's own mode, if it has one.
    pub mode: Option<Mode>,
    /// Where that is written.
    pub mode_at: Option<Span>,
    /// Whether anyone may reach it.
    pub public: bool,
    /// Where that is written, whatever it says.
    pub public_at: Option<Span>,
    /// The names of the peers that may reach it, each of them defined; empty when `public`.
    pub allow: Vec<String>,
    /// Where that list begins.
    pub allow_at: Option<Span>,
    /// Where each item of that list stands.
    pub(super) allowed_at: Vec<Span>,
    /// Where it is defined.
    pub at: Span,
}

impl Service {
    /// Where a peer is named as one that may reach it.
    pub fn allowed_at(&self, peer: &str) -> Option<&Span> {
        let index = self.allow.iter().position(|name| name == peer)?;
        self.allowed_at.get(index)
    }
}

/// One entry of a service's `ports`.
#[derive(Clone, Debug)]
pub struct PortRange {
    /// The first port, not 0.
    pub first: u16,
    /// The last port, not below the first.
    pub last: u16,
    /// Where it is written.
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

/// A named trusted source.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The name.
    pub name: String,
    /// The interface through which it comes; never lo.
    pub interface: String,
    /// What it is known by there.
    pub identity: Identity,
    /// Where it is defined.
    pub at: Span,
}

/// What a peer is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A WireGuard public key, whose AllowedIPs are the peer's addresses.
    Key(PublicKey),
    /// Prefixes without host bits, each once, in the order of the file; at least one. `any` is
    /// 0.0.0.0/0 and ::/0.
    Addresses(Vec<IpNet>),
}

/// Which side of the host an interface is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Between the host and its own containers: no wire guard.
    Inside,
    /// Where a wire guard belongs.
    Outside,
}

impl Side {
    pub(super) const ALL: [Self; 2] = [Self::Inside, Self::Outside];

    /// The name that the registry uses.
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

/// The hook that an operator wants for a wire guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HookChoice {
    /// The loader chooses.
    #[default]
    Auto,
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack, after the driver.
    XdpGeneric,
    /// The tc ingress hook of Linux 6.6.
    Tcx,
}

impl HookChoice {
    pub(super) const ALL: [Self; 4] = [Self::Auto, Self::XdpNative, Self::XdpGeneric, Self::Tcx];

    /// The name that the registry uses.
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

/// What the operator says about the interfaces of a name.
#[derive(Clone, Debug)]
pub struct InterfaceTable {
    /// An interface's name, or the start of names followed by `*`.
    pub pattern: String,
    /// The side, where the operator overrides what the loader finds.
    pub side: Option<Side>,
    /// Whether packets that are only passing through are left alone.
    pub forward: bool,
    /// Where that is written, whatever it says.
    pub forward_at: Option<Span>,
    /// The hook that is to be used.
    pub hook: HookChoice,
    /// Where it is written.
    pub at: Span,
}

impl InterfaceTable {
    /// Whether the rule is about this interface. Another rule may be more so: see
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
