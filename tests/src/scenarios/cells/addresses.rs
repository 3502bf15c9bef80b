//! Addresses and MACs of cells.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lab::bridge::{self, BRIDGE_MAC, GUEST, GUEST_MAC, GUEST6, NEIGHBOUR_MAC};
use crate::lab::frames::{Ends, Mac};
use crate::lab::topology::{
    CT, GHOST, GHOST6, HOST_BRIDGE, HOST_LAN, HOST_LAN6, HOST_MAC, HOST_WG, HOST_WG_MAC, HOST_WG6,
    LAN_MAC,
};
use crate::scenarios::raw_packet::group_mac;

use super::cell::{Cell, Destination, Family, Ingress, Sender};
use super::sinks::{GROUP, GROUP6};

/// The MAC of all senders in the neighbour entries of the host: answers go nowhere.
pub(super) const NOWHERE: Mac = [2, 0, 0, 0, 0x66, 0x66];
/// The MAC of another machine.
const STRAY: Mac = [2, 0, 0, 0, 0x66, 1];
/// The MAC of the far end of wg0.
pub(super) const PEER_MAC: Mac = [2, 0, 0, 0, 0x10, 5];
/// The MACs of the macvlan device and of the sender behind its parent.
pub(super) const MACVLAN: [Mac; 2] = [[2, 0, 0, 0, 0x79, 1], [2, 0, 0, 0, 0x79, 2]];
/// The MACs of the inside bridge and of its guest.
pub(super) const GUESTS: [Mac; 2] = [[2, 0, 0, 0, 0x80, 1], [2, 0, 0, 0, 0x80, 2]];
/// The MACs of the container network's bridge and of the container.
pub(super) const CONTAINERS: [Mac; 2] = [[2, 0, 0, 0, 0x88, 1], [2, 0, 0, 0, 0x88, 2]];
/// The remote host behind wg0.
pub(super) const FOREIGN: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
/// The IPv6 address of the remote host.
pub(super) const FOREIGN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 8, 0, 0, 0, 0, 8);
/// An address in the prefix [`ANY_IP_PREFIXES`].
const ANY_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);
const ANY_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x200);
/// The prefixes of the local routes on lo.
pub(super) const ANY_IP_PREFIXES: [&str; 2] = ["192.0.2.128/25", "2001:db8:77::/64"];
/// The container's IPv6 address.
const CT6: Ipv6Addr = bridge::CT6;

/// The third part of an interface's IPv4 subnet and the second of its IPv6 subnet, as digits.
const fn digits(ingress: Ingress) -> u8 {
    match ingress {
        Ingress::Veth => 77,
        Ingress::Vlan => 78,
        Ingress::Macvlan => 79,
        Ingress::Guests => 80,
        Ingress::Tun => 81,
        Ingress::Bridge => 85,
        Ingress::Containers => 88,
        Ingress::Trusted => 10,
    }
}

/// The device of the host on which IP takes a packet.
pub(super) const fn device(ingress: Ingress) -> &'static str {
    match ingress {
        Ingress::Veth => "eth0",
        Ingress::Vlan => "eth0.5",
        Ingress::Trusted => "wg0",
        Ingress::Bridge => "br0",
        Ingress::Macvlan => "mv0",
        Ingress::Guests => "gbr0",
        Ingress::Containers => "podman0",
        Ingress::Tun => "tun0",
    }
}

/// The host's address on an interface.
pub(super) fn own(ingress: Ingress, family: Family) -> IpAddr {
    match (family, ingress) {
        (Family::V4, Ingress::Veth) => HOST_LAN.into(),
        (Family::V4, Ingress::Trusted) => HOST_WG.into(),
        (Family::V4, Ingress::Containers) => HOST_BRIDGE.into(),
        (Family::V4, _) => Ipv4Addr::new(192, 168, digits(ingress), 1).into(),
        (Family::V6, Ingress::Veth) => HOST_LAN6.into(),
        (Family::V6, Ingress::Trusted) => HOST_WG6.into(),
        (Family::V6, _) => in_subnet(ingress, 1),
    }
}

/// An IPv6 address in the subnet of an interface: `fd00:78::1` on the VLAN device.
fn in_subnet(ingress: Ingress, last: u16) -> IpAddr {
    // The digits stand in the address as they are read.
    let digits = u16::from(digits(ingress));
    let second = digits / 10 * 16 + digits % 10;
    Ipv6Addr::new(0xfd00, second, 0, 0, 0, 0, 0, last).into()
}

/// A sender's address in the subnet of an interface.
pub(super) fn neighbour(ingress: Ingress, family: Family) -> IpAddr {
    match (family, ingress) {
        (Family::V4, Ingress::Veth) => GHOST.into(),
        (Family::V4, Ingress::Bridge) => bridge::GHOST.into(),
        (Family::V4, Ingress::Trusted) => Ipv4Addr::new(10, 10, 0, 50).into(),
        (Family::V4, Ingress::Containers) => Ipv4Addr::new(10, 88, 0, 50).into(),
        (Family::V4, _) => Ipv4Addr::new(192, 168, digits(ingress), 50).into(),
        (Family::V6, Ingress::Veth) => GHOST6.into(),
        (Family::V6, Ingress::Bridge) => in_subnet(ingress, 0x66),
        (Family::V6, _) => in_subnet(ingress, 0x50),
    }
}

/// The address of the registry's peer.
pub(super) fn peer(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 10, 0, 77).into(),
        Family::V6 => in_subnet(Ingress::Trusted, 0x77),
    }
}

/// Source and destination of a cell.
///
/// # Panics
/// The tables above give two addresses of different families.
pub(super) fn ends(cell: &Cell) -> Ends {
    let source = match cell.sender {
        Sender::Neighbour => neighbour(cell.ingress, cell.family),
        Sender::Peer => peer(cell.family),
    };
    match (source, destination(cell)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Ends::V4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Ends::V6(source, destination),
        (source, destination) => panic!("{source} and {destination} in {cell:?}"),
    }
}

/// The destination of a cell.
pub(super) fn destination(cell: &Cell) -> IpAddr {
    let either = |v4: Ipv4Addr, v6: Ipv6Addr| match cell.family {
        Family::V4 => IpAddr::from(v4),
        Family::V6 => IpAddr::from(v6),
    };
    match cell.destination {
        Destination::Own | Destination::OtherMac => own(cell.ingress, cell.family),
        Destination::Other if cell.ingress == Ingress::Trusted => own(Ingress::Veth, cell.family),
        Destination::Other => own(Ingress::Trusted, cell.family),
        Destination::NetworkBridge => own(Ingress::Containers, cell.family),
        Destination::Container => either(CT, CT6),
        Destination::Guest => either(GUEST, GUEST6),
        Destination::AnyIp => either(ANY_IP, ANY_IP6),
        Destination::Group => either(GROUP, GROUP6),
        Destination::Broadcast => Ipv4Addr::BROADCAST.into(),
        Destination::Foreign => either(FOREIGN, FOREIGN6),
    }
}

/// The host's MAC on an interface, and the MAC of the sender there.
const fn macs(ingress: Ingress) -> [Mac; 2] {
    match ingress {
        Ingress::Veth | Ingress::Vlan => [HOST_MAC, LAN_MAC],
        Ingress::Trusted => [HOST_WG_MAC, PEER_MAC],
        Ingress::Bridge => [BRIDGE_MAC, NEIGHBOUR_MAC],
        Ingress::Macvlan => MACVLAN,
        Ingress::Guests => GUESTS,
        Ingress::Containers => CONTAINERS,
        // A tun device has no MACs.
        Ingress::Tun => [[0; 6]; 2],
    }
}

/// Destination and source MAC of a cell's frames.
pub(super) fn frame_macs(cell: &Cell) -> [Mac; 2] {
    let [host, sender] = macs(cell.ingress);
    let to = match cell.destination {
        Destination::OtherMac => STRAY,
        Destination::Group | Destination::Broadcast => group_mac(destination(cell)),
        Destination::Guest if cell.ingress == Ingress::Bridge => GUEST_MAC,
        _ => host,
    };
    [to, sender]
}
