//! The policy for the implementation under test: a registry as plain tables.

use enforcer_ebpf::{Address, Interface, Mode, Packet, PeerSet, Policy, Protocol, Service, source};

use crate::reference::Registry;

pub(crate) struct Tables<'a> {
    pub(crate) registry: &'a Registry,
    /// The index of the arriving interface.
    pub(crate) interface: u32,
    /// The packet, as the guard sees the bytes.
    pub(crate) bytes: &'a [u8],
    /// The FIB's answer.
    pub(crate) forwarded: bool,
}

impl Tables<'_> {
    /// The port of a slot, from 1 on in the order of the registry.
    pub(crate) fn port_of(&self, slot: u16) -> Option<(Protocol, u16)> {
        let mut ports = self
            .registry
            .services
            .iter()
            .flat_map(|service| &service.ports);
        ports.nth(usize::from(slot).checked_sub(1)?).copied()
    }

    fn peers(&self, matches: impl Fn(&crate::reference::Peer) -> bool) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        // Spread over all words of the set.
        for (number, _) in (0..)
            .step_by(67)
            .zip(&self.registry.peers)
            .filter(|(_, peer)| matches(peer))
        {
            set.insert(number);
        }
        set
    }
}

impl Policy for Tables<'_> {
    fn mode(&self) -> Mode {
        self.registry.mode
    }

    fn service(&self, protocol: Protocol, port: u16) -> Option<Service> {
        let mut slot = 0;
        for (number, service) in (0..).zip(&self.registry.services) {
            for registered in &service.ports {
                slot += 1;
                if *registered == (protocol, port) {
                    return Some(Service {
                        slot,
                        number,
                        public: service.public,
                        has_peers: !service.allow.is_empty(),
                        mode: service.mode.unwrap_or(self.registry.mode),
                    });
                }
            }
        }
        None
    }

    fn interface(&self) -> Interface {
        let known = self
            .registry
            .interfaces
            .iter()
            .find(|interface| interface.index == self.interface);
        Interface {
            forward: known.is_some_and(|interface| interface.forward),
            has_peers: !self.carried().is_empty(),
        }
    }

    fn carried(&self) -> PeerSet {
        self.peers(|peer| peer.interface == self.interface)
    }

    fn allowed(&self, service: Service) -> PeerSet {
        let allow = &self.registry.services[usize::from(service.number)].allow;
        self.peers(|peer| allow.contains(&peer.name))
    }

    fn peers_of(&self, packet: &Packet) -> PeerSet {
        let Some(source) = source(self.bytes, packet.ip_offset) else {
            return PeerSet::EMPTY;
        };
        self.peers(|peer| {
            peer.interface == self.interface
                && peer.prefixes.iter().any(|(network, length)| {
                    let network = Address::from(*network);
                    source.family() == network.family() && source.network(*length) == network
                })
        })
    }

    fn is_forwarded(&self, _: &Packet) -> bool {
        self.forwarded
    }
}
