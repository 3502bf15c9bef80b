//! What the host's addresses, networks and MACs are: the maps behind rules 3 to 5, and `on`.

use super::{BANKS, MAX_PREFIXES};
use crate::{
    address::{Address, Family, PeerSet},
    words::Protocol,
};

/// The maximum number of rows of `LOCAL`, a trie with a scope for each bank: the local table of the
/// host.
pub const LOCAL_ENTRIES: u32 = BANKS * 65_536;
/// The maximum number of entries of `NETWORKS`, a trie with a scope for each bank.
pub const NETWORK_ENTRIES: u32 = BANKS * 1024;
/// The maximum number of entries of `SOURCES`, a trie with a scope for each bank and interface: the
/// prefixes of peers that some service allows (scope 0), and those of each interface's peers and
/// subnets.
#[expect(clippy::cast_possible_truncation, reason = "10,000")]
pub const SOURCE_ENTRIES: u32 = BANKS * (2 * MAX_PREFIXES as u32 + 8192);
/// The maximum number of entries of `MACS`.
pub const MAC_ENTRIES: u32 = 65_536;
/// The maximum number of entries of `ON`.
pub const ON_ENTRIES: u32 = BANKS * 8192;

/// A row of `LOCAL`: the interface of the route, and whether the row is a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRow {
    /// The ifindex of the route's interface; 0 for none.
    pub ifindex: u32,
    /// Whether the row is a single address, not a prefix.
    pub is_address: bool,
}

impl LocalRow {
    const ADDRESS: u32 = 1 << 31;

    /// The value in `LOCAL`.
    pub const fn to_bits(self) -> u32 {
        self.ifindex | if self.is_address { Self::ADDRESS } else { 0 }
    }

    /// The row of a value in `LOCAL`.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            ifindex: bits & !Self::ADDRESS,
            is_address: bits & Self::ADDRESS != 0,
        }
    }
}

/// An entry of `NETWORKS`: a container network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NetworkEntry {
    /// The peers that may reach the network.
    pub allow: PeerSet,
    /// The ifindex of the network's bridge.
    pub bridge: u32,
    /// Bits of [`NetworkEntry::AUDIT`] and so on.
    pub flags: u32,
}

impl NetworkEntry {
    /// The network's mode, else the global mode, is `audit`.
    pub const AUDIT: u32 = 1;
    /// The network is routed on purpose; the entry is for `status` alone.
    pub const ROUTED: u32 = 2;
}

/// `NETWORK_FILTERS[filter_index]`: a bit for each value of [`filter_bit`], set where a container
/// network may hold an address with that value.
pub type NetworkFilter = [u64; 1024];
/// Entries of `NETWORK_FILTERS`: one for each bank and family.
pub const NETWORK_FILTERS: u32 = 2 * BANKS;

/// The index of a family's filter under a bank.
#[inline(always)]
pub const fn filter_index(bank: u32, family: Family) -> u32 {
    2 * (bank % BANKS) + matches!(family, Family::V6) as u32
}

/// The bit of an address in its filter: the first 16 bits of an IPv4 address, and a hash of the
/// first 64 bits of an IPv6 address.
#[inline(always)]
pub const fn filter_bit(address: &Address) -> u16 {
    /// 2^64 divided by the golden ratio: Fibonacci hashing (Knuth, TAOCP 6.4).
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    match address.family() {
        Family::V4 => (address.low() >> 16 & 0xffff) as u16,
        Family::V6 => (address.high().wrapping_mul(MULTIPLIER) >> 48) as u16,
    }
}

/// The key in `MACS` of a MAC address that this host takes, under a bank.
#[inline(always)]
pub const fn mac_key(bank: u32, mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, (bank % BANKS) as u8, a, b, c, d, e, f])
}

/// The value in `MACS` of an address that the host takes.
pub const TAKEN_MAC: u32 = 1;
/// The value in `MACS` of an address that macvlan or macvtap devices of the host alone take: frames
/// for it go by the parent's IP stack.
pub const CHILDS_MAC: u32 = 2;

/// The bank of a key in `MACS`.
pub const fn bank_of_mac(key: u64) -> u32 {
    (key >> 48) as u32
}

/// The MAC address of a key in `MACS`.
pub const fn mac_of_key(key: u64) -> [u8; 6] {
    let [_, _, a, b, c, d, e, f] = key.to_be_bytes();
    [a, b, c, d, e, f]
}

/// A key of `ON`: a port at one address of the host; the value is a [`super::Binding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct OnKey {
    high: u64,
    low: u64,
    port: u16,
    protocol: u8,
    family: u8,
    /// No padding: a hash map compares every byte.
    bank: u32,
}

impl OnKey {
    /// The key of a port at an address under a bank.
    #[inline(always)]
    pub const fn new(bank: u32, protocol: Protocol, port: u16, address: &Address) -> Self {
        Self {
            high: address.high(),
            low: address.low(),
            port,
            protocol: protocol as u8,
            family: address.family() as u8,
            bank: bank % BANKS,
        }
    }

    /// The bank, the protocol, the port and the address; `None` for an unknown protocol.
    pub fn parts(&self) -> Option<(u32, Protocol, u16, Address)> {
        let address = if self.family == Family::V4 as u8 {
            #[expect(clippy::cast_possible_truncation, reason = "an IPv4 address")]
            Address::v4((self.low as u32).to_be_bytes())
        } else {
            Address::v6(self.high, self.low)
        };
        let protocol = Protocol::from_code(self.protocol)?;
        Some((self.bank, protocol, self.port, address))
    }
}
