//! What the decision asks of a policy and of the host.

use crate::{
    address::Peers,
    packet::Packet,
    words::{Mode, Protocol},
};

/// A policy, as [`decide`](super::decide) queries it: the maps of the active bank in the kernel, plain tables on
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
