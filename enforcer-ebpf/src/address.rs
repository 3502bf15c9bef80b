//! IP addresses and sets of peers.

#[cfg(test)]
mod tests;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The version of the IP header that carried an address.
///
/// The family is part of an address: `::ffff:10.0.0.1` inside an IPv6 header never equals
/// 10.0.0.1 inside an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4, 32 bits.
    V4 = 4,
    /// IPv6, 128 bits.
    V6 = 6,
}

impl Family {
    /// The length in bits of an address of this family.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// An IP address as two integers in host byte order; an IPv4 address is the low 32 bits of `low`.
///
/// Two registers compare and mask faster than sixteen bytes, and BPF has no unaligned loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    family: Family,
    high: u64,
    low: u64,
}

impl Address {
    /// The address in an IPv4 header, from its four octets in network byte order.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self {
            family: Family::V4,
            high: 0,
            low: u32::from_be_bytes(octets) as u64,
        }
    }

    /// The address in an IPv6 header, from its two halves in host byte order.
    #[inline(always)]
    pub const fn v6(high: u64, low: u64) -> Self {
        Self {
            family: Family::V6,
            high,
            low,
        }
    }

    /// The version of the header that carried the address.
    #[inline(always)]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// The upper 64 bits of an IPv6 address; 0 for IPv4.
    #[inline(always)]
    pub const fn high(&self) -> u64 {
        self.high
    }

    /// The lower 64 bits of an IPv6 address, or the 32 bits of an IPv4 address.
    #[inline(always)]
    pub const fn low(&self) -> u64 {
        self.low
    }

    /// An IPv4 address as the kernel's structures hold one, in network byte order.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an IPv4 address has 32 bits"
    )]
    pub const fn word_v4(&self) -> u32 {
        (self.low as u32).to_be()
    }

    /// An IPv6 address as the kernel's structures hold one: words in network byte order.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of 64 bits")]
    pub const fn words_v6(&self) -> [u32; 4] {
        [
            ((self.high >> 32) as u32).to_be(),
            (self.high as u32).to_be(),
            ((self.low >> 32) as u32).to_be(),
            (self.low as u32).to_be(),
        ]
    }

    /// The inverse of [`Self::words_v6`].
    #[inline(always)]
    pub const fn from_words_v6(words: [u32; 4]) -> Self {
        let [a, b, c, d] = words;
        Self::v6(half(a, b), half(c, d))
    }

    /// Whether the address is 127.0.0.0/8 (RFC 1122, 3.2.1.3), ::1 (RFC 4291, 2.5.3) or a
    /// v4-mapped 127.0.0.0/8 (RFC 4291, 2.5.5.2).
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        match self.family {
            Family::V4 => self.low >> 24 == 127,
            Family::V6 => self.high == 0 && (self.low == 1 || self.low >> 24 == 0x00ff_ff7f),
        }
    }

    /// Whether the address is no multicast, limited broadcast or unspecified address: 224.0.0.0/4,
    /// 255.255.255.255, 0.0.0.0/8 (RFC 6890), ff00::/8 and :: (RFC 4291, 2.4).
    #[inline(always)]
    pub const fn is_unicast(&self) -> bool {
        match self.family {
            Family::V4 => self.low >> 28 != 14 && self.low != 0xffff_ffff && self.low >> 24 != 0,
            Family::V6 => self.high >> 56 != 0xff && (self.high | self.low) != 0,
        }
    }

    /// The address with all bits behind the first `length` cleared.
    ///
    /// A length beyond the family's bits clears nothing.
    #[inline(always)]
    pub const fn network(&self, length: u8) -> Self {
        let unused = 128 - self.family.bits() as usize;
        let [high, low] = MASKS[unused + length as usize];
        Self {
            family: self.family,
            high: self.high & high,
            low: self.low & low,
        }
    }
}

/// 64 bits of two words in network byte order.
#[inline(always)]
const fn half(high: u32, low: u32) -> u64 {
    (u32::from_be(high) as u64) << 32 | u32::from_be(low) as u64
}

/// Network masks of an address's two words, by IPv6 prefix length; an IPv4 length, whose 32 bits
/// are the last ones, stands 96 places further. Behind length 128 the masks are full.
///
/// A table, for the verifier's sake: arithmetic has a branch for each word and each of its ends,
/// and the verifier would walk every branch for each prefix of an interface.
static MASKS: [[u64; 2]; 96 + 256] = masks();

#[expect(clippy::cast_possible_truncation, reason = "the low word is cut out")]
const fn masks() -> [[u64; 2]; 96 + 256] {
    let mut masks = [[u64::MAX; 2]; 96 + 256];
    let mut length: u32 = 0;
    while length < 128 {
        let mask = !(u128::MAX >> length);
        masks[length as usize] = [(mask >> 64) as u64, mask as u64];
        length += 1;
    }
    masks
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the two halves of 128 bits"
                )]
                Self::v6((bits >> 64) as u64, bits as u64)
            }
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        match address.family {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an IPv4 address has 32 bits"
            )]
            Family::V4 => Self::V4(Ipv4Addr::from_bits(address.low as u32)),
            Family::V6 => Self::V6(Ipv6Addr::from_bits(
                (u128::from(address.high) << 64) | u128::from(address.low),
            )),
        }
    }
}

/// A set of peers, or the absence of one: the guards compare sets in the memory of maps.
pub trait Peers {
    /// Whether the two sets share a member.
    fn intersects(&self, other: &Self) -> bool;
}

impl Peers for PeerSet {
    #[inline(always)]
    fn intersects(&self, other: &Self) -> bool {
        self.shares_with(other)
    }
}

impl Peers for Option<&PeerSet> {
    #[inline(always)]
    fn intersects(&self, other: &Self) -> bool {
        matches!((self, other), (Some(one), Some(other)) if one.shares_with(other))
    }
}

/// The maximum number of peers in a registry: the bits of a [`PeerSet`].
pub const MAX_PEERS: usize = 256;

/// A set of peers, a bit for each. Peer numbers hold within one generation of the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PeerSet([u64; MAX_PEERS / 64]);

impl PeerSet {
    /// The set without a member.
    pub const EMPTY: Self = Self([0; MAX_PEERS / 64]);

    /// Adds a peer; numbers from [`MAX_PEERS`] on are not representable and are ignored.
    pub const fn insert(&mut self, peer: u16) {
        if (peer as usize) < MAX_PEERS {
            self.0[peer as usize / 64] |= 1 << (peer % 64);
        }
    }

    /// Whether the peer is a member.
    pub const fn contains(&self, peer: u16) -> bool {
        (peer as usize) < MAX_PEERS && self.0[peer as usize / 64] >> (peer % 64) & 1 == 1
    }

    /// Whether the two sets share a member.
    #[inline(always)]
    pub const fn shares_with(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        (a[0] & b[0]) | (a[1] & b[1]) | (a[2] & b[2]) | (a[3] & b[3]) != 0
    }

    /// Whether there is no member.
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        !self.shares_with(self)
    }

    /// The members of either set.
    #[must_use]
    pub const fn union(&self, other: &Self) -> Self {
        let (a, b) = (&self.0, &other.0);
        Self([a[0] | b[0], a[1] | b[1], a[2] | b[2], a[3] | b[3]])
    }

    /// The members, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..256u16).filter(|peer| self.contains(*peer))
    }
}
