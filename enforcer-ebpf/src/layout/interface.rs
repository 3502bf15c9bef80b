//! `INTERFACES`: a bank's entries of interfaces.

use super::BANKS;
use crate::address::PeerSet;

/// An interface under a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceKey {
    /// The ifindex, with [`WIRE_VIEW`] for the wire guard of a VLAN parent.
    pub ifindex: u32,
    /// The bank.
    pub bank: u32,
}

impl InterfaceKey {
    /// The indices in `INTERFACES` to probe for this key's entry, up to the entry or the first
    /// [`InterfaceEntry::FREE`] place.
    ///
    /// An array with open addressing, as the kernel inlines the look-up of an array, and a guard
    /// looks here for every packet of a registered port. Most interfaces need no entry. Homes are
    /// scattered (Fibonacci hashing, Knuth, TAOCP 6.4): interfaces in a row would else form a run
    /// that others have to probe to its end.
    #[inline(always)]
    pub fn places(self) -> impl Iterator<Item = u32> {
        /// 2^32 divided by the golden ratio, made odd.
        const MULTIPLIER: u32 = 0x9e37_79b1;
        const SHIFT: u32 = u32::BITS - INTERFACE_SLOTS.ilog2();
        let region = self.bank + BANKS * (self.ifindex >> 31);
        let home = (self.ifindex & !WIRE_VIEW).wrapping_mul(MULTIPLIER) >> SHIFT;
        (0..INTERFACE_PROBES)
            .map(move |probe| region * INTERFACE_SLOTS + (home + probe) % INTERFACE_SLOTS)
    }
}

/// Places for interfaces in each bank; behind all banks as many follow for wire views, as a view
/// next to its interface would often collide with interfaces of the next indices.
pub const INTERFACE_SLOTS: u32 = 1024;
/// The maximum number of probes: a bound for the verifier, which walks each of them.
pub const INTERFACE_PROBES: u32 = 256;
/// Entries of `INTERFACES`.
pub const INTERFACE_ENTRIES: u32 = 2 * BANKS * INTERFACE_SLOTS;

/// The bit of a *wire view*: with this bit in the ifindex the wire guard of an XDP-guarded VLAN
/// parent looks up its policy.
///
/// XDP does not see a tag after the driver took the tag off, so the view of a parent passes all
/// traffic that any of its VLAN devices would pass. The socket guard knows the device and is
/// strict.
pub const WIRE_VIEW: u32 = 1 << 31;

/// The maximum number of IPv4 prefix lengths on an interface: all lengths.
const V4_LENGTHS: usize = 33;
/// As above for IPv6, padded: the size of the entry is a multiple of eight bytes.
const V6_LENGTHS: usize = 131;

/// `INTERFACES[…]`, at one of [`InterfaceKey::places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceEntry {
    /// [`InterfaceKey::ifindex`], or [`InterfaceEntry::FREE`].
    pub ifindex: u32,
    /// The ifindex for questions to the FIB: the master's for the member of a bridge, bond or
    /// team, else 0 for the interface's own.
    pub route_as: u32,
    /// The bridge whose container networks the interface belongs to, by ifindex; 0 for none.
    pub network: u32,
    /// An IPv4 address of the interface, as a number in host byte order; 0 for none. A packet to
    /// this address needs no look-up in the local table.
    pub own_v4: u32,
    /// An IPv6 address of the interface, as [`crate::Address::high`] and [`crate::Address::low`];
    /// zeros for none.
    pub own_v6: [u64; 2],
    /// The peers of the interface.
    pub carries: PeerSet,
    /// Bits of [`InterfaceEntry::JUDGES_ALL`] and so on.
    pub flags: u32,
    /// The interface's MAC address, for [`InterfaceEntry::CHILDREN`].
    pub mac: [u8; 6],
    /// The number of lengths in `v4_lengths`.
    pub v4_count: u8,
    /// The number of lengths in `v6_lengths`.
    pub v6_count: u8,
    /// The lengths of the IPv4 prefixes on this interface, longest first.
    pub v4_lengths: [u8; V4_LENGTHS],
    /// The lengths of the IPv6 prefixes on this interface, longest first.
    pub v6_lengths: [u8; V6_LENGTHS],
}

impl InterfaceEntry {
    /// `forward = false`: rules 3 and 5 are off.
    pub const JUDGES_ALL: u32 = 1;
    /// Macvlan or macvtap devices stand on the interface: unicast frames for another MAC address
    /// are theirs.
    pub const CHILDREN: u32 = 2;
    /// The wire guard uses the entry with [`WIRE_VIEW`] instead.
    pub const VLAN_PARENT: u32 = 4;
    /// `carries` is not empty.
    pub const CARRIES: u32 = 8;
    /// A packet that leaves by the interface of its arrival is forwarded: `forward = true`, or a
    /// link without an Ethernet header.
    pub const HAIRPIN: u32 = 16;
    /// The interface is inside: rule 6 leaves it alone.
    pub const INSIDE: u32 = 32;
    /// The wire guard of a member, whose master counts what passes.
    pub const MEMBER: u32 = 64;
    /// The wire guard looks through VLAN tags of any id ([`crate::VlanIds::LookThrough`]).
    pub const LOOKS_THROUGH: u32 = 128;
    /// A VRF device, which brings this host's own packets too.
    pub const VRF: u32 = 256;
    /// `MACS` has the addresses that this interface takes, so a frame for any other one is for
    /// another machine. Under XDP, rule 3 needs this flag.
    pub const KNOWS_MACS: u32 = 512;

    /// The ifindex of a place without an entry: a search ends here.
    pub const FREE: u32 = 0;

    /// An interface without peers and flags.
    pub const EMPTY: Self = Self {
        ifindex: Self::FREE,
        route_as: 0,
        network: 0,
        own_v4: 0,
        own_v6: [0; 2],
        carries: PeerSet::EMPTY,
        flags: 0,
        mac: [0; 6],
        v4_count: 0,
        v6_count: 0,
        v4_lengths: [0; V4_LENGTHS],
        v6_lengths: [0; V6_LENGTHS],
    };
}
