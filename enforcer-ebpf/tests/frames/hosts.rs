//! Choices of registries, hosts and sockets.

use std::net::IpAddr;

use enforcer_ebpf::{Mode, Protocol};

use super::choices::{Choices, OWN_MAC, PORT_MAC, PORTS};
use crate::reference::{
    ContainerNetwork, Fib, Forward, Interface, LO, LocalRow, Peer, Registry, Service, Socket,
    SocketState, Unregistered,
};

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// Interfaces with peers.
const OUTSIDE: [u32; 3] = [2, 3, 4];
/// A member of the bridge 3.
const MEMBER: u32 = 5;
/// The bridge of a container network, and a member of that bridge.
const BRIDGE: u32 = 6;
const GUEST: u32 = 7;
const VRF: u32 = 8;

/// The interfaces of packets; no registry names 9.
const INTERFACES: [u32; 11] = [2, 3, 4, 2, 3, 4, 9, MEMBER, BRIDGE, GUEST, VRF];

/// Container networks; one within another, and one bridge that is not there.
const NETWORKS: [(u32, [(&str, u8); 2]); 3] = [
    (BRIDGE, [("10.88.0.0", 16), ("fd00:88::", 64)]),
    (10, [("10.88.5.0", 24), ("fd00:88::8", 125)]),
    (11, [("172.17.0.0", 16), ("fd00:17::", 64)]),
];

/// Rows of the local table: addresses of interfaces, and prefixes of AnyIP.
const LOCAL: [(&str, u8, u32); 12] = [
    ("10.10.0.1", 32, 2),
    ("192.168.1.1", 32, 4),
    ("fd00:10::1", 128, 2),
    ("fe80::1", 128, 4),
    ("10.88.0.1", 32, BRIDGE),
    ("10.88.0.7", 32, 4),
    ("fd00:88::1", 128, BRIDGE),
    ("fd00:88::7", 128, 4),
    ("255.255.255.255", 32, 4),
    ("10.10.0.0", 32, 2),
    ("10.9.0.0", 16, LO),
    ("::ffff:10.10.0.0", 124, LO),
];

/// One for each service that has an address of its own.
const ON: [&str; 4] = ["10.10.0.1", "192.168.1.1", "fd00:10::1", "10.88.0.1"];

const PREFIXES: [(&str, u8); 13] = [
    ("10.10.0.0", 28),
    ("10.10.0.1", 32),
    ("10.10.0.0", 31),
    ("10.8.0.0", 13),
    ("fd00:10::", 64),
    ("fd00:10::1", 128),
    ("fd00::", 8),
    ("fd00:10::", 65),
    ("::", 63),
    ("::ffff:10.10.0.0", 124),
    ("fd00:10::", 63),
    ("0.0.0.0", 0),
    ("::", 0),
];

const MODES: [Option<Mode>; 4] = [None, None, Some(Mode::Enforce), Some(Mode::Audit)];

fn prefix((network, length): (&str, u8)) -> (IpAddr, u8) {
    (network.parse().unwrap(), length)
}

impl Choices<'_> {
    /// The index of the arriving interface.
    pub(crate) fn interface(&mut self) -> u32 {
        if self.chance(16) {
            LO
        } else {
            self.pick(&INTERFACES)
        }
    }

    pub(crate) fn fib(&mut self) -> Fib {
        match self.below(8) {
            0..=3 => Fib::NotForwarded,
            _ => Fib::Through(self.pick(&INTERFACES[..3])),
        }
    }

    pub(crate) fn port(&mut self) -> (Protocol, u16) {
        (self.pick(&PROTOCOLS), self.pick(&PORTS))
    }

    pub(crate) fn socket(&mut self) -> Socket {
        let state = match self.below(5) {
            0 | 1 => SocketState::Listening,
            2 => SocketState::Answered,
            3 => SocketState::Unasked,
            _ => {
                let own = self.pick(&["8.8.8.8", "10.10.0.1", "fd00:10::1", "2001:db8::1"]);
                SocketState::Connected(own.parse().unwrap())
            }
        };
        Socket {
            port: self.port(),
            state,
        }
    }

    pub(crate) fn registry(&mut self) -> Registry {
        let mode = if self.chance(64) {
            Mode::Audit
        } else {
            Mode::Enforce
        };
        let peers = (0..4)
            .map(|number| Peer {
                name: format!("peer-{number}"),
                interface: self.pick(&OUTSIDE),
                prefixes: (0..=self.below(3))
                    .map(|_| prefix(self.pick(&PREFIXES)))
                    .collect(),
            })
            .collect();
        Registry {
            mode,
            services: self.services(),
            unregistered: Unregistered {
                tcp: self.pick(&MODES),
                udp: self.pick(&MODES),
                sctp: self.pick(&MODES),
                allow: self.allow(),
            },
            peers,
            interfaces: [2, 3, 4, MEMBER, BRIDGE, GUEST, VRF]
                .map(|index| self.host_interface(index))
                .to_vec(),
            networks: self.networks(),
            local: self.local(),
            macs: [OWN_MAC, PORT_MAC][..=self.below(2)].to_vec(),
        }
    }

    /// Peers, each with an even chance.
    fn allow(&mut self) -> Vec<String> {
        let allowed = self.byte();
        (0..4)
            .filter(|peer| allowed >> peer & 1 == 1)
            .map(|peer| format!("peer-{peer}"))
            .collect()
    }

    fn services(&mut self) -> Vec<Service> {
        let mut services: Vec<Service> = (0..4).map(|number| self.service(number)).collect();
        for protocol in PROTOCOLS {
            for port in PORTS {
                // A third of the ports stays unregistered.
                let Some(owner) = self.below(6).checked_sub(2) else {
                    continue;
                };
                services[owner].ports.push((protocol, port));
                // Two services may have a port at two addresses.
                let other = (owner + 1) % 4;
                if !services[owner].on.is_empty() && !services[other].on.is_empty() {
                    services[other].ports.push((protocol, port));
                }
            }
        }
        services
    }

    /// A service without ports yet; one of them may have an address of the host of its own.
    pub(crate) fn service(&mut self, number: usize) -> Service {
        let public = self.chance(64);
        let on = if self.chance(64) {
            vec![ON[number].parse().unwrap()]
        } else {
            Vec::new()
        };
        Service {
            ports: Vec::new(),
            on,
            public,
            // A registry cannot have `public` with `allow`; the decision table has an answer
            // anyway.
            allow: self.allow(),
            mode: self.pick(&MODES),
        }
    }

    fn host_interface(&mut self, index: u32) -> Interface {
        let subnet = self.pick(&[("10.10.0.0", 28), ("10.8.0.0", 13), ("fd00:10::", 64)]);
        Interface {
            index,
            forward: self.pick(&[Forward::Auto, Forward::Auto, Forward::True, Forward::False]),
            inside: index == BRIDGE || index == GUEST || self.chance(24),
            has_ethernet: index != 2,
            is_vrf: index == VRF,
            master: (index == MEMBER).then_some(3),
            network: (index == GUEST).then_some(BRIDGE),
            looks_through: index == MEMBER && self.chance(128),
            subnets: if self.chance(64) {
                vec![prefix(subnet)]
            } else {
                Vec::new()
            },
        }
    }

    fn networks(&mut self) -> Vec<ContainerNetwork> {
        let mut networks = Vec::new();
        for (bridge, subnets) in NETWORKS {
            if self.chance(128) {
                networks.push(ContainerNetwork {
                    bridge,
                    subnets: subnets.map(prefix).to_vec(),
                    allow: self.allow(),
                    routed: self.chance(48),
                    mode: self.pick(&MODES),
                });
            }
        }
        networks
    }

    fn local(&mut self) -> Vec<LocalRow> {
        let mut rows = Vec::new();
        for (network, length, interface) in LOCAL {
            if self.chance(192) {
                rows.push(LocalRow {
                    prefix: prefix((network, length)),
                    interface,
                });
            }
        }
        rows
    }
}
