//! The registry and the host, as lists.

use std::net::IpAddr;

use enforcer_ebpf::{Mode, Protocol};

/// A prefix: a network, and the number of its leading bits that count.
pub(crate) type Prefix = (IpAddr, u8);

/// A registry, and the facts about the host that the design asks for.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    pub(crate) mode: Mode,
    pub(crate) services: Vec<Service>,
    pub(crate) unregistered: Unregistered,
    pub(crate) peers: Vec<Peer>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) networks: Vec<ContainerNetwork>,
    /// All routes of type local, broadcast and anycast.
    pub(crate) local: Vec<LocalRow>,
    /// The MAC addresses that this host takes.
    pub(crate) macs: Vec<[u8; 6]>,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) ports: Vec<(Protocol, u16)>,
    /// The addresses of the host at which the service has its ports; all if empty.
    pub(crate) on: Vec<IpAddr>,
    pub(crate) public: bool,
    pub(crate) allow: Vec<String>,
    /// Overrides the global mode.
    pub(crate) mode: Option<Mode>,
}

/// `[unregistered]`: `None` passes a protocol.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unregistered {
    pub(crate) tcp: Option<Mode>,
    pub(crate) udp: Option<Mode>,
    pub(crate) sctp: Option<Mode>,
    pub(crate) allow: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) interface: u32,
    pub(crate) prefixes: Vec<Prefix>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    Auto,
    True,
    False,
}

#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) forward: Forward,
    pub(crate) inside: bool,
    pub(crate) has_ethernet: bool,
    pub(crate) is_vrf: bool,
    /// The bridge, bond or team whose view the guard of a member has.
    pub(crate) master: Option<u32>,
    /// The bridge of a container network whose member or VLAN device the interface is.
    pub(crate) network: Option<u32>,
    /// Whether the guard looks through VLAN tags, as netfilter on bridge members does.
    pub(crate) looks_through: bool,
    pub(crate) subnets: Vec<Prefix>,
}

#[derive(Clone, Debug)]
pub(crate) struct ContainerNetwork {
    pub(crate) bridge: u32,
    pub(crate) subnets: Vec<Prefix>,
    pub(crate) allow: Vec<String>,
    pub(crate) routed: bool,
    /// Overrides the global mode.
    pub(crate) mode: Option<Mode>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalRow {
    pub(crate) prefix: Prefix,
    pub(crate) interface: u32,
}

/// The registration of a port at an address.
pub(crate) enum Registered<'a> {
    /// The number of the service.
    By(usize, &'a Service),
    /// No `on` of the port's services covers the address; the first of them owns the counters.
    Elsewhere(usize, &'a Service),
}

fn bits(address: IpAddr) -> Vec<bool> {
    let octets = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    octets
        .iter()
        .flat_map(|octet| {
            format!("{octet:08b}")
                .chars()
                .map(|bit| bit == '1')
                .collect::<Vec<_>>()
        })
        .collect()
}

pub(crate) fn is_within(address: IpAddr, (network, length): Prefix) -> bool {
    // No conversion between the families: a v4-mapped address is an IPv6 address.
    address.is_ipv4() == network.is_ipv4()
        && bits(address)[..usize::from(length)] == bits(network)[..usize::from(length)]
}

impl Registry {
    pub(crate) fn interface(&self, index: u32) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.index == index)
    }

    /// The interface whose peers and rules hold for a guard: a member has the view of its master.
    pub(crate) fn view(&self, index: u32) -> u32 {
        let interface = self.interface(index);
        interface
            .and_then(|interface| interface.master)
            .unwrap_or(index)
    }

    /// The registration of a port at an address of the host.
    pub(crate) fn registered(
        &self,
        port: (Protocol, u16),
        at: Option<IpAddr>,
    ) -> Option<Registered<'_>> {
        let owners: Vec<(usize, &Service)> = self
            .services
            .iter()
            .enumerate()
            .filter(|(_, service)| service.ports.contains(&port))
            .collect();
        for (number, service) in &owners {
            let covers = service.on.is_empty() || at.is_some_and(|at| service.on.contains(&at));
            if covers {
                return Some(Registered::By(*number, service));
            }
        }
        let (number, service) = owners.first()?;
        Some(Registered::Elsewhere(*number, service))
    }

    /// Whether a source on an interface is one of the named peers.
    pub(crate) fn is_peer(&self, allow: &[String], source: Option<IpAddr>, index: u32) -> bool {
        self.peers_on(allow, index).any(|peer| {
            let within = |prefix| source.is_some_and(|source| is_within(source, prefix));
            peer.prefixes.iter().any(|prefix| within(*prefix))
        })
    }

    /// The named peers that an interface carries.
    pub(crate) fn peers_on<'a>(
        &'a self,
        allow: &'a [String],
        index: u32,
    ) -> impl Iterator<Item = &'a Peer> {
        let view = self.view(index);
        self.peers
            .iter()
            .filter(move |peer| peer.interface == view && allow.contains(&peer.name))
    }

    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        self.local.iter().any(|row| is_within(address, row.prefix))
    }

    /// The container network of a destination: the one with the longest subnet, as a router would
    /// choose.
    pub(crate) fn network(&self, destination: IpAddr) -> Option<&ContainerNetwork> {
        let mut best: Option<(u8, &ContainerNetwork)> = None;
        for network in &self.networks {
            for subnet in &network.subnets {
                let is_longer = best.is_none_or(|(length, _)| subnet.1 > length);
                if is_within(destination, *subnet) && is_longer {
                    best = Some((subnet.1, network));
                }
            }
        }
        best.map(|(_, network)| network)
    }

    /// Whether a later fragment could complete a datagram of another interface's peer (A34).
    pub(crate) fn is_anothers_fragment(&self, source: IpAddr, index: u32) -> bool {
        let view = self.view(index);
        let is_allowed = |peer: &Peer| {
            self.services
                .iter()
                .any(|service| service.allow.contains(&peer.name))
        };
        let elsewhere = self.peers.iter().any(|peer| {
            let within = |prefix: &Prefix| prefix.1 > 0 && is_within(source, *prefix);
            peer.interface != view && is_allowed(peer) && peer.prefixes.iter().any(within)
        });
        let mut own: Vec<Prefix> = self
            .peers
            .iter()
            .filter(|peer| peer.interface == view)
            .flat_map(|peer| peer.prefixes.clone())
            .collect();
        own.extend(
            self.interface(view)
                .map(|interface| interface.subnets.clone())
                .unwrap_or_default(),
        );
        elsewhere && !own.iter().any(|prefix| is_within(source, *prefix))
    }
}
