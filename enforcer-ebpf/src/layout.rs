//! The layout of the maps: keys and values, as the loader writes them and the guards read them.
//!
//! All integers are in the host's byte order, as maps never leave the machine. Names such as
//! `PORTS` are the names of maps in the object and in the pin directory. Any change of a layout or
//! of a value's meaning needs a new [`LAYOUT_VERSION`].

mod address_key;
mod counters;
mod event;
mod interface;
mod networks;
mod sent;
mod state;
#[cfg(test)]
mod tests;

pub use address_key::{AddressKey, AddressScope, KEY_BITS};
pub use counters::{CELLS, Cell, Cells, Count};
pub use event::{Budget, EVENT_BYTES, EVENT_PACKET, EVENTS_PER_EPOCH, Epoch, Event, EventHead};
pub use interface::{
    INTERFACE_ENTRIES, INTERFACE_PROBES, INTERFACE_SLOTS, InterfaceEntry, InterfaceKey, WIRE_VIEW,
};
pub use networks::{
    CHILDS_MAC, LOCAL_ENTRIES, LocalRow, MAC_ENTRIES, NETWORK_ENTRIES, NETWORK_FILTERS,
    NetworkEntry, NetworkFilter, ON_ENTRIES, OnKey, SOURCE_ENTRIES, TAKEN_MAC, bank_of_mac,
    filter_bit, filter_index, mac_key, mac_of_key,
};

pub use sent::{SENT_ENTRIES, SentKey, is_recent};
pub use state::{OriginEntry, PATH_LENGTH, PendingConfirm, State};

use crate::{
    address::{Address, MAX_PEERS, PeerSet},
    decision::FIRST_PORT_SLOT,
    words::{Mode, Protocol},
};

/// The version of this module's layouts. Pinned objects of another version are never reused.
pub const LAYOUT_VERSION: u32 = 5;

/// The number of banks, each a copy of the policy; the generation's lowest bit is the active bank.
pub const BANKS: u32 = 2;
/// The maximum number of (protocol, port) pairs in a registry.
pub const MAX_PORTS: usize = 4096;
/// The maximum number of services: a service has at least one port.
pub const MAX_SERVICES: u32 = 4096;
/// The maximum number of source prefixes in a registry.
pub const MAX_PREFIXES: usize = 10_000;
/// Slots: the fixed ones, and room to replace all ports in a reload without a slot in common between
/// the old and the new policy.
pub const SLOTS: u32 = FIRST_PORT_SLOT as u32 + 2 * 4096;
/// Entries of `PREFIXES`: both banks, and for each prefix a wire view on a VLAN parent.
pub const PREFIX_ENTRIES: u32 = 65_536;
/// The maximum number of `[interfaces.*]` sections in a registry.
pub const MAX_RULES: u32 = 256;
/// Entries of `RULES`.
pub const RULE_ENTRIES: u32 = BANKS * MAX_RULES;
/// Entries of `BYPASSED`: interfaces with a wire guard.
pub const BYPASS_ENTRIES: u32 = 4096;

/// The bank of a generation.
#[inline(always)]
pub const fn bank(generation: u32) -> u32 {
    generation % BANKS
}

/// The index of a port in `PORTS`: 65,536 entries for each protocol.
#[inline(always)]
pub const fn port_index(protocol: Protocol, port: u16) -> u32 {
    ((protocol as u32) << 16) | port as u32
}

/// Entries of `PORTS`.
pub const PORT_ENTRIES: u32 = 3 << 16;

/// The binding of a port to its slot and its service under a bank, in a single word.
///
/// For an unregistered port `slot` is [`crate::NO_SLOT`], or [`crate::unregistered_slot`] where
/// `[unregistered]` judges the port; without container networks the word of the former is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The slot of the port, below [`SLOTS`].
    pub slot: u16,
    /// The number of the service under that bank, below [`MAX_SERVICES`].
    pub service: u16,
    /// Whether anyone may reach the service.
    pub public: bool,
    /// Whether the service's mode, else the global mode, is `audit`.
    pub audit: bool,
    /// Whether the service allows peers.
    pub has_peers: bool,
    /// Whether `ON` may have a binding of its own for the packet's destination.
    pub by_address: bool,
    /// Whether the host has container networks: set in every word of `PORTS`, so that hosts
    /// without such networks ask for nothing.
    pub networks: bool,
}

impl Binding {
    const SLOT_BITS: u32 = 14;
    const SERVICE_BITS: u32 = 12;
    const PUBLIC: u32 = 1 << 26;
    const AUDIT: u32 = 1 << 27;
    const HAS_PEERS: u32 = 1 << 28;
    const BY_ADDRESS: u32 = 1 << 29;
    const NETWORKS: u32 = 1 << 30;

    /// The word in `PORTS`.
    pub const fn to_bits(self) -> u32 {
        (self.slot as u32)
            | (self.service as u32) << Self::SLOT_BITS
            | if self.public { Self::PUBLIC } else { 0 }
            | if self.audit { Self::AUDIT } else { 0 }
            | if self.has_peers { Self::HAS_PEERS } else { 0 }
            | if self.by_address { Self::BY_ADDRESS } else { 0 }
            | if self.networks { Self::NETWORKS } else { 0 }
    }

    /// The binding of a word in `PORTS`.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            slot: (bits & ((1 << Self::SLOT_BITS) - 1)) as u16,
            service: (bits >> Self::SLOT_BITS & ((1 << Self::SERVICE_BITS) - 1)) as u16,
            public: bits & Self::PUBLIC != 0,
            audit: bits & Self::AUDIT != 0,
            has_peers: bits & Self::HAS_PEERS != 0,
            by_address: bits & Self::BY_ADDRESS != 0,
            networks: bits & Self::NETWORKS != 0,
        }
    }
}

/// `PORTS[port_index]`: the binding of a port under each bank, [`Binding::to_bits`].
///
/// Both banks share the entry, so that a packet for a port unknown to both needs a single look-up.
pub type PortEntry = [u32; BANKS as usize];

/// `SERVICES[bank * MAX_SERVICES + service]`: the guards read entries of services with peers only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceEntry {
    /// The peers that may reach the service.
    pub allow: PeerSet,
    /// The name, ASCII, padded with zeros.
    pub name: [u8; NAME_LENGTH],
}

/// The longest name of a service or a peer, in bytes.
pub const NAME_LENGTH: usize = 32;
/// ALTIFNAMSIZ (linux/if.h): an alternative name of an interface with the NUL; names have 16 bytes.
pub const INTERFACE_NAME_LENGTH: usize = 128;

/// `PEERS[bank * MAX_PEERS + peer]`: for the commands; the guards never read this map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PeerEntry {
    /// The name, ASCII, padded with zeros.
    pub name: [u8; NAME_LENGTH],
    /// The interface, padded with zeros.
    pub interface: [u8; INTERFACE_NAME_LENGTH],
    /// The WireGuard public key of a peer by key.
    pub key: [u8; 32],
    /// Bits of [`PeerEntry::BY_KEY`] and so on.
    pub flags: u32,
}

impl PeerEntry {
    /// The peer is identified by a WireGuard key, not by addresses.
    pub const BY_KEY: u32 = 1;
    /// The peer's addresses are loaded for an interface that exists.
    pub const ACTIVE: u32 = 2;

    /// An entry of zeros.
    pub const EMPTY: Self = Self {
        name: [0; NAME_LENGTH],
        interface: [0; INTERFACE_NAME_LENGTH],
        key: [0; 32],
        flags: 0,
    };
}

/// `BANK[bank]`: settings and sizes of a bank's policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BankEntry {
    /// Bits of [`BankEntry::AUDIT`] and so on.
    pub flags: u32,
    /// The number of entries of `SERVICES` in use.
    pub services: u32,
    /// The number of entries of `PEERS` in use.
    pub peers: u32,
    /// The number of entries of `RULES` in use.
    pub rules: u32,
    /// The peers that `[unregistered]` allows.
    pub allow_unregistered: PeerSet,
}

impl BankEntry {
    /// The global mode is `audit`.
    pub const AUDIT: u32 = 1;
    /// `NETWORKS` has entries.
    pub const NETWORKS: u32 = 2;
    /// `SOURCES` has entries: some service allows a peer.
    pub const SOURCES: u32 = 4;
    /// Some entry of `INTERFACES` has [`InterfaceEntry::LOOKS_THROUGH`].
    pub const LOOKS_THROUGH: u32 = 8;
    /// `[unregistered]` drops or audits a protocol: two bits for each, 0 pass, 1 audit, 2 drop.
    const UNREGISTERED_SHIFT: u32 = 4;

    /// The bits of `flags` for a protocol under `[unregistered]`; `None` leaves the protocol alone.
    pub const fn unregistered_bits(protocol: Protocol, mode: Option<Mode>) -> u32 {
        let bits = match mode {
            None => 0,
            Some(Mode::Audit) => 1,
            Some(Mode::Enforce) => 2,
        };
        bits << (Self::UNREGISTERED_SHIFT + 2 * protocol as u32)
    }

    /// The mode of a protocol under `[unregistered]`, `None` where the protocol is left alone.
    pub const fn unregistered(&self, protocol: Protocol) -> Option<Mode> {
        match self.flags >> (Self::UNREGISTERED_SHIFT + 2 * protocol as u32) & 3 {
            0 => None,
            1 => Some(Mode::Audit),
            _ => Some(Mode::Enforce),
        }
    }
}

/// A key of `PREFIXES`; the value is the [`PeerSet`] of the prefix.
///
/// The longest match takes an exact look-up for each length in use on the interface: unlike the
/// cost of an LPM trie, this cost does not grow with the number of prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct PrefixKey {
    high: u64,
    low: u64,
    ifindex: u32,
    bank: u8,
    family: u8,
    length: u8,
    /// No padding: a hash map compares every byte.
    zero: u8,
}

impl PrefixKey {
    /// The key of the prefix of `length` bits around `address`, on an interface under a bank.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a bank is 0 or 1")]
    pub const fn new(interface: InterfaceKey, address: &Address, length: u8) -> Self {
        let network = address.network(length);
        Self {
            high: network.high(),
            low: network.low(),
            ifindex: interface.ifindex,
            bank: interface.bank as u8,
            family: network.family() as u8,
            length,
            zero: 0,
        }
    }

    /// The interface and the bank of the prefix.
    pub const fn interface(&self) -> InterfaceKey {
        InterfaceKey {
            ifindex: self.ifindex,
            bank: self.bank as u32,
        }
    }

    /// The network and the length of the prefix.
    pub const fn prefix(&self) -> (Address, u8) {
        let network = if self.family == 4 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an IPv4 address has 32 bits"
            )]
            Address::v4((self.low as u32).to_be_bytes())
        } else {
            Address::v6(self.high, self.low)
        };
        (network, self.length)
    }
}

/// `RULES[bank * MAX_RULES + index]`: the registry's `[interfaces.*]` sections, for the commands;
/// the guards never read this map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RuleEntry {
    /// The interface's name, or a prefix of names followed by `*`, padded with zeros.
    pub pattern: [u8; INTERFACE_NAME_LENGTH],
    /// 0 not set, 1 inside, 2 outside.
    pub side: u8,
    /// 0 auto, 1 native XDP, 2 generic XDP, 3 tcx.
    pub hook: u8,
    /// 0 auto, 1 true, 2 false.
    pub forward: u8,
    /// 0 not set, 1 true, 2 false.
    pub containers: u8,
    /// 1 for a container network that is routed on purpose.
    pub routed: u8,
    /// 0 not set, 1 enforce, 2 audit.
    pub mode: u8,
    /// The keys that the table has, whatever their values: [`Self::HAS_ALLOW`],
    /// [`Self::HAS_ROUTED`].
    pub keys: u8,
    /// No padding.
    pub zero: u8,
    /// The peers that may reach the container networks.
    pub allow: PeerSet,
}

impl RuleEntry {
    /// The table has the key `allow`.
    pub const HAS_ALLOW: u8 = 1;
    /// The table has the key `routed`.
    pub const HAS_ROUTED: u8 = 2;

    /// An entry of zeros.
    pub const EMPTY: Self = Self {
        pattern: [0; INTERFACE_NAME_LENGTH],
        side: 0,
        hook: 0,
        forward: 0,
        containers: 0,
        routed: 0,
        mode: 0,
        keys: 0,
        zero: 0,
        allow: PeerSet::EMPTY,
    };
}

/// `RESERVED[0]`: a bit for each port that the loader added to `ip_local_reserved_ports`.
pub type PortBits = [u64; 1024];

/// Entries of `SERVICES`.
pub const SERVICE_ENTRIES: u32 = BANKS * MAX_SERVICES;
/// Entries of `PEERS`.
#[expect(clippy::cast_possible_truncation, reason = "256")]
pub const PEER_ENTRIES: u32 = BANKS * MAX_PEERS as u32;
