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
//! `header-chain` drop (rule 3 applies to both), `fragment`, `tagged` and `other-protocol` pass. A
//! later fragment drops as `unknown-peer` where the fragment could complete the datagram of
//! another interface's peer.

#[cfg(test)]
mod tests;

use crate::{
    address::Peers,
    packet::{Packet, Transport},
    words::{Guard, Mode, Protocol, Reason, Verdict},
};

/// A policy, as [`decide`] queries it: the maps of the active bank in the kernel, plain tables on
/// the host.
///
/// Queries come in the order of the table and no earlier than needed: a packet for an unregistered
/// port costs a single look-up.
pub trait Policy {
    /// A set of peers.
    type Peers: Peers;

    /// The global mode.
    fn mode(&self) -> Mode;

    /// The registration of a port, at the packet's destination.
    fn port(&self, protocol: Protocol, packet: &Packet) -> Port;

    /// The settings for the arriving interface. An unknown interface carries no peer.
    fn interface(&self) -> Interface;

    /// The peers of the arriving interface.
    fn carried(&self) -> Self::Peers;

    /// The allowed peers of a service.
    fn allowed(&self, service: Service) -> Self::Peers;

    /// The allowed peers of `[unregistered]`.
    fn allowed_unregistered(&self) -> Self::Peers;

    /// The peers with the packet's source address on the arriving interface.
    fn peers_of(&self, packet: &Packet) -> Self::Peers;

    /// The container network of the packet's destination. `None` where the network is routed, the
    /// arriving interface belongs to the network, or the destination is an address of another
    /// interface of this host.
    ///
    /// Comes before every query but [`Self::port`], for each packet on a wire.
    fn network(&self, packet: &Packet) -> Option<Network<Self::Peers>>;

    /// Whether the local table has a row for the packet's destination. Without a readable
    /// destination the answer is `true`: the packet is judged.
    fn is_local(&self, packet: &Packet) -> bool;

    /// Whether the local table has a row for the packet's source; 0.0.0.0 counts as a row of
    /// packets to 255.255.255.255.
    fn is_own(&self, packet: &Packet) -> bool;

    /// Whether the frame is unicast, for a MAC address that this host does not take on the
    /// arriving interface.
    fn is_for_other_mac(&self, packet: &Packet) -> bool;

    /// The FIB's answer on the packet.
    fn route(&self, packet: &Packet) -> Route;

    /// Whether the packet opens a connection: the first one on the wire, or one for a listening
    /// socket.
    fn opens(&self, packet: &Packet) -> bool;

    /// Whether the packet's socket is connected and its own address is in no row of the local
    /// table: the accepted side of a transparent proxy.
    fn is_proxied(&self, packet: &Packet) -> bool;

    /// Whether a later fragment has the source of a peer of another interface: the source lies in
    /// a prefix longer than /0 of an allowed peer, and in no prefix of the arriving interface's
    /// peers and subnets.
    fn is_anothers_fragment(&self, packet: &Packet) -> bool;
}

/// The registration of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// No service has the port, and `[unregistered]` leaves the protocol alone.
    Open,
    /// No service has the port, and `[unregistered]` judges the protocol, in this mode.
    Unregistered(Mode),
    /// A service has the port.
    Registered(Service),
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

/// A container network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network<P> {
    /// The allowed peers.
    pub allowed: P,
    /// The network's own mode, else the global mode.
    pub mode: Mode,
}

/// An arriving interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `forward = false`: the wire guard judges every packet, whatever the destination.
    pub judges_all: bool,
    /// Whether a packet that leaves by the interface of its arrival is forwarded: `forward = true`,
    /// or a link without an Ethernet header.
    pub hairpin: bool,
    /// Whether the interface is on the inside: rule 6 leaves such interfaces alone.
    pub inside: bool,
    /// Whether [`Policy::carried`] has any peers.
    pub has_peers: bool,
}

/// The FIB's answer on a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// The host delivers or discards the packet, or the answer is unknown.
    #[default]
    Here,
    /// The packet leaves by the interface of its arrival.
    Back,
    /// The packet leaves by another interface.
    Onward,
}

/// The way of a packet to a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The loopback interface.
    Loopback,
    /// An interface on which this host's own packets come back too, told apart by their source:
    /// packets of the type "looped back", and VRF devices.
    MaybeOwn,
    /// Any other interface.
    Received,
}

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
#[inline(always)]
fn without_port<P: Policy>(policy: &P, on_wire: bool, reason: Reason, packet: &Packet) -> Decision {
    match reason {
        Reason::Fragment if on_wire && policy.is_anothers_fragment(packet) => {
            if passes_by(policy, policy.interface(), packet).is_some() {
                return Decision::pass(reason, 0, NO_SLOT);
            }
            Decision::drop(Reason::UnknownPeer, 0, NO_SLOT, policy.mode())
        }
        Reason::HeaderChain | Reason::Malformed => {
            if on_wire && is_for_another_machine(policy, policy.interface(), packet) {
                return Decision::pass(Reason::Forwarded, 3, NO_SLOT);
            }
            Decision::drop(reason, 0, NO_SLOT, policy.mode())
        }
        _ => Decision::pass(reason, 0, NO_SLOT),
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
        transport_offset: 0,
        transport: Transport::new(protocol, port),
    }
}
