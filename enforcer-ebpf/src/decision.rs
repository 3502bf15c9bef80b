//! The decision table: the guards, `explain` and the tests run these lines.
//!
//! The first matching rule decides.
//!
//! | rule | verdict | reason | condition |
//! | --- | --- | --- | --- |
//! | 1 | pass | `loopback` | the packet arrived on lo, or this host sent the packet to itself |
//! | 2 | drop | `loopback-address` | wire guard: source or destination is a loopback address |
//! | 3 | pass | `forwarded` | wire guard: the frame is for another machine |
//! | 4 | pass | `peer` | wire guard: the destination is in a container network that allows the peer |
//! | 4 | drop | `container-network` | any other source, protocol and port |
//! | 5 | pass | `forwarded` | wire guard: this host would forward the packet |
//! | 6 | pass | `peer` | the port is not registered, and `[unregistered]` allows the peer |
//! | 6 | drop | `unregistered-port` | `[unregistered]`: the packet opens a connection, from outside |
//! |   | pass | `unregistered` | the port is not registered, every other case |
//! | 7 | pass | `public` | the service is public |
//! | 8 | pass | `peer` | the source is an allowed peer, on the peer's interface |
//! | 9 | drop | `unknown-peer` | any other source, on an interface of such a peer |
//! | 10 | drop | `untrusted-interface` | anything else |
//!
//! Rules 3 and 5 have no part where nothing would be counted anyway: a packet for a port that no
//! rule drops passes as `unregistered`.
//!
//! A packet without a port ends behind rule 4, with the parser's reason: `malformed` and
//! `header-chain` drop, `fragment`, `tagged` and `other-protocol` pass. A later fragment drops as
//! `unknown-peer` where the fragment could complete the datagram of another interface's peer.
//! Rules 3 and 5 come before these drops.

mod query;
#[cfg(test)]
mod tests;

pub use query::{Arrival, Interface, Network, Policy, Port, Route, Service};

use crate::{
    address::Peers as _,
    packet::{Packet, Transport},
    words::{Guard, Mode, Protocol, Reason, Verdict},
};

/// A verdict with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The reason, which implies the verdict.
    pub reason: Reason,
    /// The matching rule of the decision table; 0 where the parser found no port.
    pub rule: u8,
    /// Whether the mode `audit` turns the drop into a counted pass.
    pub audited: bool,
    /// The slot of the counters: the registered port's, or one of the fixed slots.
    pub slot: u16,
}

/// The slot of packets without a registered port.
pub const NO_SLOT: u16 = 0;
/// The slot of container networks.
pub const NETWORK_SLOT: u16 = 4;
/// The first slot of a registered port.
pub const FIRST_PORT_SLOT: u16 = 5;

/// The slot of a protocol's unregistered ports: 1 to 3.
#[inline(always)]
pub const fn unregistered_slot(protocol: Protocol) -> u16 {
    1 + protocol as u16
}

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
            | Reason::ContainerNetwork
            | Reason::UnregisteredPort
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

    /// The matching rule of the decision table, `None` where the parser found no port. A port that
    /// is not registered, and that rule 6 leaves alone, counts as rule 6.
    pub const fn rule(&self) -> Option<u8> {
        match self.rule {
            0 => None,
            rule => Some(rule),
        }
    }

    #[inline(always)]
    const fn pass(reason: Reason, rule: u8, slot: u16) -> Self {
        Self {
            reason,
            rule,
            audited: false,
            slot,
        }
    }

    #[inline(always)]
    const fn drop(reason: Reason, rule: u8, slot: u16, mode: Mode) -> Self {
        Self {
            reason,
            rule,
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
pub fn decide<P: Policy>(policy: &P, guard: Guard, arrival: Arrival, packet: &Packet) -> Decision {
    let protocol = packet.transport.protocol();
    let port = match protocol {
        Ok(protocol) => policy.port(protocol, packet),
        Err(_) => Port::Open,
    };
    // The pass path: nothing more is asked on a host without container networks.
    let slot = match port {
        Port::Registered(service) => service.slot,
        Port::Open | Port::Unregistered(_) => NO_SLOT,
    };
    // Rule 1: this host's own packet, counted for registered ports.
    let own = match arrival {
        Arrival::Loopback => true,
        Arrival::MaybeOwn => policy.is_own(packet),
        Arrival::Received => false,
    };
    if own {
        return Decision::pass(Reason::Loopback, 1, slot);
    }
    let on_wire = matches!(guard, Guard::Wire);
    if on_wire {
        // Rule 2: a loopback address on the wire, for any protocol and port.
        if packet.loopback {
            return Decision::drop(Reason::LoopbackAddress, 2, slot, policy.mode());
        }
        // Rules 3 and 4: a destination in a container network, for any protocol and port.
        if let Some(network) = policy.network(packet) {
            return in_network(policy, &network, packet);
        }
    }
    match (protocol, port) {
        (Err(reason), _) => without_port(policy, on_wire, reason, packet),
        (Ok(_), Port::Open) => Decision::pass(Reason::Unregistered, 6, NO_SLOT),
        (Ok(protocol), Port::Unregistered(mode)) => {
            unregistered(policy, on_wire, packet, unregistered_slot(protocol), mode)
        }
        (Ok(_), Port::Registered(service)) => registered(policy, on_wire, packet, service),
    }
}

/// The decision for a destination in a container network: rules 3 and 4.
#[inline(always)]
fn in_network<P: Policy>(policy: &P, network: &Network<P::Peers>, packet: &Packet) -> Decision {
    let interface = policy.interface();
    if is_for_another_machine(policy, interface, packet) {
        return Decision::pass(Reason::Forwarded, 3, NO_SLOT);
    }
    if interface.has_peers && network.allowed.intersects(&policy.peers_of(packet)) {
        Decision::pass(Reason::Peer, 4, NETWORK_SLOT)
    } else {
        Decision::drop(Reason::ContainerNetwork, 4, NETWORK_SLOT, network.mode)
    }
}

/// The decision for a port without a service that `[unregistered]` judges: rules 3, 5 and 6.
#[inline(always)]
fn unregistered<P: Policy>(
    policy: &P,
    on_wire: bool,
    packet: &Packet,
    slot: u16,
    mode: Mode,
) -> Decision {
    let passes = Decision::pass(Reason::Unregistered, 6, NO_SLOT);
    if !policy.opens(packet) {
        return passes;
    }
    let interface = policy.interface();
    if interface.inside {
        return passes;
    }
    if on_wire && let Some(rule) = passes_by(policy, interface, packet) {
        return Decision::pass(Reason::Forwarded, rule, NO_SLOT);
    }
    if interface.has_peers
        && policy
            .allowed_unregistered()
            .intersects(&policy.peers_of(packet))
    {
        Decision::pass(Reason::Peer, 6, slot)
    } else {
        Decision::drop(Reason::UnregisteredPort, 6, slot, mode)
    }
}

/// The decision for a registered port: rules 3, 5 and 7 to 10.
#[inline(always)]
fn registered<P: Policy>(policy: &P, on_wire: bool, packet: &Packet, service: Service) -> Decision {
    let interface = policy.interface();
    if on_wire && let Some(rule) = passes_by(policy, interface, packet) {
        return Decision::pass(Reason::Forwarded, rule, NO_SLOT);
    }
    let decision = for_service(policy, interface, packet, service);
    if !on_wire && matches!(decision.verdict(), Verdict::Drop) && policy.is_proxied(packet) {
        return Decision::pass(Reason::Forwarded, 5, NO_SLOT);
    }
    decision
}

/// The decision for a service of this host: rules 7 to 10.
#[inline(always)]
fn for_service<P: Policy>(
    policy: &P,
    interface: Interface,
    packet: &Packet,
    service: Service,
) -> Decision {
    let slot = service.slot;
    // Rule 7: a public service.
    if service.public {
        return Decision::pass(Reason::Public, 7, slot);
    }
    // Rule 10: the interface carries no peer of this service. Before rules 8 and 9, for its cost.
    let untrusted = Decision::drop(Reason::UntrustedInterface, 10, slot, service.mode);
    if !service.has_peers || !interface.has_peers {
        return untrusted;
    }
    let allowed = policy.allowed(service);
    if !allowed.intersects(&policy.carried()) {
        return untrusted;
    }
    // Rule 8: a peer of the service. Rule 9: any other source.
    if allowed.intersects(&policy.peers_of(packet)) {
        Decision::pass(Reason::Peer, 8, slot)
    } else {
        Decision::drop(Reason::UnknownPeer, 9, slot, service.mode)
    }
}

/// The rule by which a packet is not for this host: 3 or 5.
#[inline(always)]
fn passes_by<P: Policy>(policy: &P, interface: Interface, packet: &Packet) -> Option<u8> {
    if interface.judges_all || policy.is_local(packet) {
        return None;
    }
    if policy.is_for_other_mac(packet) {
        return Some(3);
    }
    match policy.route(packet) {
        Route::Onward => Some(5),
        Route::Back if interface.hairpin => Some(5),
        Route::Back | Route::Here => None,
    }
}

/// Whether rule 3 applies: a frame for another machine.
#[inline(always)]
fn is_for_another_machine<P: Policy>(policy: &P, interface: Interface, packet: &Packet) -> bool {
    !interface.judges_all && policy.is_for_other_mac(packet) && !policy.is_local(packet)
}

/// The decision for a packet without a port: a drop follows the global mode.
///
/// Rule 5 asks without ports here, as the parser has none. An `ip rule` by port that delivers such
/// a packet locally leaves the packet to the socket guard.
#[inline(always)]
fn without_port<P: Policy>(policy: &P, on_wire: bool, reason: Reason, packet: &Packet) -> Decision {
    let (dropped, passed) = match reason {
        Reason::Fragment if on_wire && policy.is_anothers_fragment(packet) => {
            (Reason::UnknownPeer, Reason::Fragment)
        }
        Reason::HeaderChain | Reason::Malformed => (reason, Reason::Forwarded),
        _ => return Decision::pass(reason, 0, NO_SLOT),
    };
    if on_wire && let Some(rule) = passes_by(policy, policy.interface(), packet) {
        let rule = match passed {
            Reason::Forwarded => rule,
            _ => 0,
        };
        return Decision::pass(passed, rule, NO_SLOT);
    }
    Decision::drop(dropped, 0, NO_SLOT, policy.mode())
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
        transport_offset: 0,
        transport: Transport::new(protocol, port),
    }
}
