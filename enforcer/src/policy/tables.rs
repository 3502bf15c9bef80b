//! A policy as plain tables, the contents of a bank of the maps.
//!
//! The compiler makes the tables from a registry, the loader writes them to the maps, commands read
//! them back, and [`PolicyTables::judge`] runs the kernel's decision over them.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::{
    Address, Arrival, Decision, Guard, Mode, Packet, PeerSet, Protocol, Route, Transport, decide,
    layout::{Binding, LocalRow, WIRE_VIEW},
};

use super::{
    port_set::PortSet,
    view::{View, has_row, longest_row},
};
use crate::{
    interfaces::InterfaceOptions,
    registry::{Provenance, winning_pattern},
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
    /// The UDP ports of clients and tunnels, which rule 6 leaves alone; empty where the rule is off.
    pub open_udp: PortSet,
    /// The container networks, by network and prefix length.
    pub networks: BTreeMap<(Address, u8), NetworkRow>,
    /// The host's local table, by network and prefix length.
    pub local: BTreeMap<(Address, u8), LocalRow>,
    /// The MAC addresses that the host takes, each with whether macvlan or macvtap devices alone
    /// take it.
    pub macs: BTreeMap<[u8; 6], bool>,
    /// The prefixes that later fragments are compared with, by ifindex, network and prefix length:
    /// of every allowed peer under ifindex 0, and of each interface's peers and subnets.
    pub sources: BTreeSet<(u32, Address, u8)>,
    /// The interfaces with a policy of their own, by ifindex, with [`WIRE_VIEW`] for wire views.
    pub interfaces: BTreeMap<u32, InterfaceRow>,
    /// The registry behind the policy.
    pub provenance: Provenance,
    /// The peers at each longest match, by ifindex as above, network and prefix length.
    pub prefixes: BTreeMap<(u32, Address, u8), PeerSet>,
}

/// A container network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkRow {
    /// The ifindex of the network's bridge.
    pub bridge: u32,
    /// The peers that may reach the network.
    pub allow: PeerSet,
    /// The network's mode, else the global mode.
    pub mode: Mode,
    /// Whether the network is routed on purpose, and not judged.
    pub routed: bool,
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
    /// Whether the table has the key `allow`, whatever the value.
    pub has_allow: bool,
    /// Whether the table has the key `routed`, whatever the value.
    pub has_routed: bool,
}

/// The policy of one interface; the default is the policy of an interface without a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceRow {
    /// The peers whose packets arrive on the interface.
    pub carries: PeerSet,
    /// Whether packets for others are judged too: `forward = false`, or MACs that are not all known.
    pub judges_all: bool,
    /// Whether a packet that leaves by the interface of its arrival is forwarded.
    pub hairpin: bool,
    /// Whether the interface is inside.
    pub inside: bool,
    /// The ifindex of the master, for the guard of a member.
    pub member_of: Option<u32>,
    /// Whether the wire guard looks through VLAN tags of any id.
    pub looks_through_tags: bool,
    /// Whether the interface is a VRF device.
    pub vrf: bool,
    /// The bridge whose container networks the interface belongs to, by ifindex.
    pub network: Option<u32>,
    /// An IPv4 address of the interface, for a short way through the local table.
    pub own_v4: Option<Address>,
    /// An IPv6 address, likewise.
    pub own_v6: Option<Address>,
    /// The interface's MAC address, where the guard compares MACs by itself, or the interface has
    /// macvlan or macvtap children.
    pub mac: Option<[u8; 6]>,
    /// Whether macvlan or macvtap devices stand on the interface.
    pub macvlan_parent: bool,
    /// Whether the wire guard sees no VLAN tags and looks the interface up with [`WIRE_VIEW`].
    pub vlan_parent: bool,
}

impl PolicyTables {
    /// Returns the rows of interfaces, those that hold nothing but addresses last: the order in which
    /// they get their places in the map.
    pub(crate) fn interfaces_by_need(&self) -> impl Iterator<Item = (u32, &InterfaceRow)> {
        let rows = || self.interfaces.iter().map(|(ifindex, row)| (*ifindex, row));
        let needed = rows().filter(|(_, row)| !row.is_plain());
        needed.chain(rows().filter(|(_, row)| row.is_plain()))
    }
}

impl InterfaceRow {
    /// Returns whether the row holds nothing but the interface's own addresses.
    pub(super) fn is_plain(&self) -> bool {
        let bare = Self {
            own_v4: None,
            own_v6: None,
            mac: None,
            ..self.clone()
        };
        bare == Self::default()
    }
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
    /// The destination address; without one, an address of this host.
    pub destination: Option<Address>,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
    /// The FIB's answer.
    pub route: Route,
    /// Whether the packet opens a connection.
    pub opens: bool,
}

impl PolicyTables {
    /// Returns the decision on a described packet, computed by the guards' own code.
    pub fn judge(&self, spec: &PacketSpec) -> Decision {
        let loops = |address: &Address| address.is_loopback();
        let packet = Packet {
            loopback: loops(&spec.source) || spec.destination.as_ref().is_some_and(loops),
            ip_offset: 0,
            transport_offset: 0,
            transport: Transport::new(spec.protocol, spec.port),
        };
        let view = View {
            tables: self,
            ifindex: self.view(spec),
            spec,
        };
        let row = self.interfaces.get(&spec.ifindex);
        let arrival = match spec.loopback {
            true => Arrival::Loopback,
            false if spec.guard == Guard::Socket && row.is_some_and(|row| row.vrf) => {
                Arrival::MaybeOwn
            }
            false => Arrival::Received,
        };
        decide(&view, spec.guard, arrival, &packet)
    }

    /// Returns the key for the interface's row and prefixes, which wire guards of VLAN parents mark
    /// with [`WIRE_VIEW`].
    fn view(&self, spec: &PacketSpec) -> u32 {
        match spec.guard {
            Guard::Wire => self.wire_view(spec.ifindex),
            Guard::Socket => spec.ifindex,
        }
    }

    /// Returns the key for the row that the wire guard of an interface looks up.
    fn wire_view(&self, ifindex: u32) -> u32 {
        match self.interfaces.get(&ifindex) {
            Some(row) if row.vlan_parent => ifindex | WIRE_VIEW,
            _ => ifindex,
        }
    }

    /// Returns the ifindex that the wire guard of an interface asks the FIB with: a member's
    /// master, else the interface itself.
    pub fn routes_as(&self, ifindex: u32) -> u32 {
        let row = self.interfaces.get(&self.wire_view(ifindex));
        let master = row.and_then(|row| row.member_of);
        // 0 for a member of several.
        master.filter(|master| *master != 0).unwrap_or(ifindex)
    }

    /// Returns the mode of a port without a service under `[unregistered]`, `None` where the port
    /// is left alone.
    pub fn unregistered_mode(&self, protocol: Protocol, port: u16) -> Option<Mode> {
        let is_open = protocol == Protocol::Udp && self.open_udp.contains(port);
        self.unregistered.modes[protocol as usize].filter(|_| !is_open)
    }

    /// Returns every slot of a registered port, with the protocol, the port and the service's name:
    /// the services at single addresses come after the port's own.
    pub fn slots(&self) -> impl Iterator<Item = (Protocol, u16, &str, u16)> {
        let of_ports = self.ports.iter();
        let of_ports = of_ports.map(|(&(protocol, port), binding)| (protocol, port, *binding));
        let others = self
            .ports_at
            .iter()
            .filter_map(|(&(protocol, port, _), binding)| {
                let base = self.ports.get(&(protocol, port))?;
                (base.slot != binding.slot).then_some((protocol, port, *binding))
            });
        let mut seen = BTreeSet::new();
        of_ports
            .chain(others)
            .filter_map(move |(protocol, port, binding)| {
                let name = &self.services.get(usize::from(binding.service))?.name;
                let slot = (protocol, port, name.as_str(), binding.slot);
                seen.insert(binding.slot).then_some(slot)
            })
    }

    /// Returns the name of the service of a port.
    pub fn service_of(&self, protocol: Protocol, port: u16) -> Option<&str> {
        let binding = self.ports.get(&(protocol, port))?;
        let row = self.services.get(usize::from(binding.service))?;
        Some(&row.name)
    }

    /// Returns the public ports with their services, everywhere and at single addresses.
    pub fn public_ports(&self) -> impl Iterator<Item = (&str, Protocol, u16)> {
        let everywhere = self.ports.iter();
        let everywhere = everywhere.map(|(&(protocol, port), binding)| (protocol, port, binding));
        let at = self.ports_at.iter();
        let at = at.map(|(&(protocol, port, _), binding)| (protocol, port, binding));
        let public = everywhere.chain(at).filter(|(.., binding)| binding.public);
        public.map(|(protocol, port, binding)| {
            let row = self.services.get(usize::from(binding.service));
            (row.map_or("?", |row| &*row.name), protocol, port)
        })
    }

    /// Returns the name of the service of a described packet's port, at the packet's destination.
    pub fn service_for(&self, spec: &PacketSpec) -> Option<&str> {
        let port = (spec.protocol, spec.port);
        let binding = self.binding_at(port, spec.destination)?;
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

    /// Returns the first peer, by number, for which a described packet passes.
    pub fn granting_peer(&self, spec: &PacketSpec) -> Option<&PeerRow> {
        let allow = match self.judge(spec).rule() {
            Some(4) => self.network_of(spec)?.allow,
            Some(6) => self.unregistered.allow,
            _ => {
                let port = (spec.protocol, spec.port);
                let binding = self.binding_at(port, spec.destination)?;
                self.services.get(usize::from(binding.service))?.allow
            }
        };
        let here = self.peers_at(self.view(spec), &spec.source);
        let number = here.iter().find(|peer| allow.contains(*peer))?;
        self.peers.get(usize::from(number))
    }

    /// Whether rule 6 judges the UDP ports that no service has.
    pub fn judges_unregistered_udp(&self) -> bool {
        self.unregistered.modes[Protocol::Udp as usize].is_some()
    }

    /// Returns the container network around a described packet's destination, routed or not.
    pub fn network_of(&self, spec: &PacketSpec) -> Option<&NetworkRow> {
        longest_row(&self.networks, &spec.destination?)
    }

    /// Returns whether an address is this host's own, by the local table.
    pub(crate) fn is_own(&self, address: &Address) -> bool {
        has_row(&self.local, address)
    }

    /// Returns the options for an interface with these names.
    pub fn options_of<'a>(&self, names: impl Iterator<Item = &'a str>) -> InterfaceOptions {
        let row = self.options_row(names);
        row.map(|row| row.options).unwrap_or_default()
    }

    /// Returns the row for an interface with these names, by the order of [`winning_pattern`].
    pub fn options_row<'a>(&self, names: impl Iterator<Item = &'a str>) -> Option<&OptionsRow> {
        winning_pattern(&self.interface_options, |row| &row.pattern, names)
    }

    /// Returns the peers at the longest prefix that contains an address.
    pub(super) fn peers_at(&self, ifindex: u32, source: &Address) -> PeerSet {
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
