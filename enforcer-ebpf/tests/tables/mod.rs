//! The policy for the implementation under test: a registry as plain tables, and the answers as the
//! maps of the kernel would give them.

use enforcer_ebpf::{
    Address, FIRST_PORT_SLOT, Interface, Mode, NETWORK_SLOT, NO_SLOT, Network, Packet, PeerSet,
    Policy, Port, Protocol, Route, Service, destination, opens, source,
};

use crate::reference::{
    Arrival, ContainerNetwork, Counter, Fib, Forward, Peer, Registry, SocketState,
};

pub(crate) struct Tables<'a> {
    pub(crate) registry: &'a Registry,
    /// The packet, as the guard sees the bytes.
    pub(crate) bytes: &'a [u8],
    pub(crate) arrival: Arrival,
    /// The state of the socket, at the socket guard.
    pub(crate) socket: Option<SocketState>,
}

/// The owner of a slot: the ports from [`FIRST_PORT_SLOT`] on in the order of the registry.
pub(crate) fn counter_of(registry: &Registry, slot: u16) -> Counter {
    match slot {
        NO_SLOT => Counter::NoPort,
        NETWORK_SLOT => Counter::Networks,
        slot if slot < FIRST_PORT_SLOT => {
            Counter::Unregistered(Protocol::ALL[usize::from(slot) - 1])
        }
        slot => {
            let (number, protocol, port) = ports(registry)
                .nth(usize::from(slot - FIRST_PORT_SLOT))
                .unwrap();
            Counter::Port(number, protocol, port)
        }
    }
}

/// All ports with the numbers of their services.
fn ports(registry: &Registry) -> impl Iterator<Item = (usize, Protocol, u16)> {
    let services = registry.services.iter().enumerate();
    services.flat_map(|(number, service)| {
        let ports = service.ports.iter();
        ports.map(move |(protocol, port)| (number, *protocol, *port))
    })
}

/// Whether a prefix covers an address, in whole words.
fn covers((network, length): (std::net::IpAddr, u8), address: &Address) -> bool {
    let network = Address::from(network);
    address.family() == network.family() && address.network(length) == network.network(length)
}

impl Tables<'_> {
    /// The interface with the peers and the rules: the master of a member.
    fn view(&self) -> u32 {
        self.registry.view(self.arrival.interface)
    }

    fn peers(&self, matches: impl Fn(&Peer) -> bool) -> PeerSet {
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

    fn named(&self, allow: &[String]) -> PeerSet {
        self.peers(|peer| allow.contains(&peer.name))
    }

    fn source(&self, packet: &Packet) -> Option<Address> {
        source(self.bytes, packet.ip_offset)
    }

    fn destination(&self, packet: &Packet) -> Option<Address> {
        destination(self.bytes, packet.ip_offset)
    }

    fn has_row(&self, address: &Address) -> bool {
        let mut rows = self.registry.local.iter();
        rows.any(|row| covers(row.prefix, address))
    }

    /// The network with the longest subnet around a destination.
    fn find_network(&self, destination: &Address) -> Option<&ContainerNetwork> {
        let subnets = self.registry.networks.iter().flat_map(|network| {
            let subnets = network.subnets.iter();
            subnets.map(move |subnet| (subnet.1, network, *subnet))
        });
        subnets
            .filter(|(_, _, subnet)| covers(*subnet, destination))
            .max_by_key(|(length, ..)| *length)
            .map(|(_, network, _)| network)
    }
}

impl Policy for Tables<'_> {
    type Peers = PeerSet;

    fn mode(&self) -> Mode {
        self.registry.mode
    }

    fn port(&self, protocol: Protocol, packet: &Packet) -> Port {
        let wanted = (protocol, packet.transport.port);
        let mut owners = (FIRST_PORT_SLOT..)
            .zip(ports(self.registry))
            .filter(|(_, (_, protocol, port))| (*protocol, *port) == wanted);
        let Some((slot, (number, ..))) = owners.next() else {
            let mode = match protocol {
                Protocol::Tcp => self.registry.unregistered.tcp,
                Protocol::Sctp => self.registry.unregistered.sctp,
                Protocol::Udp => self.registry.unregistered.udp,
            };
            return mode.map_or(Port::Open, Port::Unregistered);
        };
        let bind = |slot, number: usize, is_here: bool| {
            let service = &self.registry.services[number];
            Port::Registered(Service {
                slot,
                number: u16::try_from(number).unwrap(),
                public: service.public && is_here,
                has_peers: !service.allow.is_empty() && is_here,
                mode: service.mode.unwrap_or(self.registry.mode),
            })
        };
        if self.registry.services[number].on.is_empty() {
            return bind(slot, number, true);
        }
        let at = self.destination(packet);
        let all = owners.chain([(slot, (number, protocol, wanted.1))]);
        let here = all.into_iter().find(|(_, (number, ..))| {
            let mut on = self.registry.services[*number].on.iter();
            on.any(|on| at == Some(Address::from(*on)))
        });
        match here {
            Some((slot, (number, ..))) => bind(slot, number, true),
            None => bind(slot, number, false),
        }
    }

    fn interface(&self) -> Interface {
        let known = self.registry.interface(self.view());
        let forward = known.map_or(Forward::Auto, |interface| interface.forward);
        Interface {
            judges_all: forward == Forward::False,
            hairpin: forward == Forward::True
                || known.is_some_and(|interface| !interface.has_ethernet),
            inside: known.is_some_and(|interface| interface.inside),
            has_peers: !self.carried().is_empty(),
        }
    }

    fn carried(&self) -> PeerSet {
        self.peers(|peer| peer.interface == self.view())
    }

    fn allowed(&self, service: Service) -> PeerSet {
        self.named(&self.registry.services[usize::from(service.number)].allow)
    }

    fn allowed_unregistered(&self) -> PeerSet {
        self.named(&self.registry.unregistered.allow)
    }

    fn peers_of(&self, packet: &Packet) -> PeerSet {
        let Some(source) = self.source(packet) else {
            return PeerSet::EMPTY;
        };
        self.peers(|peer| {
            let mut prefixes = peer.prefixes.iter();
            peer.interface == self.view() && prefixes.any(|prefix| covers(*prefix, &source))
        })
    }

    fn network(&self, packet: &Packet) -> Option<Network<PeerSet>> {
        let destination = self.destination(packet)?;
        let network = self.find_network(&destination)?;
        let interface = self.registry.interface(self.arrival.interface);
        let belongs = network.bridge == self.arrival.interface
            || interface.is_some_and(|interface| interface.network == Some(network.bridge));
        let is_anothers_address = self.registry.local.iter().any(|row| {
            Address::from(row.prefix.0) == destination
                && row.prefix.1 == destination.family().bits()
                && row.interface != network.bridge
        });
        (!network.routed && !belongs && !is_anothers_address).then(|| Network {
            allowed: self.named(&network.allow),
            mode: network.mode.unwrap_or(self.registry.mode),
        })
    }

    fn is_local(&self, packet: &Packet) -> bool {
        self.destination(packet)
            .is_none_or(|destination| self.has_row(&destination))
    }

    fn is_own(&self, packet: &Packet) -> bool {
        match (self.source(packet), self.destination(packet)) {
            (Some(source), Some(to)) if source == Address::v4([0; 4]) => {
                to == Address::v4([255; 4])
            }
            (Some(source), Some(_)) => self.has_row(&source),
            _ => false,
        }
    }

    fn is_for_other_mac(&self, _: &Packet) -> bool {
        let mac = self.arrival.mac;
        mac.is_some_and(|mac| mac[0] & 1 == 0 && !self.registry.macs.contains(&mac))
    }

    fn route(&self, packet: &Packet) -> Route {
        let destination = self.destination(packet);
        match self.arrival.fib {
            Fib::Through(out) if destination.is_some_and(|to| to.is_unicast()) => {
                if out == self.view() {
                    Route::Back
                } else {
                    Route::Onward
                }
            }
            _ => Route::Here,
        }
    }

    fn opens(&self, packet: &Packet) -> bool {
        let is_udp = packet.transport.protocol() == Ok(Protocol::Udp);
        match self.socket {
            None if is_udp => self.arrival.unasked,
            None => opens(self.bytes, packet),
            Some(SocketState::Listening) => !is_udp,
            Some(SocketState::Unasked) => is_udp,
            Some(_) => false,
        }
    }

    fn is_proxied(&self, _: &Packet) -> bool {
        match self.socket {
            Some(SocketState::Connected(own)) => !self.has_row(&own.into()),
            _ => false,
        }
    }

    fn is_anothers_fragment(&self, packet: &Packet) -> bool {
        let Some(source) = self.source(packet) else {
            return false;
        };
        let registry = self.registry;
        let is_allowed = |peer: &Peer| {
            let mut services = registry.services.iter();
            services.any(|service| service.allow.contains(&peer.name))
        };
        // The prefixes of all allowed peers, those of this interface too: the second list takes
        // them out again.
        let is_peers = registry.peers.iter().any(|peer| {
            let mut long = peer.prefixes.iter().filter(|prefix| prefix.1 > 0);
            is_allowed(peer) && long.any(|prefix| covers(*prefix, &source))
        });
        let here = registry.interface(self.view());
        let subnets = here.into_iter().flat_map(|interface| &interface.subnets);
        let own = registry
            .peers
            .iter()
            .filter(|peer| peer.interface == self.view());
        let mut own = own.flat_map(|peer| &peer.prefixes).chain(subnets);
        is_peers && !own.any(|prefix| covers(*prefix, &source))
    }
}
