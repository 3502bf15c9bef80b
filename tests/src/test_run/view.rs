//! The registry and the host as a frame meets them: lists that are searched from front to back.

use std::net::IpAddr;

use enforcer::policy::PolicyInterface;
use enforcer::registry::{Allow, Forward, Identity, InterfaceTable, Peer};
use enforcer_ebpf::{
    Address, Interface, Link, Mode, Network, Packet, PeerSet, Policy, Port, Protocol, Route,
    Service, destination, opens, source,
};

use super::network::{FORWARDED_V4, FORWARDED_V6, On};
use super::packet::Frame;
use super::world::World;

/// A frame's view of a world.
pub(super) struct View<'a> {
    world: &'a World,
    on: On,
    frame: &'a Frame,
}

impl<'a> View<'a> {
    pub(super) const fn new(world: &'a World, on: On, frame: &'a Frame) -> Self {
        Self { world, on, frame }
    }

    /// The interfaces through which the frame may have come: a VLAN parent cannot tell, and a
    /// member has its master's view.
    fn interfaces(&self) -> impl Iterator<Item = &PolicyInterface> {
        let all = &self.world.host.interfaces;
        let own = all.iter().find(|i| i.ifindex == self.on.ifindex());
        let merged = own.map(|own| own.merged.as_slice()).unwrap_or_default();
        let merged = all.iter().filter(|i| merged.contains(&i.ifindex));
        own.into_iter().chain(merged)
    }

    fn is_here(&self, name: &str) -> bool {
        self.interfaces().any(|interface| interface.name == name)
    }

    fn options(&self, interface: &PolicyInterface) -> Option<&InterfaceTable> {
        self.world
            .registry
            .interface_table(std::iter::once(interface.name.as_str()))
    }

    fn peers(&self, wanted: impl Fn(&Peer) -> bool) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        for (number, peer) in (0..).zip(self.world.registry.peers()) {
            if wanted(peer) {
                set.insert(number);
            }
        }
        set
    }

    fn named(&self, allow: &Allow) -> PeerSet {
        self.peers(|peer| allow.names().any(|name| name == peer.name))
    }

    fn source(&self, packet: &Packet) -> Option<IpAddr> {
        source(&self.frame.bytes[..], packet.ip_offset).map(IpAddr::from)
    }

    fn destination(&self, packet: &Packet) -> Option<IpAddr> {
        destination(&self.frame.bytes[..], packet.ip_offset).map(IpAddr::from)
    }

    fn has_row(&self, address: IpAddr) -> bool {
        let mut rows = self.world.host.local.iter();
        rows.any(|(prefix, _)| prefix.contains(&address))
    }
}

/// Whether a peer has an address in a prefix longer than `above`.
fn has_address(peer: &Peer, address: IpAddr, above: Option<u8>) -> bool {
    match &peer.identity {
        Identity::Addresses(prefixes) => prefixes.iter().any(|prefix| {
            above.is_none_or(|above| prefix.prefix_len() > above)
                && is_within(address, prefix.addr(), prefix.prefix_len())
        }),
        Identity::Key(_) => false,
    }
}

impl Policy for View<'_> {
    type Peers = PeerSet;

    fn mode(&self) -> Mode {
        self.world.registry.mode()
    }

    fn port(&self, protocol: Protocol, packet: &Packet) -> Port {
        let registry = &self.world.registry;
        let port = packet.transport.port;
        let mut services = registry.services().iter();
        let has_port = |ports: &std::collections::BTreeSet<_>| ports.contains(&(protocol, port));
        let Some(number) = services.position(|service| has_port(&service.ports)) else {
            let action = registry.unregistered().action(protocol);
            return action.mode().map_or(Port::Open, |mode| {
                Port::Unregistered(match registry.mode() {
                    Mode::Audit => Mode::Audit,
                    Mode::Enforce => mode,
                })
            });
        };
        let Some(binding) = self.world.tables.ports.get(&(protocol, port)) else {
            return Port::Open;
        };
        // No two services share a port here.
        let service = &registry.services()[number];
        let at = self.destination(packet);
        let is_here = service.on.is_empty() || at.is_some_and(|at| service.on.contains_key(&at));
        Port::Registered(Service {
            slot: binding.slot,
            number: u16::try_from(number).unwrap_or(u16::MAX),
            public: service.public && is_here,
            has_peers: !service.allow.is_empty() && is_here,
            mode: registry.mode_of(service),
        })
    }

    fn interface(&self) -> Interface {
        let forward = |interface| self.options(interface).map(|options| options.forward);
        let mut all = self.interfaces().map(forward).peekable();
        let is_known = all.peek().is_some();
        Interface {
            judges_all: is_known && all.all(|forward| forward == Some(Forward::False)),
            hairpin: self
                .interfaces()
                .any(|interface| forward(interface) == Some(Forward::True)),
            inside: self.on == On::Pod0,
            has_peers: !self.carried().is_empty(),
        }
    }

    fn carried(&self) -> PeerSet {
        self.peers(|peer| self.is_here(&peer.interface))
    }

    fn allowed(&self, service: Service) -> PeerSet {
        let services = self.world.registry.services();
        self.named(&services[usize::from(service.number)].allow)
    }

    fn allowed_unregistered(&self) -> PeerSet {
        self.named(&self.world.registry.unregistered().allow)
    }

    fn peers_of(&self, packet: &Packet) -> PeerSet {
        let Some(source) = self.source(packet) else {
            return PeerSet::EMPTY;
        };
        self.peers(|peer| self.is_here(&peer.interface) && has_address(peer, source, None))
    }

    fn network(&self, packet: &Packet) -> Option<Network<PeerSet>> {
        let destination = self.destination(packet)?;
        let mut bridges = self.world.host.interfaces.iter().filter(|i| i.is_bridge);
        let bridge = bridges.find(|bridge| {
            let mut subnets = bridge.addresses.iter();
            subnets.any(|subnet| is_within(destination, subnet.addr(), subnet.prefix_len()))
        })?;
        let is_anothers = self.world.host.local.iter().any(|(prefix, ifindex)| {
            prefix.addr() == destination
                && prefix.prefix_len() == prefix.max_prefix_len()
                && *ifindex != bridge.ifindex
        });
        let options = self.options(bridge);
        (self.on.ifindex() != bridge.ifindex && !is_anothers).then(|| Network {
            allowed: options.map_or(PeerSet::EMPTY, |options| self.named(&options.allow)),
            mode: options
                .and_then(|options| options.mode)
                .unwrap_or_else(|| self.mode()),
        })
    }

    fn is_local(&self, packet: &Packet) -> bool {
        self.destination(packet).is_none_or(|to| self.has_row(to))
    }

    fn is_own(&self, packet: &Packet) -> bool {
        self.source(packet).is_some_and(|from| self.has_row(from))
    }

    fn is_for_other_mac(&self, _: &Packet) -> bool {
        match self.frame.bytes.first_chunk::<6>() {
            Some(mac) if self.frame.link == Link::Ethernet => {
                mac[0] & 1 == 0 && !self.world.host.macs.contains_key(mac)
            }
            _ => false,
        }
    }

    fn route(&self, packet: &Packet) -> Route {
        let (Some(source), Some(destination)) = (self.source(packet), self.destination(packet))
        else {
            return Route::Here;
        };
        let is_routed = match destination {
            IpAddr::V4(_) => is_within(destination, FORWARDED_V4.0.into(), FORWARDED_V4.1),
            IpAddr::V6(_) => is_within(destination, FORWARDED_V6.0.into(), FORWARDED_V6.1),
        };
        // RFC 4291, 2.5.6: routers forward nothing from a link-local address. Nor does the kernel's
        // FIB from a group (rt6_need_strict in include/net/ip6_route.h).
        let stays = match source {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast(),
        };
        if !self.world.forwards || !is_routed || stays || !Address::from(destination).is_unicast() {
            Route::Here
        } else if self.on == On::Eth0 {
            Route::Back
        } else {
            Route::Onward
        }
    }

    fn opens(&self, packet: &Packet) -> bool {
        opens(&self.frame.bytes[..], packet)
    }

    fn is_proxied(&self, _: &Packet) -> bool {
        false
    }

    fn is_anothers_fragment(&self, packet: &Packet) -> bool {
        let Some(source) = self.source(packet) else {
            return false;
        };
        let registry = &self.world.registry;
        let mut peers = registry.peers().iter();
        let is_allowed = |peer: &Peer| {
            let mut services = registry.services().iter();
            services.any(|service| service.allow.names().any(|name| name == peer.name))
        };
        let elsewhere = peers.any(|peer| is_allowed(peer) && has_address(peer, source, Some(0)));
        let mut own = registry
            .peers()
            .iter()
            .filter(|peer| self.is_here(&peer.interface));
        let mut subnets = self.interfaces().flat_map(|interface| &interface.addresses);
        elsewhere
            && !own.any(|peer| has_address(peer, source, None))
            && !subnets.any(|subnet| is_within(source, subnet.addr(), subnet.prefix_len()))
    }
}

/// Whether the first bits of two addresses of a family are the same.
pub(crate) fn is_within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let differing = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    differing >= u32::from(length)
}
