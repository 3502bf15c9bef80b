//! A policy as plain tables, the contents of a bank of the maps.
//!
//! The compiler makes the tables from a registry, the loader writes them to the maps, commands read
//! them back, and [`PolicyTables::judge`] runs the kernel's decision over them.

use std::collections::BTreeMap;

use enforcer_ebpf::{
    Address, Decision, Guard, Interface, Kind, Mode, NO_SLOT, Packet, PeerSet, Policy, Protocol,
    Service, Transport, decide,
    layout::{Binding, WIRE_VIEW},
};

use crate::{
    interfaces::InterfaceOptions,
    registry::{Provenance, pattern_matches},
};

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyTables {
    /// The global mode.
    pub mode: Mode,
    /// The services, by service number.
    pub services: Vec<ServiceRow>,
    /// The peers, by peer number.
    pub peers: Vec<PeerRow>,
    /// The options of the registry's `[interfaces]` tables, by pattern.
    pub interface_options: Vec<OptionsRow>,
    /// The registered ports, with the binding at every address that [`Self::ports_at`] leaves out.
    pub ports: BTreeMap<(Protocol, u16), Binding>,
    /// The ports at single addresses of this host, for services with `on`.
    pub ports_at: BTreeMap<(Protocol, u16, Address), Binding>,
    /// The rules for unregistered ports.
    pub unregistered: UnregisteredRow,
    /// The interfaces with a policy of their own, by ifindex, with [`WIRE_VIEW`] for wire views.
    pub interfaces: BTreeMap<u32, InterfaceRow>,
    /// The registry behind the policy.
    pub provenance: Provenance,
    /// The peers at each longest match, by ifindex as above, network and prefix length.
    pub prefixes: BTreeMap<(u32, Address, u8), PeerSet>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRow {
    /// The service's name.
    pub name: String,
    /// The allowed peers.
    pub allow: PeerSet,
}

/// The table `[unregistered]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnregisteredRow {
    /// The mode of rule 6 for each protocol, by the protocol's discriminant; `None` for no rule.
    pub modes: [Option<Mode>; 3],
    /// The peers that may reach unregistered ports all the same.
    pub allow: PeerSet,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRow {
    /// The peer's name.
    pub name: String,
    /// The interface on which the peer's packets arrive, or a pattern for several.
    pub interface: String,
    /// The WireGuard public key, for a peer by key.
    pub key: Option<[u8; 32]>,
    /// Whether the peer's addresses are loaded for an existing interface.
    pub active: bool,
}

/// An `[interfaces]` table of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsRow {
    /// An interface name, or the start of names followed by `*`.
    pub pattern: String,
    /// The options for interfaces that match the pattern.
    pub options: InterfaceOptions,
    /// The peers that may reach the container networks of these interfaces.
    pub allow: PeerSet,
}

/// The policy of one interface; the default is the policy of an interface without a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceRow {
    /// The peers whose packets arrive on the interface.
    pub carries: PeerSet,
    /// Whether forwarded packets are left alone.
    pub forward: bool,
    /// The interface's MAC address, if the interface has macvlan or macvtap children.
    pub macvlan_parent_mac: Option<[u8; 6]>,
    /// Whether the wire guard sees no VLAN tags and looks the interface up with [`WIRE_VIEW`].
    pub vlan_parent: bool,
}

/// A described packet and the receiving interface.
#[derive(Clone, Copy, Debug)]
pub struct PacketSpec {
    /// The judging guard.
    pub guard: Guard,
    /// The ifindex of the receiving interface.
    pub ifindex: u32,
    /// Whether that interface is the loopback interface.
    pub loopback: bool,
    /// The source address.
    pub source: Address,
    /// The destination address, if given; a loopback address, and an address in a service's `on`,
    /// change the decision.
    pub destination: Option<Address>,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
    /// Whether the FIB says that the packet would be forwarded.
    pub forwarded: bool,
}

impl PolicyTables {
    /// Returns the decision on a described packet, computed by the guards' own code.
    pub fn judge(&self, spec: &PacketSpec) -> Decision {
        let loops = |address: &Address| address.is_loopback();
        let packet = Packet {
            loopback: loops(&spec.source) || spec.destination.as_ref().is_some_and(loops),
            ip_offset: 0,
            transport: Transport::new(spec.protocol, spec.port),
        };
        let view = View {
            tables: self,
            ifindex: self.view(spec),
            source: spec.source,
            destination: spec.destination,
            forwarded: spec.forwarded,
        };
        decide(&view, spec.guard, spec.loopback, &packet)
    }

    /// Returns the key for the interface's row and prefixes, which wire guards of VLAN parents mark
    /// with [`WIRE_VIEW`].
    fn view(&self, spec: &PacketSpec) -> u32 {
        match self.interfaces.get(&spec.ifindex) {
            Some(row) if row.vlan_parent && spec.guard == Guard::Wire => spec.ifindex | WIRE_VIEW,
            _ => spec.ifindex,
        }
    }

    /// Returns the name of the service of a port, at an address without a service of its own.
    pub fn service_of(&self, protocol: Protocol, port: u16) -> Option<&str> {
        let binding = self.ports.get(&(protocol, port))?;
        let row = self.services.get(usize::from(binding.service))?;
        Some(&row.name)
    }

    /// Returns the binding of a port at an address.
    pub(super) fn binding_at(
        &self,
        (protocol, port): (Protocol, u16),
        address: Option<Address>,
    ) -> Option<&Binding> {
        address
            .and_then(|address| self.ports_at.get(&(protocol, port, address)))
            .or_else(|| self.ports.get(&(protocol, port)))
    }

    /// Returns the first peer, by number, that makes the service reachable for a described packet.
    pub fn granting_peer(&self, spec: &PacketSpec) -> Option<&PeerRow> {
        let port = (spec.protocol, spec.port);
        let binding = self.binding_at(port, spec.destination)?;
        let allow = self.services.get(usize::from(binding.service))?.allow;
        let here = self.peers_at(self.view(spec), &spec.source);
        let number = here.iter().find(|peer| allow.contains(*peer))?;
        self.peers.get(usize::from(number))
    }

    /// Returns the options for an interface: an exact name beats a pattern, a longer pattern a
    /// shorter.
    pub fn options_of(&self, interface: &str) -> InterfaceOptions {
        self.interface_options
            .iter()
            .filter(|row| pattern_matches(&row.pattern, interface))
            .max_by_key(|row| (!row.pattern.ends_with('*'), row.pattern.len()))
            .map(|row| row.options)
            .unwrap_or_default()
    }

    /// Returns the peers at the longest prefix that contains an address.
    fn peers_at(&self, ifindex: u32, source: &Address) -> PeerSet {
        self.peers_within(ifindex, source, source.family().bits())
    }

    /// Returns the peers at the longest prefix that contains a network and has at most the given
    /// length.
    pub(crate) fn peers_within(&self, ifindex: u32, source: &Address, longest: u8) -> PeerSet {
        (0..=longest)
            .rev()
            .find_map(|length| {
                self.prefixes
                    .get(&(ifindex, source.network(length), length))
            })
            .copied()
            .unwrap_or(PeerSet::EMPTY)
    }
}

/// The tables as seen by one packet.
struct View<'a> {
    tables: &'a PolicyTables,
    ifindex: u32,
    source: Address,
    destination: Option<Address>,
    forwarded: bool,
}

impl View<'_> {
    fn row(&self) -> InterfaceRow {
        let row = self.tables.interfaces.get(&self.ifindex);
        row.cloned().unwrap_or_default()
    }
}

impl Policy for View<'_> {
    fn mode(&self) -> Mode {
        self.tables.mode
    }

    fn service(&self, protocol: Protocol, port: u16) -> Option<Service> {
        let port = (protocol, port);
        let binding = self.tables.binding_at(port, self.destination)?;
        debug_assert_ne!(binding.slot, NO_SLOT);
        Some(Service {
            slot: binding.slot,
            number: binding.service,
            public: binding.public,
            has_peers: binding.has_peers,
            mode: match binding.audit {
                true => Mode::Audit,
                false => Mode::Enforce,
            },
        })
    }

    fn interface(&self) -> Interface {
        let row = self.row();
        Interface {
            forward: row.forward,
            has_peers: !row.carries.is_empty(),
        }
    }

    fn carried(&self) -> PeerSet {
        self.row().carries
    }

    fn allowed(&self, service: Service) -> PeerSet {
        let row = self.tables.services.get(usize::from(service.number));
        row.map_or(PeerSet::EMPTY, |row| row.allow)
    }

    fn peers_of(&self, _: &Packet) -> PeerSet {
        self.tables.peers_at(self.ifindex, &self.source)
    }

    fn is_forwarded(&self, packet: &Packet) -> bool {
        debug_assert!(!matches!(packet.transport.kind, Kind::Fragment));
        self.forwarded
    }
}
