//! A policy as plain tables: what a registry becomes on this host, and what the maps' bank holds.
//!
//! The same tables are compiled from a registry, written to the maps, read back from them by every
//! command, and judged by the same decision as the kernel's.

use std::collections::BTreeMap;

use enforcer_ebpf::{
    Address, Decision, Guard, Interface, Kind, Mode, NO_PORT, Packet, PeerSet, Policy, Protocol,
    Service, Transport, decide,
    layout::{Binding, WIRE_VIEW},
};

use crate::{interfaces::InterfaceOptions, registry::Provenance};

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyTables {
    /// The global mode.
    pub mode: Mode,
    /// The services; a service's number is its place.
    pub services: Vec<ServiceRow>,
    /// The peers; a peer's number is its place.
    pub peers: Vec<PeerRow>,
    /// The options of the registry's `[interfaces]` tables, by pattern.
    pub interface_options: Vec<OptionsRow>,
    /// The registered ports.
    pub ports: BTreeMap<(Protocol, u16), Binding>,
    /// What there is to say about interfaces, by ifindex, with [`WIRE_VIEW`] for wire views.
    pub interfaces: BTreeMap<u32, InterfaceRow>,
    /// The registry that it was made from.
    pub provenance: Provenance,
    /// The peers at each prefix's own addresses, by ifindex as above, network and length.
    pub prefixes: BTreeMap<(u32, Address, u8), PeerSet>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// The peers that may reach it.
    pub allow: PeerSet,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRow {
    /// Its name.
    pub name: String,
    /// The interface through which it comes.
    pub interface: String,
    /// Its WireGuard public key, if it is known by that.
    pub key: Option<[u8; 32]>,
    /// Whether its addresses are loaded for an interface that exists.
    pub active: bool,
}

/// An `[interfaces]` table of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsRow {
    /// An interface name, or the start of names followed by `*`.
    pub pattern: String,
    /// The options for interfaces that match the pattern.
    pub options: InterfaceOptions,
}

/// What there is to say about an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceRow {
    /// The peers that it carries.
    pub carries: PeerSet,
    /// It forwards.
    pub forward: bool,
    /// Its MAC address, where macvlan or macvtap devices sit on it.
    pub macvlan_parent_mac: Option<[u8; 6]>,
    /// Its wire guard does not see VLAN tags and looks itself up with [`WIRE_VIEW`].
    pub vlan_parent: bool,
}

/// A packet that somebody describes, and the interface that it arrives on.
#[derive(Clone, Copy, Debug)]
pub struct PacketSpec {
    /// The guard that judges.
    pub guard: Guard,
    /// The ifindex.
    pub ifindex: u32,
    /// Whether the interface is the loopback interface.
    pub loopback: bool,
    /// The source address.
    pub source: Address,
    /// The destination address, if it matters.
    pub destination: Option<Address>,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
    /// Whether the FIB says that the packet would be forwarded.
    pub forwarded: bool,
}

impl PolicyTables {
    /// Judges a described packet, by the decision that the guards run.
    pub fn judge(&self, description: &PacketSpec) -> Decision {
        let loops = |address: &Address| address.is_loopback();
        let packet = Packet {
            loopback: loops(&description.source)
                || description.destination.as_ref().is_some_and(loops),
            header: 0,
            transport: Transport::new(description.protocol, description.port),
        };
        let view = View {
            tables: self,
            ifindex: self.view(description),
            source: description.source,
            forwarded: description.forwarded,
        };
        decide(&view, description.guard, description.loopback, &packet)
    }

    /// Whether wire guards look the interface up under another index.
    fn view(&self, description: &PacketSpec) -> u32 {
        match self.interfaces.get(&description.ifindex) {
            Some(row) if row.vlan_parent && description.guard == Guard::Wire => {
                description.ifindex | WIRE_VIEW
            }
            _ => description.ifindex,
        }
    }

    /// The name of the service that a port belongs to.
    pub fn service_of(&self, protocol: Protocol, port: u16) -> Option<&str> {
        let binding = self.ports.get(&(protocol, port))?;
        let row = self.services.get(usize::from(binding.service))?;
        Some(&row.name)
    }

    /// The first peer, by number, that makes the service reachable for the described packet.
    pub fn granting_peer(&self, description: &PacketSpec) -> Option<&PeerRow> {
        let binding = self.ports.get(&(description.protocol, description.port))?;
        let allow = self.services.get(usize::from(binding.service))?.allow;
        let here = self.peers_at(self.view(description), &description.source);
        let number = here.iter().find(|peer| allow.contains(*peer))?;
        self.peers.get(usize::from(number))
    }

    /// The options for an interface: an exact name beats a pattern, a longer pattern a shorter one.
    pub fn options_of(&self, interface: &str) -> InterfaceOptions {
        self.interface_options
            .iter()
            .filter(|row| match row.pattern.strip_suffix('*') {
                Some(start) => interface.starts_with(start),
                None => interface == row.pattern,
            })
            .max_by_key(|row| (!row.pattern.ends_with('*'), row.pattern.len()))
            .map(|row| row.options)
            .unwrap_or_default()
    }

    /// The peers at the longest prefix that holds an address.
    fn peers_at(&self, ifindex: u32, source: &Address) -> PeerSet {
        self.peers_within(ifindex, source, source.family().bits())
    }

    /// The peers at the longest prefix that holds a network, of those of at most this length.
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

/// The tables as one packet meets them.
struct View<'a> {
    tables: &'a PolicyTables,
    ifindex: u32,
    source: Address,
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
        let binding = self.tables.ports.get(&(protocol, port))?;
        debug_assert_ne!(binding.slot, NO_PORT);
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
