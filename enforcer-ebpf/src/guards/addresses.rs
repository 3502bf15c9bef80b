//! The questions about a packet's addresses.
//!
//! None is inlined: the stack of a guard has no room for the addresses and the keys of all of them,
//! and the verifier walks each question once for each call.

use enforcer_ebpf::{
    Address, Family, Packet, PeerSet, Protocol,
    layout::{InterfaceEntry, InterfaceKey, LocalRow, NetworkEntry, OnKey, PrefixKey},
};

use super::{
    host::{find_network, is_source, local_row},
    maps::{ON, PREFIXES},
    policy::AtHook,
};

/// The peers at the packet's source on the interface of an entry.
#[inline(never)]
pub(super) fn peers_of_source<A: AtHook>(
    hook: &A,
    packet: u64,
    entry: &InterfaceEntry,
    bank: u32,
) -> Option<&'static PeerSet> {
    let source = hook.source(&Packet::from_bits(packet))?;
    longest_match(entry, bank, &source)
}

/// The container network of the packet's destination: [`Policy::network`](enforcer_ebpf::Policy::network).
#[inline(never)]
pub(super) fn network_of<A: AtHook>(
    hook: &A,
    packet: u64,
    bank: u32,
    interface: Option<&InterfaceEntry>,
) -> Option<&'static NetworkEntry> {
    let destination = hook.destination(&Packet::from_bits(packet))?;
    let network = find_network(&destination, bank)?;
    let belongs = network.bridge == hook.ifindex()
        || interface.is_some_and(|interface| interface.network == network.bridge);
    if belongs || network.flags & NetworkEntry::ROUTED != 0 {
        return None;
    }
    let row = local_row(&destination, bank).map(|bits| LocalRow::from_bits(*bits));
    match row {
        Some(row) if row.is_address && row.ifindex != network.bridge => None,
        _ => Some(network),
    }
}

/// Whether the local table has a row for the packet's destination, or none can be read. The
/// interface's own addresses need no look-up.
#[inline(never)]
pub(super) fn has_local_destination<A: AtHook>(
    hook: &A,
    packet: u64,
    bank: u32,
    interface: Option<&InterfaceEntry>,
) -> bool {
    let Some(destination) = hook.destination(&Packet::from_bits(packet)) else {
        return true;
    };
    // Zeros in the entry stand for no address.
    let is_zero = destination.high() | destination.low() == 0;
    let is_own = interface.is_some_and(|interface| match destination.family() {
        _ if is_zero => false,
        Family::V4 => destination.low() == u64::from(interface.own_v4),
        Family::V6 => [destination.high(), destination.low()] == interface.own_v6,
    });
    is_own || local_row(&destination, bank).is_some()
}

/// Whether the local table has a row for the packet's source: [`Policy::is_own`](enforcer_ebpf::Policy::is_own).
#[inline(never)]
pub(super) fn has_local_source<A: AtHook>(hook: &A, packet: u64, bank: u32) -> bool {
    let packet = &Packet::from_bits(packet);
    let (Some(source), Some(destination)) = (hook.source(packet), hook.destination(packet)) else {
        return false;
    };
    match source.family() {
        Family::V4 if source.low() == 0 => destination.low() == u64::from(u32::MAX),
        _ => local_row(&source, bank).is_some(),
    }
}

/// Whether the socket's own address has no row in the local table.
#[inline(never)]
pub(super) fn has_foreign_socket<A: AtHook>(hook: &A, bank: u32) -> bool {
    hook.connected_address()
        .is_some_and(|address| local_row(&address, bank).is_none())
}

/// Whether the source is another interface's peer: [`Policy::is_anothers_fragment`](enforcer_ebpf::Policy::is_anothers_fragment).
#[inline(never)]
pub(super) fn has_anothers_source<A: AtHook>(hook: &A, packet: u64, bank: u32) -> bool {
    hook.source(&Packet::from_bits(packet))
        .is_some_and(|source| {
            is_source(&source, 0, bank) && !is_source(&source, hook.ifindex(), bank)
        })
}

/// The binding of a port at one address of the host. Not inlined: few ports have one.
#[inline(never)]
pub(super) fn find_binding(
    bank: u32,
    protocol: Protocol,
    port: u16,
    address: &Address,
) -> Option<&'static u32> {
    // SAFETY: a map's value outlives the program's run; an entry of the active bank is written
    // once, before the bank is switched on.
    ON.get_ptr(OnKey::new(bank, protocol, port, address))
        .map(|bits| unsafe { &*bits })
}

/// The peers of the longest prefix around `source`: an exact look-up for each length in use.
///
/// Not inlined: the verifier walks the loops once for each family, not once for each path to here.
/// Map values cross the call as references: the verifier knows references into maps, and a set of
/// peers would not fit a register.
#[inline(always)]
fn longest_match(entry: &InterfaceEntry, bank: u32, source: &Address) -> Option<&'static PeerSet> {
    let interface = InterfaceKey {
        ifindex: entry.ifindex,
        bank,
    };
    let (lengths, count): (&[u8], _) = match source.family() {
        Family::V4 => (&entry.v4_lengths, entry.v4_count),
        Family::V6 => (&entry.v6_lengths, entry.v6_count),
    };
    for (i, length) in lengths.iter().enumerate() {
        if i >= usize::from(count) {
            break;
        }
        let key = PrefixKey::new(interface, source, *length);
        if let Some(peers) = PREFIXES.get_ptr(key) {
            // SAFETY: a map's value outlives the program's run; an entry of the active bank is
            // written once, before the bank is switched on.
            return Some(unsafe { &*peers });
        }
    }
    None
}
