//! The decision table of the design, once: the guards, `explain` and the tests run these lines.

use crate::{
    address::PeerSet,
    packet::{Packet, Transport},
    words::{Guard, Mode, Protocol, Reason, Verdict},
};

/// What the decision asks of a policy: in the kernel the maps of the active bank answer, on the
/// host plain tables.
///
/// Asked in the order of the table and no earlier than needed, so that a packet for an
/// unregistered port costs one look-up.
pub trait Policy {
    /// The global mode.
    fn mode(&self) -> Mode;

    /// The service that a port belongs to.
    fn service(&self, protocol: Protocol, port: u16) -> Option<Service>;

    /// What the registry says about the interface that the packet arrived on.
    ///
    /// An interface that the policy does not know carries no peer.
    fn interface(&self) -> Interface;

    /// The peers that the arriving interface carries.
    fn carried(&self) -> PeerSet;

    /// The peers that a service allows.
    fn allowed(&self, service: Service) -> PeerSet;

    /// The peers that may use the packet's source address on the arriving interface.
    fn peers_of(&self, packet: &Packet) -> PeerSet;

    /// Whether the FIB says that the packet would be forwarded rather than delivered here.
    fn is_forwarded(&self, packet: &Packet) -> bool;
}

/// A registered port's service, as the decision needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The slot of the port, where its counters live.
    pub slot: u16,
    /// The number of the service, within one generation.
    pub number: u16,
    /// Anyone may reach it.
    pub public: bool,
    /// It allows peers; [`Policy::allowed`] says which.
    pub has_peers: bool,
    /// The service's own mode, or the global one where it has none.
    pub mode: Mode,
}

/// An arriving interface, as the decision needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `forward = true`: what is only passing through is not judged on the wire.
    pub forward: bool,
    /// It carries peers; [`Policy::carried`] says which.
    pub has_peers: bool,
}

/// A verdict with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Why.
    pub reason: Reason,
    /// A drop that the mode `audit` turns into a counted pass.
    pub audited: bool,
    /// The slot that counts it: of the registered port, or [`NO_SLOT`].
    pub slot: u16,
}

/// The slot of what is judged without a registered port.
pub const NO_SLOT: u16 = 0;

impl Decision {
    /// The verdict that is counted and reported.
    #[inline(always)]
    pub const fn verdict(&self) -> Verdict {
        self.reason.verdict()
    }

    /// Whether the packet ends here: a drop, unless it is only audited.
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

    /// The rule of the design's decision table that gave the verdict, `None` for what the parser
    /// decided before the table was reached.
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

/// Judges a packet that arrived on the interface that `policy` speaks for. First match wins.
///
/// The packet's addresses are the policy's to read: [`Policy::peers_of`].
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
    // Rule 2: a loopback address on the wire, whatever the protocol and port.
    if on_wire && packet.loopback {
        return Decision::drop(Reason::LoopbackAddress, NO_SLOT, policy.mode());
    }
    let protocol = match transport.protocol() {
        Ok(protocol) => protocol,
        Err(reason) => return without_port(policy, reason),
    };
    // Rule 3: a port that nobody registered.
    let Some(service) = policy.service(protocol, transport.port) else {
        return Decision::pass(Reason::Unregistered, NO_SLOT);
    };
    let slot = service.slot;
    let interface = policy.interface();
    // Rule 4: only passing through, where the registry says that this interface forwards.
    if on_wire && interface.forward && policy.is_forwarded(packet) {
        return Decision::pass(Reason::Forwarded, slot);
    }
    // Rule 5: a public service.
    if service.public {
        return Decision::pass(Reason::Public, slot);
    }
    // Rule 8: nobody may reach this service through this interface.
    let untrusted = Decision::drop(Reason::UntrustedInterface, slot, service.mode);
    if !service.has_peers || !interface.has_peers {
        return untrusted;
    }
    let allowed = policy.allowed(service);
    if !allowed.intersects(&policy.carried()) {
        return untrusted;
    }
    // Rule 6: a peer that the service allows; rule 7: the interface carries some, this is none.
    if allowed.intersects(&policy.peers_of(packet)) {
        Decision::pass(Reason::Peer, slot)
    } else {
        Decision::drop(Reason::UnknownPeer, slot, service.mode)
    }
}

/// What the parser could not bring to a port: a drop follows the global mode.
#[inline(always)]
fn without_port<P: Policy>(policy: &P, reason: Reason) -> Decision {
    match reason.verdict() {
        Verdict::Pass => Decision::pass(reason, NO_SLOT),
        Verdict::Drop => Decision::drop(reason, NO_SLOT, policy.mode()),
    }
}

/// A packet that the kernel matched to a socket, for the socket guard: protocol and port are the
/// socket's own, so no header trick can lie about them, and rule 2 is not for this guard.
#[inline(always)]
pub const fn at_socket(protocol: Protocol, port: u16) -> Packet {
    Packet {
        loopback: false,
        ip_offset: 0,
        transport: Transport::new(protocol, port),
    }
}
