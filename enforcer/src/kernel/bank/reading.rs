//! Reads a bank of the maps.

use anyhow::{Context as _, Result};

use enforcer_ebpf::{
    Address, FIRST_PORT_SLOT, MAX_PEERS, NO_SLOT, Protocol,
    layout::{
        BankEntry, Binding, CHILDS_MAC, InterfaceEntry, LocalRow, MAX_RULES, MAX_SERVICES,
        bank_of_mac, mac_of_key, port_index,
    },
};

use super::{
    super::{
        batch::BatchHashMap,
        entries::{
            TrieKey, interface_row, mode, network_row, options_row, peer_row, provenance,
            service_row, unregistered,
        },
        maps::Maps,
        plain::Plain,
    },
    interface_places,
};
use crate::policy::{PolicyTables, PortSet};

/// Returns the binding of a registered port under a bank.
pub(super) fn binding(maps: &Maps, bank: u32, protocol: Protocol, port: u16) -> Option<Binding> {
    let entry = maps.ports.get(port_index(protocol, port) as usize);
    let binding = Binding::from_bits(entry[bank as usize]);
    let binding = Binding {
        networks: false,
        ..binding
    };
    (binding.slot >= FIRST_PORT_SLOT).then_some(binding)
}

/// Returns the registered ports of a bank.
pub(super) fn bindings(maps: &Maps, bank: u32) -> impl Iterator<Item = ((Protocol, u16), Binding)> {
    Protocol::ALL.into_iter().flat_map(move |protocol| {
        (0..=u16::MAX).filter_map(move |port| {
            let binding = binding(maps, bank, protocol, port)?;
            Some(((protocol, port), binding))
        })
    })
}

/// Returns the policy of a bank.
///
/// # Errors
/// The maps cannot be read, or hold a value of no meaning in this version.
pub(in crate::kernel) fn read(maps: &Maps, bank: u32) -> Result<PolicyTables> {
    let mut tables = read_arrays(maps, bank)?;
    if !tables.peers.is_empty() {
        read_prefixes(maps, bank, &mut tables)?;
    }
    read_host(maps, bank, &mut tables)?;
    Ok(tables)
}

/// Returns what the mapped arrays of a bank hold, without a system call.
pub(super) fn read_arrays(maps: &Maps, bank: u32) -> Result<PolicyTables> {
    let head = maps.banks.get(bank as usize);
    let mut tables = PolicyTables {
        mode: mode(&head),
        unregistered: unregistered(&head),
        ports: bindings(maps, bank).collect(),
        provenance: provenance(&maps.origins.get(bank as usize)),
        ..PolicyTables::default()
    };
    if tables.judges_unregistered_udp() {
        tables.open_udp = open_udp(maps, bank);
    }
    let base = (bank * MAX_SERVICES) as usize;
    for number in 0..head.services as usize {
        let entry = maps.services.get(base + number);
        tables.services.push(service_row(&entry));
    }
    let base = bank as usize * MAX_PEERS;
    for number in 0..head.peers as usize {
        let entry = maps.peers.get(base + number);
        tables.peers.push(peer_row(&entry));
    }
    let base = (bank * MAX_RULES) as usize;
    for number in 0..head.rules as usize {
        let entry = maps.rules.get(base + number);
        tables.interface_options.push(options_row(&entry)?);
    }
    for place in interface_places(bank) {
        let entry = maps.interfaces.get(place);
        if entry.ifindex != InterfaceEntry::FREE {
            let row = interface_row(&entry);
            tables.interfaces.insert(entry.ifindex, row);
        }
    }
    Ok(tables)
}

/// Returns the UDP ports without a slot in a bank.
fn open_udp(maps: &Maps, bank: u32) -> PortSet {
    let is_open = |port: &u16| {
        let entry = maps.ports.get(port_index(Protocol::Udp, *port) as usize);
        Binding::from_bits(entry[bank as usize]).slot == NO_SLOT
    };
    (0..=u16::MAX).filter(is_open).collect()
}

/// Reads the prefixes of a bank's peers.
fn read_prefixes(maps: &Maps, bank: u32, tables: &mut PolicyTables) -> Result<()> {
    for (key, peers) in entries(&maps.prefixes, "PREFIXES")? {
        let owner = key.interface();
        if owner.bank == bank {
            let (network, length) = key.prefix();
            let prefix = (owner.ifindex, network, length);
            tables.prefixes.insert(prefix, peers);
        }
    }
    Ok(())
}

/// Reads the host's addresses, networks and MACs of a bank.
fn read_host(maps: &Maps, bank: u32, tables: &mut PolicyTables) -> Result<()> {
    let local = entries(&maps.local, "LOCAL")?;
    tables.local = of_bank(local, bank)
        .map(|((_, network, length), bits)| ((network, length), LocalRow::from_bits(bits)))
        .collect();
    let flags = maps.banks.get(bank as usize).flags;
    if flags & BankEntry::NETWORKS != 0 {
        let networks = entries(&maps.networks, "NETWORKS")?;
        tables.networks = of_bank(networks, bank)
            .map(|((_, network, length), entry)| ((network, length), network_row(&entry)))
            .collect();
    }
    if flags & BankEntry::SOURCES != 0 {
        let sources = entries(&maps.sources, "SOURCES")?;
        tables.sources = of_bank(sources, bank).map(|(source, _)| source).collect();
    }
    let macs = entries(&maps.macs, "MACS")?.into_iter();
    tables.macs = macs
        .filter(|(key, _)| bank_of_mac(*key) == bank)
        .map(|(key, value)| (mac_of_key(key), value == CHILDS_MAC))
        .collect();
    if !tables.ports.values().any(|binding| binding.by_address) {
        return Ok(());
    }
    for (key, bits) in entries(&maps.on, "ON")? {
        if let Some((of, protocol, port, address)) = key.parts()
            && of == bank
        {
            let binding = Binding::from_bits(bits);
            tables.ports_at.insert((protocol, port, address), binding);
        }
    }
    Ok(())
}

/// Returns every entry of a map.
pub(super) fn entries<K: Plain, V: Plain>(
    map: &BatchHashMap<K, V>,
    name: &str,
) -> Result<Vec<(K, V)>> {
    let entries = map.entries();
    entries.with_context(|| format!("failed to read the map {name}"))
}

/// Returns the entries of a bank: ifindex, network, prefix length and value.
fn of_bank<V>(
    entries: Vec<(TrieKey, V)>,
    bank: u32,
) -> impl Iterator<Item = ((u32, Address, u8), V)> {
    entries.into_iter().filter_map(move |(key, value)| {
        let (scope, network, length) = key.parts();
        (scope.bank == bank).then_some(((scope.ifindex, network, length), value))
    })
}
