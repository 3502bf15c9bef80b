//! The shape of the maps: what the loader writes, the guards read, and every command shows.
//!
//! All integers are in the host's byte order: maps never leave the machine. Names are the map's
//! names in the object and in the pin directory. A change of any shape here, or of what a value
//! means, needs a new [`LAYOUT_VERSION`].

mod counters;
mod event;
mod interface;
#[cfg(test)]
mod tests;

pub use counters::{CELLS, Cell, Cells, Count};
pub use event::{Budget, EVENT_BYTES, EVENT_PACKET, EVENTS_PER_EPOCH, Epoch, Event, EventHead};
pub use interface::{
    INTERFACE_ENTRIES, INTERFACE_PROBES, INTERFACE_SLOTS, InterfaceEntry, InterfaceKey, WIRE_VIEW,
};

use crate::{
    address::{Address, MAX_PEERS, PeerSet},
    words::Protocol,
};

/// The version of everything in this module. Objects of another layout are never reused.
pub const LAYOUT_VERSION: u32 = 2;

/// The copies of the policy; the active one is the generation's lowest bit.
pub const BANKS: u32 = 2;
/// The most (protocol, port) pairs that a registry may name.
pub const MAX_PORTS: usize = 4096;
/// The most services: each has at least one port.
pub const MAX_SERVICES: u32 = 4096;
/// The most source prefixes that a registry may name.
pub const MAX_PREFIXES: usize = 10_000;
/// Slots: one for what has no port, and room to replace all ports in one reload without a slot
/// of the old policy being used by the new one.
pub const SLOTS: u32 = 1 + 2 * 4096;
/// Entries of the prefix table: both banks, and for each prefix a wire view on a VLAN parent.
pub const PREFIX_ENTRIES: u32 = 65_536;
/// The most interface rules that a registry may have.
pub const MAX_RULES: u32 = 256;
/// Entries of `RULES`.
pub const RULE_ENTRIES: u32 = BANKS * MAX_RULES;
/// Interfaces whose bypassed wire guards are counted.
pub const BYPASS_ENTRIES: u32 = 4096;

/// The bank that a generation reads.
#[inline(always)]
pub const fn bank(generation: u32) -> u32 {
    generation % BANKS
}

/// The index of a port in the port table: 65,536 entries for each protocol.
#[inline(always)]
pub const fn port_index(protocol: Protocol, port: u16) -> u32 {
    ((protocol as u32) << 16) | port as u32
}

/// Entries of the port table.
pub const PORT_ENTRIES: u32 = 3 << 16;

/// Where a port belongs under one bank, in the one word that the pass path looks at.
///
/// `slot` is [`crate::NO_SLOT`] where the port is not registered, and all of the word 0 then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The slot of the port, below [`SLOTS`].
    pub slot: u16,
    /// The number of the service under that bank, below [`MAX_SERVICES`].
    pub service: u16,
    /// Anyone may reach the service.
    pub public: bool,
    /// The service's mode, or the global one where it has none, is `audit`.
    pub audit: bool,
    /// The service allows peers.
    pub has_peers: bool,
}

impl Binding {
    const SLOT_BITS: u32 = 14;
    const SERVICE_BITS: u32 = 12;
    const PUBLIC: u32 = 1 << 26;
    const AUDIT: u32 = 1 << 27;
    const HAS_PEERS: u32 = 1 << 28;

    /// The word of the port table.
    pub const fn to_bits(self) -> u32 {
        (self.slot as u32)
            | (self.service as u32) << Self::SLOT_BITS
            | if self.public { Self::PUBLIC } else { 0 }
            | if self.audit { Self::AUDIT } else { 0 }
            | if self.has_peers { Self::HAS_PEERS } else { 0 }
    }

    /// The binding that a word of the port table stands for.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            slot: (bits & ((1 << Self::SLOT_BITS) - 1)) as u16,
            service: (bits >> Self::SLOT_BITS & ((1 << Self::SERVICE_BITS) - 1)) as u16,
            public: bits & Self::PUBLIC != 0,
            audit: bits & Self::AUDIT != 0,
            has_peers: bits & Self::HAS_PEERS != 0,
        }
    }
}

/// `PORTS[port_index]`: the binding of a port under each bank, [`Binding::to_bits`].
///
/// Both banks share the entry, so that a packet for a port that no bank knows needs this one
/// look-up and nothing else.
pub type PortEntry = [u32; BANKS as usize];

/// `SERVICES[bank * MAX_SERVICES + service]`: read by the guards for services with peers only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceEntry {
    /// The peers that may reach it.
    pub allow: PeerSet,
    /// The name, ASCII, padded with zeros.
    pub name: [u8; NAME_LENGTH],
}

/// The longest name of a service or a peer, in bytes.
pub const NAME_LENGTH: usize = 32;
/// IFNAMSIZ (linux/if.h): an interface's name with its NUL.
pub const INTERFACE_NAME_LENGTH: usize = 16;

/// `PEERS[bank * MAX_PEERS + peer]`: for the commands; the guards never read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// The peer is known by its key, not by addresses.
    pub const BY_KEY: u32 = 1;
    /// The peer's addresses are loaded for an interface that exists.
    pub const ACTIVE: u32 = 2;
}

/// `BANK[bank]`: what the policy of a bank says as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BankEntry {
    /// Bits of [`BankEntry::AUDIT`] and so on.
    pub flags: u32,
    /// How many entries of `SERVICES` this bank uses.
    pub services: u32,
    /// How many entries of `PEERS` this bank uses.
    pub peers: u32,
    /// How many entries of `RULES` this bank uses.
    pub rules: u32,
}

impl BankEntry {
    /// The global mode is `audit`.
    pub const AUDIT: u32 = 1;
}

/// A key of `PREFIXES`, whose value is the [`PeerSet`] that the longest match gives.
///
/// One exact look-up for each length in use on the interface: the cost does not grow with the
/// number of prefixes, as that of an LPM trie does.
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
    /// The key of the network of `length` bits that `address` is in, on an interface under a bank.
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

    /// The interface and the bank that the prefix stands under.
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

/// `RULES[bank * MAX_RULES + rule]`: what the registry says about interfaces, for the commands;
/// the guards never read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleEntry {
    /// The interface's name, or the start of names with a `*` behind it, padded with zeros.
    pub pattern: [u8; INTERFACE_NAME_LENGTH],
    /// 0 unsaid, 1 inside, 2 outside.
    pub side: u8,
    /// 0 auto, 1 native XDP, 2 generic XDP, 3 tcx.
    pub hook: u8,
    /// 1 where the interface forwards.
    pub forward: u8,
    /// No padding.
    pub zero: u8,
}

/// `STATE[0]`: what the pin directory is, and the one word that a reload switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    /// [`LAYOUT_VERSION`] of the loader that made the directory.
    pub layout: u32,
    /// The generation in force; its lowest bit is the active bank. 0 before the first policy.
    pub generation: u32,
    /// The cookie of the guarded network namespace (linux/net_namespace.h: net_cookie).
    pub netns_cookie: u64,
    /// Bits of [`State::WANT_WIRE`] and so on.
    pub flags: u32,
    /// No padding.
    pub zero: u32,
}

impl State {
    /// Wire guards were asked for.
    pub const WANT_WIRE: u32 = 1;
    /// The socket guard was asked for.
    pub const WANT_SOCKET: u32 = 2;
    /// The registry was bad when `run` started, and the embedded default holds in its place.
    pub const FALLBACK: u32 = 8;
    /// The programs were loaded with their diagnostics.
    pub const LOG: u32 = 16;
    /// The registry is the embedded one because there is no file.
    pub const EMBEDDED: u32 = 32;
    /// The operator said `--static-peers`: peers by key are resolved by commands alone.
    pub const STATIC_PEERS: u32 = 64;
}

/// The longest path of a registry file that is remembered, in bytes with its NUL: PATH_MAX.
pub const PATH_LENGTH: usize = 4096;

/// `ORIGIN[bank]`: which registry a bank was made from, for the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OriginEntry {
    /// A digest of the registry's files; 0 where there are none, or none that can be read again.
    pub digest: u64,
    /// 1 where the main file was there, 0 where its fragments stood alone.
    pub has_main: u64,
    /// The path of the main file, padded with zeros; empty for the embedded registry.
    pub path: [u8; PATH_LENGTH],
}

/// `TRIAL[0]`: the pending policy, in force until a deadline unless the operator confirms it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PendingConfirm {
    /// [`PendingConfirm::NONE`], [`PendingConfirm::ARMED`] or [`PendingConfirm::ROLLED_BACK`].
    pub state: u32,
    /// The generation of the pending policy.
    pub generation: u32,
    /// Time of the rollback: nanoseconds of CLOCK_BOOTTIME, which runs while the host sleeps.
    pub deadline: u64,
    /// [`OriginEntry::digest`] of the pending registry: `run` never loads it again by itself.
    pub digest: u64,
    /// [`State::flags`] before the pending policy, restored by a rollback.
    pub previous_flags: u32,
    /// No padding.
    pub zero: u32,
}

impl PendingConfirm {
    /// No policy is pending.
    pub const NONE: u32 = 0;
    /// The generation in force awaits confirmation; the idle bank holds the policy before it.
    pub const ARMED: u32 = 1;
    /// The last pending policy was rolled back: the policy before it is in force again.
    pub const ROLLED_BACK: u32 = 2;
}

/// `RESERVED[0]`: a bit for each port that the loader added to `ip_local_reserved_ports`.
pub type PortBits = [u64; 1024];

/// Entries of `SERVICES`.
pub const SERVICE_ENTRIES: u32 = BANKS * MAX_SERVICES;
/// Entries of `PEERS`.
#[expect(clippy::cast_possible_truncation, reason = "256")]
pub const PEER_ENTRIES: u32 = BANKS * MAX_PEERS as u32;
