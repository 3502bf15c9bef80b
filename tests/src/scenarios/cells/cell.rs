//! Cells: the dimensions of a packet, and the list of all cells.

use std::collections::BTreeSet;

use crate::lab::{Feature, Transport};
use crate::test_run::random::Rng;

/// The interface of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ingress {
    /// A veth, and the parent of the VLAN device where the kernel has such devices.
    Veth,
    /// The VLAN device with id 5 on the veth.
    Vlan,
    /// A veth with the peers of the registry.
    Trusted,
    /// The vxlan device in an outside bridge.
    Bridge,
    /// A macvlan device on a veth.
    Macvlan,
    /// A guest's port in an inside bridge.
    Guests,
    /// A container's port in the bridge of a container network.
    Containers,
    /// A tun device, which has no Ethernet header.
    Tun,
}

impl Ingress {
    const ALL: [Self; 8] = [
        Self::Veth,
        Self::Vlan,
        Self::Trusted,
        Self::Bridge,
        Self::Macvlan,
        Self::Guests,
        Self::Containers,
        Self::Tun,
    ];

    /// The interfaces that this kernel can make.
    pub(super) fn possible() -> Vec<Self> {
        let mut all = Self::ALL.to_vec();
        all.retain(|ingress| match ingress {
            Self::Vlan => Feature::Vlan.is_here(),
            Self::Macvlan => Feature::Macvlan.is_here(),
            _ => true,
        });
        all
    }
}

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];
}

/// Headers between the IP header and the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headers {
    Plain,
    /// A word of IPv4 options, all "no operation".
    Options,
    /// Ten words of IPv4 options, the most.
    AllOptions,
    HopByHop,
    DestinationOptions,
    /// Hop-by-hop options, then destination options.
    Chained,
}

impl Headers {
    const ALL: [Self; 6] = [
        Self::Plain,
        Self::Options,
        Self::AllOptions,
        Self::HopByHop,
        Self::DestinationOptions,
        Self::Chained,
    ];

    const fn is_of(self, family: Family) -> bool {
        match self {
            Self::Plain => true,
            Self::Options | Self::AllOptions => matches!(family, Family::V4),
            Self::HopByHop | Self::DestinationOptions | Self::Chained => {
                matches!(family, Family::V6)
            }
        }
    }
}

/// The fragments of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragments {
    Whole,
    Two,
    /// Eight bytes in each fragment: the first shows no TCP flags.
    Tiny,
    /// Two fragments with eight bytes in common, which the stack refuses (RFC 5722 for IPv6).
    Overlapping,
}

impl Fragments {
    const ALL: [Self; 4] = [Self::Whole, Self::Two, Self::Tiny, Self::Overlapping];
}

/// VLAN tags, beside the tag of a VLAN device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    Untagged,
    /// A priority tag (id 0).
    Priority,
    /// As many priority tags as the guards look through.
    FourPriorities,
    /// One priority tag more.
    FivePriorities,
    /// The id of the VLAN device.
    WithDevice,
    /// An id without a device.
    WithoutDevice,
}

impl Tags {
    const ALL: [Self; 6] = [
        Self::Untagged,
        Self::Priority,
        Self::FourPriorities,
        Self::FivePriorities,
        Self::WithDevice,
        Self::WithoutDevice,
    ];
}

/// The destination address, and the MAC where that differs from the interface's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// The address of the arriving interface.
    Own,
    /// The address of another interface.
    Other,
    /// The address of a container network's bridge.
    NetworkBridge,
    Container,
    /// A guest behind the outside bridge.
    Guest,
    /// An address in a local route that no interface has.
    AnyIp,
    /// A multicast group that sockets of the host joined.
    Group,
    Broadcast,
    /// A remote host behind the trusted interface.
    Foreign,
    /// The address of the arriving interface, in a frame for another machine.
    OtherMac,
}

impl Destination {
    const ALL: [Self; 10] = [
        Self::Own,
        Self::Other,
        Self::NetworkBridge,
        Self::Container,
        Self::Guest,
        Self::AnyIp,
        Self::Group,
        Self::Broadcast,
        Self::Foreign,
        Self::OtherMac,
    ];
}

/// The registration of the destination port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// A service for the loopback interface alone.
    Registered,
    Public,
    Unregistered,
    /// A service for the peer.
    ForPeer,
    /// A service in audit mode.
    Audited,
}

impl Port {
    pub(super) const ALL: [Self; 5] = [
        Self::Registered,
        Self::Public,
        Self::Unregistered,
        Self::ForPeer,
        Self::Audited,
    ];

    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Registered => 9200,
            Self::Public => 8080,
            Self::Unregistered => 7007,
            Self::ForPeer => 9100,
            Self::Audited => 9300,
        }
    }
}

/// The source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// An address in the subnet of the arriving interface.
    Neighbour,
    /// The address of the registry's peer, forged on all interfaces but the trusted one.
    Peer,
}

/// A packet as a choice in each dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) ingress: Ingress,
    pub(super) family: Family,
    pub(super) transport: Transport,
    pub(super) headers: Headers,
    pub(super) fragments: Fragments,
    pub(super) tags: Tags,
    pub(super) destination: Destination,
    pub(super) port: Port,
    pub(super) sender: Sender,
}

/// The transports of cells. No socket of SCTP is open: guards judge and count INIT chunks all the
/// same.
const TRANSPORTS: [Transport; 4] = [
    Transport::Tcp,
    Transport::Udp,
    Transport::UdpLite,
    Transport::Sctp,
];

const SENDERS: [Sender; 2] = [Sender::Neighbour, Sender::Peer];

/// Random cells for the pairs of values that the products leave out.
const CANDIDATES: usize = 20_000;

impl Cell {
    const fn plain(ingress: Ingress, family: Family, transport: Transport) -> Self {
        Self {
            ingress,
            family,
            transport,
            headers: Headers::Plain,
            fragments: Fragments::Whole,
            tags: Tags::Untagged,
            destination: Destination::Own,
            port: Port::Registered,
            sender: Sender::Neighbour,
        }
    }

    fn random(rng: &mut Rng, possible: &[Ingress]) -> Self {
        Self {
            ingress: rng.pick(possible),
            family: rng.pick(&Family::ALL),
            transport: rng.pick(&TRANSPORTS),
            headers: rng.pick(&Headers::ALL),
            fragments: rng.pick(&Fragments::ALL),
            tags: rng.pick(&Tags::ALL),
            destination: rng.pick(&Destination::ALL),
            port: rng.pick(&Port::ALL),
            sender: rng.pick(&SENDERS),
        }
    }

    /// Whether such a packet exists, and brings no packet back through a guard: an answer through
    /// the host from a container network, or a packet that the stack drops behind the socket guard.
    fn is_possible(&self) -> bool {
        use Destination::{Broadcast, Container, Foreign, Group, Guest, OtherMac};
        let is_udp = self.transport == Transport::Udp && self.fragments == Fragments::Whole;
        let has_tags = match (self.ingress, self.tags) {
            (_, Tags::Untagged) => true,
            (Ingress::Tun, _) => false,
            (Ingress::Vlan, tags) => tags == Tags::Priority,
            (Ingress::Veth, Tags::WithDevice) => Feature::Vlan.is_here(),
            (_, tags) => tags != Tags::WithDevice,
        };
        let has_destination = match (self.ingress, self.destination) {
            (_, Broadcast) if self.family == Family::V6 => false,
            (Ingress::Macvlan, Broadcast | Group) => false,
            (Ingress::Tun, OtherMac) | (Ingress::Containers, Container) => false,
            (Ingress::Tun, Broadcast | Group) => self.transport != Transport::Tcp,
            (Ingress::Containers, Guest | Foreign) => is_udp,
            _ => true,
        };
        self.headers.is_of(self.family) && has_tags && has_destination
    }

    /// The pairs of dimensions' values.
    fn pairs(&self) -> BTreeSet<(usize, u8, usize, u8)> {
        let values = [
            self.ingress as u8,
            self.family as u8,
            self.transport as u8,
            self.headers as u8,
            self.fragments as u8,
            self.tags as u8,
            self.destination as u8,
            self.port as u8,
            self.sender as u8,
        ];
        let mut pairs = BTreeSet::new();
        for (i, a) in values.into_iter().enumerate() {
            for (j, b) in values.into_iter().enumerate().skip(i + 1) {
                pairs.insert((i, a, j, b));
            }
        }
        pairs
    }
}

/// All cells on these interfaces: the product of interfaces, families, transports, destinations and
/// ports; the product of headers, fragments and tags on the veth; and cells with every pair of
/// values that neither product has.
pub(super) fn all(possible: &[Ingress]) -> Vec<Cell> {
    let mut cells = to_destinations(possible);
    cells.extend(in_disguise());
    cells.retain(Cell::is_possible);
    let mut seen: BTreeSet<_> = cells.iter().flat_map(Cell::pairs).collect();
    let mut rng = Rng::new(0xce11);
    for _ in 0..CANDIDATES {
        let cell = Cell::random(&mut rng, possible);
        let pairs = cell.pairs();
        if cell.is_possible() && !pairs.is_subset(&seen) {
            seen.extend(pairs);
            cells.push(cell);
        }
    }
    cells
}

fn to_destinations(possible: &[Ingress]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &ingress in possible {
        for family in Family::ALL {
            for transport in [Transport::Tcp, Transport::Udp] {
                for destination in Destination::ALL {
                    cells.extend(Port::ALL.map(|port| Cell {
                        destination,
                        port,
                        sender: match port {
                            Port::ForPeer => Sender::Peer,
                            _ => Sender::Neighbour,
                        },
                        ..Cell::plain(ingress, family, transport)
                    }));
                }
            }
        }
    }
    cells
}

fn in_disguise() -> Vec<Cell> {
    let mut cells = Vec::new();
    for family in Family::ALL {
        for transport in [Transport::Tcp, Transport::Udp] {
            for headers in Headers::ALL {
                for fragments in Fragments::ALL {
                    for tags in Tags::ALL {
                        cells.extend([Port::Registered, Port::Public].map(|port| Cell {
                            headers,
                            fragments,
                            tags,
                            port,
                            ..Cell::plain(Ingress::Veth, family, transport)
                        }));
                    }
                }
            }
        }
    }
    cells
}
