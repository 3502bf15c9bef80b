//! The decision table: the guards, `explain` and the tests run these lines.
//!
//! The first matching rule decides.
//!
//! | rule | verdict | reason | condition |
//! | --- | --- | --- | --- |
//! | 1 | pass | `loopback` | the packet arrived on lo |
//! | 2 | drop | `loopback-address` | wire guard: source or destination is a loopback address |
//! | 3 | pass | `unregistered` | the port is not registered |
//! | 4 | pass | `forwarded` | wire guard, `forward = true`: the FIB would forward the packet |
//! | 5 | pass | `public` | the service is public |
//! | 6 | pass | `peer` | the source is an allowed peer, on the peer's interface |
//! | 7 | drop | `unknown-peer` | any other source, on an interface of such a peer |
//! | 8 | drop | `untrusted-interface` | anything else |
//!
//! A packet without a port ends between rules 2 and 3, with the parser's reason: `malformed` and
//! `header-chain` drop, `fragment`, `tagged` and `other-protocol` pass.

#[cfg(test)]
mod tests;

use crate::{
    address::PeerSet,
    packet::{Packet, Transport},
    words::{Guard, Mode, Protocol, Reason, Verdict},
};

/// A policy, as [`decide`] queries it: the maps of the active bank in the kernel, plain tables on
/// the host.
///
/// Queries come in the order of the table and no earlier than needed: a packet for an unregistered
/// port costs a single look-up.
pub trait Policy {
    /// The global mode.
    fn mode(&self) -> Mode;

    /// The service of a port, `None` for an unregistered one.
    fn service(&self, protocol: Protocol, port: u16) -> Option<Service>;

    /// The registry's settings for the arriving interface. An unknown interface carries no peer.
    fn interface(&self) -> Interface;

    /// The peers of the arriving interface.
    fn carried(&self) -> PeerSet;

    /// The peers of a service.
    fn allowed(&self, service: Service) -> PeerSet;

    /// The peers with the packet's source address on the arriving interface.
    fn peers_of(&self, packet: &Packet) -> PeerSet;

    /// Whether the FIB would forward the packet instead of a delivery to this host.
    fn is_forwarded(&self, packet: &Packet) -> bool;
}

/// The service of a registered port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The slot of the port, which holds the counters.
    pub slot: u16,
    /// The number of the service, within one generation.
    pub number: u16,
    /// Whether anyone may reach the service.
    pub public: bool,
    /// Whether [`Policy::allowed`] has any peers.
    pub has_peers: bool,
    /// The service's own mode, else the global mode.
    pub mode: Mode,
}

/// An arriving interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `forward = true`: the wire guard passes forwarded packets unjudged.
    pub forward: bool,
    /// Whether [`Policy::carried`] has any peers.
    pub has_peers: bool,
}

/// A verdict with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The reason, which implies the verdict and the rule.
    pub reason: Reason,
    /// Whether the mode `audit` turns the drop into a counted pass.
    pub audited: bool,
    /// The slot of the counters: the registered port's, or [`NO_SLOT`].
    pub slot: u16,
}

/// The slot of packets without a registered port.
pub const NO_SLOT: u16 = 0;

impl Decision {
    /// The counted and reported verdict, before the mode applies.
    #[inline(always)]
    pub const fn verdict(&self) -> Verdict {
        self.reason.verdict()
    }

    /// Whether the packet ends here: an enforced drop, not an audited one.
    #[inline(always)]
    pub const fn drops(&self) -> bool {
        matches!(self.verdict(), Verdict::Drop) && !self.audited
    }

    /// Whether the decision is counted.
    #[inline(always)]
    pub const fn is_counted(&self) -> bool {
        match self.reason {
            Reason::Loopback => self.slot != NO_SLOT,
            Reason::LoopbackAddress
            | Reason::Public
            | Reason::Peer
            | Reason::UnknownPeer
            | Reason::UntrustedInterface
            | Reason::HeaderChain
            | Reason::Malformed => true,
            Reason::Unregistered
            | Reason::Forwarded
            | Reason::Fragment
            | Reason::Tagged
            | Reason::OtherProtocol => false,
        }
    }

    /// The matching rule of the decision table, `None` where the parser found no port.
    pub const fn rule(&self) -> Option<u8> {
        match self.reason {
            Reason::Loopback => Some(1),
            Reason::LoopbackAddress => Some(2),
            Reason::Unregistered => Some(3),
            Reason::Forwarded => Some(4),
            Reason::Public => Some(5),
            Reason::Peer => Some(6),
            Reason::UnknownPeer => Some(7),
            Reason::UntrustedInterface => Some(8),
            Reason::HeaderChain
            | Reason::Malformed
            | Reason::Fragment
            | Reason::Tagged
            | Reason::OtherProtocol => None,
        }
    }

    #[inline(always)]
    const fn pass(reason: Reason, slot: u16) -> Self {
        Self {
            reason,
            audited: false,
            slot,
        }
    }

    #[inline(always)]
    const fn drop(reason: Reason, slot: u16, mode: Mode) -> Self {
        Self {
            reason,
            audited: matches!(mode, Mode::Audit),
            slot,
        }
    }
}

/// Judges a packet by the decision table: the first matching rule decides.
///
/// `policy` answers for the arriving interface, and reads the packet's addresses itself
/// ([`Policy::peers_of`]).
#[inline(always)]
pub fn decide<P: Policy>(policy: &P, guard: Guard, on_loopback: bool, packet: &Packet) -> Decision {
    let transport = packet.transport;
    // Rule 1: the loopback interface, counted for registered ports.
    if on_loopback {
        let service = match transport.protocol() {
            Ok(protocol) => policy.service(protocol, transport.port),
            Err(_) => None,
        };
        return Decision::pass(Reason::Loopback, service.map_or(NO_SLOT, |s| s.slot));
    }
    let on_wire = matches!(guard, Guard::Wire);
    // Rule 2: a loopback address on the wire, for any protocol and port.
    if on_wire && packet.loopback {
        return Decision::drop(Reason::LoopbackAddress, NO_SLOT, policy.mode());
    }
    let protocol = match transport.protocol() {
        Ok(protocol) => protocol,
        Err(reason) => return without_port(policy, reason),
    };
    // Rule 3: a port without a service.
    let Some(service) = policy.service(protocol, transport.port) else {
        return Decision::pass(Reason::Unregistered, NO_SLOT);
    };
    let slot = service.slot;
    let interface = policy.interface();
    // Rule 4: a forwarded packet, on an interface with `forward = true`.
    if on_wire && interface.forward && policy.is_forwarded(packet) {
        return Decision::pass(Reason::Forwarded, slot);
    }
    // Rule 5: a public service.
    if service.public {
        return Decision::pass(Reason::Public, slot);
    }
    // Rule 8: the interface carries no peer of this service. Before rules 6 and 7, for its cost.
    let untrusted = Decision::drop(Reason::UntrustedInterface, slot, service.mode);
    if !service.has_peers || !interface.has_peers {
        return untrusted;
    }
    let allowed = policy.allowed(service);
    if !allowed.intersects(&policy.carried()) {
        return untrusted;
    }
    // Rule 6: a peer of the service. Rule 7: any other source.
    if allowed.intersects(&policy.peers_of(packet)) {
        Decision::pass(Reason::Peer, slot)
    } else {
        Decision::drop(Reason::UnknownPeer, slot, service.mode)
    }
}

/// The decision for a packet without a port: a drop follows the global mode.
#[inline(always)]
fn without_port<P: Policy>(policy: &P, reason: Reason) -> Decision {
    match reason.verdict() {
        Verdict::Pass => Decision::pass(reason, NO_SLOT),
        Verdict::Drop => Decision::drop(reason, NO_SLOT, policy.mode()),
    }
}

/// A packet that the kernel matched to a socket, for the socket guard.
///
/// Protocol and port are the socket's own: no header trick can forge them. Loopback addresses are
/// left to the wire guard (rule 2).
#[inline(always)]
pub const fn at_socket(protocol: Protocol, port: u16) -> Packet {
    Packet {
        loopback: false,
        ip_offset: 0,
        transport: Transport::new(protocol, port),
    }
}
