//! The second implementation: the text of the design, slow and obvious.
//!
//! The sources were the design and the RFCs, not the crate. The code peels headers off an owned
//! vector, compares prefixes bit by bit and searches lists; the only lines shared with the crate
//! are the words ([`Reason`], [`Protocol`], [`Mode`], [`Verdict`]).

use std::net::IpAddr;

use enforcer_ebpf::{Link, Mode, Protocol, Reason, Verdict};

mod reading;

pub(crate) use reading::{Reading, SENTENCES};

/// The index of lo in every network namespace.
pub(crate) const LO: u32 = 1;

/// The reasons of the socket guard: at a socket there always is a port.
pub(crate) const AT_SOCKETS: [Reason; 6] = [
    Reason::Loopback,
    Reason::Public,
    Reason::Peer,
    Reason::UnknownPeer,
    Reason::UntrustedInterface,
    Reason::Unregistered,
];

#[derive(Clone, Debug)]
pub(crate) struct Registry {
    pub(crate) mode: Mode,
    pub(crate) services: Vec<Service>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) interfaces: Vec<Interface>,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) ports: Vec<(Protocol, u16)>,
    pub(crate) public: bool,
    pub(crate) allow: Vec<String>,
    /// Overrides the global mode.
    pub(crate) mode: Option<Mode>,
}

#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) interface: u32,
    pub(crate) prefixes: Vec<(IpAddr, u8)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) forward: bool,
}

/// The design's answer for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Reason,
    pub(crate) audited: bool,
    pub(crate) counted: bool,
    /// The rule of the decision table, `None` for a packet without a port.
    pub(crate) rule: Option<u8>,
    /// The registered port of the counters.
    pub(crate) port: Option<(Protocol, u16)>,
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

fn is_within(address: IpAddr, (network, length): (IpAddr, u8)) -> bool {
    // No conversion between the families: a v4-mapped address is an IPv6 address.
    address.is_ipv4() == network.is_ipv4()
        && bits(address)[..usize::from(length)] == bits(network)[..usize::from(length)]
}

impl Registry {
    pub(crate) fn service(&self, protocol: Protocol, port: u16) -> Option<&Service> {
        self.services
            .iter()
            .find(|service| service.ports.contains(&(protocol, port)))
    }

    fn allows(&self, service: &Service) -> Vec<&Peer> {
        self.peers
            .iter()
            .filter(|peer| service.allow.contains(&peer.name))
            .collect()
    }

    /// The wire guard's answer; `fib` returns whether the FIB would forward the packet.
    pub(crate) fn wire(&self, reading: &Reading, index: u32, fib: impl Fn() -> bool) -> Answer {
        let port = reading.outcome.ok();
        let registered = port.filter(|(protocol, port)| self.service(*protocol, *port).is_some());
        if index == LO {
            return Answer::pass(Reason::Loopback, 1, registered);
        }
        if reading.has_loopback() {
            return Answer::drop(Reason::LoopbackAddress, Some(2), None, self.mode);
        }
        match reading.outcome {
            Err(reason @ (Reason::HeaderChain | Reason::Malformed)) => {
                Answer::drop(reason, None, None, self.mode)
            }
            Err(reason) => Answer {
                verdict: Verdict::Pass,
                reason,
                audited: false,
                counted: false,
                rule: None,
                port: None,
            },
            Ok((protocol, port)) => {
                let forward = self
                    .interfaces
                    .iter()
                    .any(|i| i.index == index && i.forward);
                self.table(
                    (protocol, port),
                    reading.addresses.map(|both| both.0),
                    index,
                    &|| forward && fib(),
                )
            }
        }
    }

    /// The socket guard's answer: the port is the socket's own, the source is the packet's.
    pub(crate) fn socket(&self, packet: &[u8], index: u32, port: (Protocol, u16)) -> Answer {
        let registered =
            Some(port).filter(|(protocol, port)| self.service(*protocol, *port).is_some());
        if index == LO {
            return Answer::pass(Reason::Loopback, 1, registered);
        }
        let source = Reading::strict(packet, Link::Ip)
            .addresses
            .map(|both| both.0);
        self.table(port, source, index, &|| false)
    }

    /// Rules 3 to 8.
    fn table(
        &self,
        port: (Protocol, u16),
        source: Option<IpAddr>,
        index: u32,
        forwarded: &dyn Fn() -> bool,
    ) -> Answer {
        let Some(service) = self.service(port.0, port.1) else {
            return Answer::pass(Reason::Unregistered, 3, None);
        };
        if forwarded() {
            return Answer::pass(Reason::Forwarded, 4, None);
        }
        if service.public {
            return Answer::pass(Reason::Public, 5, Some(port));
        }
        let here: Vec<&Peer> = self
            .allows(service)
            .into_iter()
            .filter(|peer| peer.interface == index)
            .collect();
        for peer in &here {
            for prefix in &peer.prefixes {
                if source.is_some_and(|source| is_within(source, *prefix)) {
                    return Answer::pass(Reason::Peer, 6, Some(port));
                }
            }
        }
        let mode = service.mode.unwrap_or(self.mode);
        if here.is_empty() {
            Answer::drop(Reason::UntrustedInterface, Some(8), Some(port), mode)
        } else {
            Answer::drop(Reason::UnknownPeer, Some(7), Some(port), mode)
        }
    }
}

impl Answer {
    /// A pass, counted if the port is registered.
    fn pass(reason: Reason, rule: u8, port: Option<(Protocol, u16)>) -> Self {
        Self {
            verdict: Verdict::Pass,
            reason,
            audited: false,
            counted: port.is_some(),
            rule: Some(rule),
            port,
        }
    }

    fn drop(reason: Reason, rule: Option<u8>, port: Option<(Protocol, u16)>, mode: Mode) -> Self {
        Self {
            verdict: Verdict::Drop,
            reason,
            audited: mode == Mode::Audit,
            counted: true,
            rule,
            port,
        }
    }
}
