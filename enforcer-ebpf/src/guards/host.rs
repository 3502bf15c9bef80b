//! The host's own addresses, networks and MACs, as the loader follows them.

use enforcer_ebpf::{
    Address,
    layout::{
        AddressKey, AddressScope, CHILDS_MAC, KEY_BITS, NetworkEntry, filter_bit, filter_index,
        mac_key,
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

/// The row of an address in the local table, [`enforcer_ebpf::layout::LocalRow::to_bits`].
#[inline(always)]
pub(super) fn local_row(address: &Address, bank: u32) -> Option<&'static u32> {
    LOCAL.get(&WholeKey::new(AddressScope { bank, ifindex: 0 }, address).0)
}

/// Whether this host takes frames for a MAC address.
#[inline(always)]
pub(super) fn takes(mac: [u8; 6], bank: u32) -> bool {
    MACS.get_ptr(mac_key(bank, mac)).is_some()
}

/// Whether no interface of this host takes frames for a MAC address, macvlan and macvtap devices
/// left out.
#[inline(always)]
pub(super) fn leaves_to_children(mac: [u8; 6], bank: u32) -> bool {
    MACS.get_ptr(mac_key(bank, mac)).is_none_or(|value| {
        // SAFETY: a map's value outlives the program's run; the loader writes whole words.
        let value = unsafe { value.read_volatile() };
        value == CHILDS_MAC
    })
}

/// Whether a prefix of `SOURCES` holds an address, in the scope of one interface, or of all for
/// ifindex 0.
#[inline(always)]
pub(super) fn is_source(address: &Address, ifindex: u32, bank: u32) -> bool {
    SOURCES
        .get(&WholeKey::new(AddressScope { bank, ifindex }, address).0)
        .is_some()
}

/// The container network of a destination, by the filter and then by the trie.
#[inline(always)]
pub(super) fn find_network(destination: &Address, bank: u32) -> Option<&'static NetworkEntry> {
    let bit = filter_bit(destination);
    let filter = NETWORK_FILTERS.get(filter_index(bank, destination.family()))?;
    if filter[usize::from(bit >> 6)] >> (bit & 63) & 1 == 0 {
        return None;
    }
    let scope = AddressScope { bank, ifindex: 0 };
    NETWORKS.get(&WholeKey::new(scope, destination).0)
}
