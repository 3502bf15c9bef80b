//! The second implementation: the text of the design, slow and obvious.
//!
//! The sources were the design and the RFCs, not the crate. The code peels headers off an owned
//! vector, compares prefixes bit by bit and searches lists; the only lines shared with the crate
//! are the words ([`Reason`], [`Protocol`], [`Mode`], [`Verdict`]).

use std::net::IpAddr;

use enforcer_ebpf::{Mode, Protocol, Reason, Verdict};

mod host;
mod numbers;
mod reading;
mod table;

pub(crate) use host::{
    ContainerNetwork, Forward, Interface, LocalRow, Peer, Registry, Service, Unregistered,
};
pub(crate) use reading::{Reading, SENTENCES};

/// The index of lo in every network namespace.
pub(crate) const LO: u32 = 1;

/// The reasons of the socket guard: at a socket there always is a port.
pub(crate) const AT_SOCKETS: [Reason; 8] = [
    Reason::Loopback,
    Reason::UnregisteredPort,
    Reason::Public,
    Reason::Peer,
    Reason::UnknownPeer,
    Reason::UntrustedInterface,
    Reason::Unregistered,
    Reason::Forwarded,
];

/// The kernel's answer to the question where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fib {
    /// Anything but a way onward.
    NotForwarded,
    /// Out of the interface with this index.
    Through(u32),
}

/// A frame's way to a wire guard, beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) interface: u32,
    /// The packet type "looped back".
    pub(crate) handed_back: bool,
    /// The destination MAC of an Ethernet frame.
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) fib: Fib,
    /// Whether an unconnected UDP socket waits for the packet, and has sent nothing to the source.
    pub(crate) unasked: bool,
}

/// The socket of the kernel's choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    pub(crate) port: (Protocol, u16),
    pub(crate) state: SocketState,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum SocketState {
    Listening,
    /// Neither listening nor connected, as most UDP sockets, and the packet is an answer.
    Answered,
    /// Neither listening nor connected, and nothing was sent to the packet's source.
    Unasked,
    /// Connected, with the own address.
    Connected(IpAddr),
}

/// The design's answer for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Reason,
    pub(crate) audited: bool,
    /// The rule of the decision table, `None` for a packet without a port.
    pub(crate) rule: Option<u8>,
    /// The counters, for a counted packet.
    pub(crate) counted: Option<Counter>,
}

/// The owner of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Packets without a registered port.
    NoPort,
    /// The ports of a protocol that no service has.
    Unregistered(Protocol),
    /// All container networks.
    Networks,
    /// A port of a service, by the number of the service.
    Port(usize, Protocol, u16),
}

impl Answer {
    pub(crate) fn pass(reason: Reason, rule: Option<u8>, counted: Option<Counter>) -> Self {
        Self {
            verdict: Verdict::Pass,
            reason,
            audited: false,
            rule,
            counted,
        }
    }

    pub(crate) fn drop(reason: Reason, rule: Option<u8>, counted: Counter, mode: Mode) -> Self {
        Self {
            verdict: Verdict::Drop,
            reason,
            audited: mode == Mode::Audit,
            rule,
            counted: Some(counted),
        }
    }
}
