//! `INTERFACES`: what a bank says of an interface.

use super::BANKS;
use crate::address::PeerSet;

/// Under which interface and which bank something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceKey {
    /// The ifindex, with [`WIRE_VIEW`] for the wire guard of a VLAN parent.
    pub ifindex: u32,
    /// The bank.
    pub bank: u32,
}

impl InterfaceKey {
    /// Where in `INTERFACES` the entry of this key may stand: in the first of these places that
    /// holds it, and nowhere if a place before is [`InterfaceEntry::FREE`].
    ///
    /// An array with a tag in each entry, probed a few times: the kernel inlines the look-up, and
    /// a guard asks this for every packet of a registered port. Most interfaces need no entry.
    #[inline(always)]
    pub fn places(self) -> impl Iterator<Item = u32> {
        let region = self.bank + BANKS * (self.ifindex >> 31);
        let home = self.ifindex & !WIRE_VIEW;
        (0..INTERFACE_PROBES)
            .map(move |probe| region * INTERFACE_SLOTS + (home + probe) % INTERFACE_SLOTS)
    }
}

/// Places for entries of interfaces in each bank; behind those of all banks, as many for views, as
/// that of an interface would often find the places of those with the next indexes taken.
pub const INTERFACE_SLOTS: u32 = 1024;
/// How many places are looked at.
pub const INTERFACE_PROBES: u32 = 8;
/// Entries of `INTERFACES`.
pub const INTERFACE_ENTRIES: u32 = 2 * BANKS * INTERFACE_SLOTS;

/// Marks the ifindex under which the wire guard of an XDP-guarded VLAN parent looks things up.
///
/// XDP does not see a tag that the driver took off, so such a parent passes what any of its VLAN
/// devices would pass; the socket guard, which knows the device, is not so lenient.
pub const WIRE_VIEW: u32 = 1 << 31;

/// The most prefix lengths of one family on one interface: all of them.
const V4_LENGTHS: usize = 33;
/// As above; padded so that the entry is a multiple of eight bytes.
const V6_LENGTHS: usize = 131;

/// `INTERFACES[InterfaceKey::place]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceEntry {
    /// Whose entry it is: [`InterfaceKey::ifindex`], or [`InterfaceEntry::FREE`].
    pub ifindex: u32,
    /// No padding.
    pub zero: u32,
    /// The peers that the interface carries.
    pub carries: PeerSet,
    /// Bits of [`InterfaceEntry::FORWARD`] and so on.
    pub flags: u32,
    /// The interface's MAC address, for [`InterfaceEntry::CHILDREN`].
    pub mac: [u8; 6],
    /// How many of `v4_lengths` count.
    pub v4_count: u8,
    /// How many of `v6_lengths` count.
    pub v6_count: u8,
    /// The lengths of the IPv4 prefixes on this interface, longest first.
    pub v4_lengths: [u8; V4_LENGTHS],
    /// The lengths of the IPv6 prefixes on this interface, longest first.
    pub v6_lengths: [u8; V6_LENGTHS],
}

impl InterfaceEntry {
    /// `forward = true`.
    pub const FORWARD: u32 = 1;
    /// Macvlan or macvtap devices sit on it: unicast frames for another MAC are theirs.
    pub const CHILDREN: u32 = 2;
    /// The wire guard looks itself up with [`WIRE_VIEW`].
    pub const VLAN_PARENT: u32 = 4;
    /// `carries` is not empty.
    pub const CARRIES: u32 = 8;

    /// The ifindex of a place that no entry ever took: a search ends here.
    pub const FREE: u32 = 0;

    /// An interface without peers and flags.
    pub const EMPTY: Self = Self {
        ifindex: Self::FREE,
        zero: 0,
        carries: PeerSet::EMPTY,
        flags: 0,
        mac: [0; 6],
        v4_count: 0,
        v6_count: 0,
        v4_lengths: [0; V4_LENGTHS],
        v6_lengths: [0; V6_LENGTHS],
    };
}
