//! The host's own addresses, networks and MACs, as the loader follows them.

use enforcer_ebpf::{
    Address, Mode, Network,
    layout::{
        AddressKey, AddressScope, InterfaceEntry, KEY_BITS, LocalRow, NetworkEntry, filter_bit,
        filter_index, mac_key,
    },
};

use aya_ebpf::maps::lpm_trie::Key;

use super::maps::{LOCAL, MACS, NETWORK_FILTERS, NETWORKS, SOURCES};

/// A key of a trie for a whole address, aligned for whole words.
#[repr(C, align(8))]
struct WholeKey(Key<AddressKey>);

impl WholeKey {
    #[inline(always)]
    const fn new(scope: AddressScope, address: &Address) -> Self {
        Self(Key::new(
            KEY_BITS + address.family().bits() as u32,
            AddressKey::new(scope, address),
        ))
    }
}

/// The row of an address in the local table. Not inlined: the stack of a guard has no room for the
/// key.
#[inline(never)]
fn local_row(address: &Address) -> Option<&'static u32> {
    LOCAL.get(&WholeKey::new(AddressScope::default(), address).0)
}

/// Whether the local table has a row for an address.
#[inline(always)]
pub(super) fn is_local(address: &Address) -> bool {
    local_row(address).is_some()
}

/// Whether this host takes frames for a MAC address.
#[inline(always)]
pub(super) fn takes(mac: [u8; 6]) -> bool {
    MACS.get_ptr(mac_key(mac)).is_some()
}

/// Whether a prefix of `SOURCES` holds an address, in the scope of one interface, or of all for
/// ifindex 0.
#[inline(never)]
pub(super) fn is_source(address: &Address, ifindex: u32, bank: u32) -> bool {
    SOURCES
        .get(&WholeKey::new(AddressScope { bank, ifindex }, address).0)
        .is_some()
}

/// The container network of a destination, by the filter and then by the trie; see
/// [`Policy::network`](enforcer_ebpf::Policy::network).
#[inline(never)]
pub(super) fn find_network(destination: &Address, bank: u32) -> Option<&'static NetworkEntry> {
    let bit = filter_bit(destination);
    let filter = NETWORK_FILTERS.get(filter_index(bank, destination.family()))?;
    if filter[usize::from(bit >> 6)] >> (bit & 63) & 1 == 0 {
        return None;
    }
    let scope = AddressScope { bank, ifindex: 0 };
    NETWORKS.get(&WholeKey::new(scope, destination).0)
}

/// The network of an entry, unless the network is routed, the arriving interface belongs to the
/// network, or the destination is an address of another interface.
#[inline(always)]
pub(super) fn closed_network(
    entry: &NetworkEntry,
    interface: Option<&InterfaceEntry>,
    destination: &Address,
    ifindex: u32,
) -> Option<Network> {
    if entry.flags & NetworkEntry::ROUTED != 0 || entry.bridge == ifindex {
        return None;
    }
    if interface.is_some_and(|interface| interface.network == entry.bridge) {
        return None;
    }
    if let Some(bits) = local_row(destination) {
        let row = LocalRow::from_bits(*bits);
        if row.is_address && row.ifindex != entry.bridge {
            return None;
        }
    }
    Some(Network {
        allowed: entry.allow,
        mode: if entry.flags & NetworkEntry::AUDIT != 0 {
            Mode::Audit
        } else {
            Mode::Enforce
        },
    })
}
