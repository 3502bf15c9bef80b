//! The tables as the decision queries them, for one described packet.

use std::collections::BTreeMap;

use enforcer_ebpf::{
    Address, Interface, Mode, Network, Packet, PeerSet, Policy, Port, Protocol, Route, Service,
};

use super::tables::{InterfaceRow, PacketSpec, PolicyTables};

/// Whether a table of prefixes has a row for an address.
pub(super) fn has_row<T>(table: &BTreeMap<(Address, u8), T>, address: &Address) -> bool {
    longest_row(table, address).is_some()
}

/// The row of the longest prefix around an address.
pub(super) fn longest_row<'a, T>(
    table: &'a BTreeMap<(Address, u8), T>,
    address: &Address,
) -> Option<&'a T> {
    let lengths = (0..=address.family().bits()).rev();
    let mut keys = lengths.map(|length| (address.network(length), length));
    keys.find_map(|key| table.get(&key))
}

/// The tables as seen by one packet.
pub(super) struct View<'a> {
    pub(super) tables: &'a PolicyTables,
    pub(super) ifindex: u32,
    pub(super) spec: &'a PacketSpec,
}

impl View<'_> {
    fn row(&self) -> InterfaceRow {
        let row = self.tables.interfaces.get(&self.ifindex);
        row.cloned().unwrap_or_default()
    }
}

/// Returns the mode of a binding.
const fn mode_of(audit: bool) -> Mode {
    match audit {
        true => Mode::Audit,
        false => Mode::Enforce,
    }
}

impl Policy for View<'_> {
    type Peers = PeerSet;

    fn mode(&self) -> Mode {
        self.tables.mode
    }

    fn port(&self, protocol: Protocol, packet: &Packet) -> Port {
        let port = packet.transport.port;
        let destination = self.spec.destination;
        let Some(binding) = self.tables.binding_at((protocol, port), destination) else {
            return match self.tables.unregistered_mode(protocol, port) {
                Some(mode) => Port::Unregistered(mode),
                None => Port::Open,
            };
        };
        Port::Registered(Service {
            slot: binding.slot,
            number: binding.service,
            public: binding.public,
            has_peers: binding.has_peers,
            mode: mode_of(binding.audit),
        })
    }

    fn interface(&self) -> Interface {
        let row = self.row();
        Interface {
            judges_all: row.judges_all,
            hairpin: row.hairpin,
            inside: row.inside,
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

    fn allowed_unregistered(&self) -> PeerSet {
        self.tables.unregistered.allow
    }

    fn peers_of(&self, _: &Packet) -> PeerSet {
        self.tables.peers_at(self.ifindex, &self.spec.source)
    }

    fn network(&self, _: &Packet) -> Option<Network<PeerSet>> {
        let destination = self.spec.destination?;
        let network = longest_row(&self.tables.networks, &destination)?;
        let ifindex = self.spec.ifindex;
        let belongs = ifindex == network.bridge || self.row().network == Some(network.bridge);
        let row = longest_row(&self.tables.local, &destination);
        let elsewhere = row.is_some_and(|row| row.is_address && row.ifindex != network.bridge);
        (!network.routed && !belongs && !elsewhere).then_some(Network {
            allowed: network.allow,
            mode: network.mode,
        })
    }

    fn is_local(&self, _: &Packet) -> bool {
        let destination = self.spec.destination;
        destination.is_none_or(|address| has_row(&self.tables.local, &address))
    }

    fn is_own(&self, _: &Packet) -> bool {
        has_row(&self.tables.local, &self.spec.source)
    }

    fn is_for_other_mac(&self, _: &Packet) -> bool {
        // A described packet is for this host's MAC.
        false
    }

    fn route(&self, _: &Packet) -> Route {
        self.spec.route
    }

    fn opens(&self, _: &Packet) -> bool {
        self.spec.opens
    }

    fn is_proxied(&self, _: &Packet) -> bool {
        // A described packet meets a listening socket.
        false
    }

    fn is_anothers_fragment(&self, _: &Packet) -> bool {
        // A described packet is no fragment.
        false
    }
}
