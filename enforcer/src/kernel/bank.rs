//! A bank of the maps, as [`PolicyTables`].

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use enforcer_ebpf::{
    Address, FIRST_PORT_SLOT, Family, MAX_PEERS, Mode, NO_SLOT, Protocol,
    layout::{
        AddressScope, BANKS, BankEntry, Binding, INTERFACE_PROBES, INTERFACE_SLOTS, InterfaceEntry,
        InterfaceKey, LocalRow, MAX_RULES, MAX_SERVICES, NetworkFilter, OnKey, PrefixKey, bank,
        bank_of_mac, filter_bit, filter_index, mac_key, mac_of_key, port_index,
    },
    unregistered_slot,
};

use super::{
    batch::BatchHashMap,
    entries::{
        TrieKey, bank_entry, interface_entry, interface_row, mode, network_entry, network_row,
        options_entry, options_row, origin_entry, peer_entry, peer_row, prefix_key, provenance,
        service_entry, service_row, text, unregistered,
    },
    maps::Maps,
    plain::Plain,
};
use crate::{
    policy::{PolicyTables, PortSet, Slots},
    registry::Provenance,
};

impl Maps {
    /// Returns the policy in force.
    ///
    /// # Errors
    /// The maps cannot be read, or hold a value of no meaning in this version.
    pub(crate) fn tables(&self) -> Result<PolicyTables> {
        loop {
            let generation = self.state().generation;
            let tables = read(self, bank(generation))?;
            // A reload in the meantime may have begun to fill the bank.
            if self.state().generation == generation {
                return Ok(tables);
            }
        }
    }

    /// Returns the services, ports and modes of the policy in force: what a look without a system call
    /// shows.
    ///
    /// # Errors
    /// The maps hold a value of no meaning in this version.
    pub(crate) fn services_in_force(&self) -> Result<PolicyTables> {
        read_arrays(self, bank(self.state().generation))
    }

    /// Returns the registry behind the policy in force.
    pub(crate) fn provenance(&self) -> Provenance {
        provenance(&self.origins.get(bank(self.state().generation) as usize))
    }

    /// Returns the service of a port under the policy in force.
    pub(crate) fn service_of(&self, protocol: Protocol, port: u16) -> Option<String> {
        let bank = bank(self.state().generation);
        let binding = binding(self, bank, protocol, port)?;
        let number = bank * MAX_SERVICES + u32::from(binding.service);
        Some(text(&self.services.get(number as usize).name))
    }

    /// Returns the slots of the policy in force.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn slots(&self) -> Result<Slots> {
        let bank = bank(self.state().generation);
        let mut slots: Slots = bindings(self, bank)
            .map(|((protocol, port), binding)| ((protocol, port, None), binding.slot))
            .collect();
        let mut all = bindings(self, bank);
        if !all.any(|(_, binding)| binding.by_address) {
            return Ok(slots);
        }
        for (key, bits) in entries(&self.on, "ON")? {
            let Some((_, protocol, port, _)) = key.parts().filter(|parts| parts.0 == bank) else {
                continue;
            };
            let binding = Binding::from_bits(bits);
            if slots.get(&(protocol, port, None)) != Some(&binding.slot) {
                let number = bank * MAX_SERVICES + u32::from(binding.service);
                let service = text(&self.services.get(number as usize).name);
                slots.insert((protocol, port, Some(service)), binding.slot);
            }
        }
        Ok(slots)
    }
}

/// Fills a bank that no program reads.
///
/// # Errors
/// A map refuses an entry, or a row does not fit an entry.
pub(super) fn write(maps: &Maps, bank: u32, tables: &PolicyTables) -> Result<()> {
    write_ports(maps, bank, tables);
    let base = (bank * MAX_SERVICES) as usize;
    for (number, service) in tables.services.iter().enumerate() {
        maps.services.set(base + number, service_entry(service)?);
    }
    let base = bank as usize * MAX_PEERS;
    for (number, peer) in tables.peers.iter().enumerate() {
        maps.peers.set(base + number, peer_entry(peer)?);
    }
    let base = (bank * MAX_RULES) as usize;
    for (number, row) in tables.interface_options.iter().enumerate() {
        maps.rules.set(base + number, options_entry(row)?);
    }
    write_interfaces(maps, bank, tables)?;
    write_prefixes(maps, bank, tables)?;
    write_host(maps, bank, tables)?;
    let origin = origin_entry(&tables.provenance)?;
    maps.origins.set(bank as usize, origin);
    maps.banks.set(bank as usize, bank_entry(tables)?);
    Ok(())
}

fn write_ports(maps: &Maps, bank: u32, tables: &PolicyTables) {
    let offset = bank as usize * size_of::<u32>();
    // Programs read the other half of each entry: stores touch this bank's word alone.
    for index in 0..maps.ports.len() {
        let bits = word_without_service(tables, index).to_bits();
        let word = maps.ports.word(index, offset);
        if word.load(Ordering::Relaxed) != bits {
            word.store(bits, Ordering::Relaxed);
        }
    }
    for ((protocol, port), binding) in &tables.ports {
        maps.ports
            .word(port_index(*protocol, *port) as usize, offset)
            .store(complete(tables, *binding).to_bits(), Ordering::Relaxed);
    }
}

/// Returns the binding at an index of `PORTS` without a service.
fn word_without_service(tables: &PolicyTables, index: usize) -> Binding {
    let port = u16::try_from(index & 0xffff).unwrap_or_default();
    let protocol = Protocol::ALL.get(index >> 16).copied();
    let mode = protocol.and_then(|protocol| {
        let mode = tables.unregistered_mode(protocol, port)?;
        Some((unregistered_slot(protocol), mode == Mode::Audit))
    });
    let (slot, audit) = mode.unwrap_or((NO_SLOT, false));
    let binding = Binding {
        slot,
        audit,
        ..Binding::default()
    };
    complete(tables, binding)
}

/// Returns a binding with the facts about the whole policy.
fn complete(tables: &PolicyTables, binding: Binding) -> Binding {
    Binding {
        networks: !tables.networks.is_empty(),
        ..binding
    }
}

/// Returns the places of a bank's interfaces, and of their wire views.
fn interface_places(bank: u32) -> impl Iterator<Item = usize> {
    let slots = INTERFACE_SLOTS as usize;
    let of = move |region: u32| (0..slots).map(move |slot| region as usize * slots + slot);
    of(bank).chain(of(BANKS + bank))
}

fn write_interfaces(maps: &Maps, bank: u32, tables: &PolicyTables) -> Result<()> {
    for place in interface_places(bank) {
        maps.interfaces.set(place, InterfaceEntry::EMPTY);
    }
    for (&ifindex, row) in &tables.interfaces {
        let key = InterfaceKey { ifindex, bank };
        let place = key
            .places()
            .map(|place| place as usize)
            .find(|place| maps.interfaces.get(*place).ifindex == InterfaceEntry::FREE)
            .with_context(|| {
                format!(
                    "more than {INTERFACE_PROBES} interfaces with a policy of their own have the \
                     same ifindex modulo {INTERFACE_SLOTS} as {ifindex}"
                )
            })?;
        maps.interfaces
            .set(place, interface_entry(ifindex, row, tables));
    }
    Ok(())
}

fn write_prefixes(maps: &Maps, bank: u32, tables: &PolicyTables) -> Result<()> {
    let entries = tables.prefixes.iter();
    let entries = entries.map(|(prefix, peers)| (prefix_key(bank, prefix), *peers));
    let is_own = |key: &PrefixKey| key.interface().bank == bank;
    replace(&maps.prefixes, "PREFIXES", is_own, entries)
}

/// Writes the host's addresses, networks and MACs.
fn write_host(maps: &Maps, bank: u32, tables: &PolicyTables) -> Result<()> {
    let scope = |ifindex| AddressScope { bank, ifindex };
    let is_own = |key: &TrieKey| key.parts().0.bank == bank;
    let key = |(network, length): &(Address, u8)| TrieKey::new(scope(0), network, *length);
    let local = tables.local.iter();
    let local = local.map(|(prefix, row)| (key(prefix), row.to_bits()));
    replace(&maps.local, "LOCAL", is_own, local)?;
    let networks = tables.networks.iter();
    let networks = networks.map(|(prefix, row)| (key(prefix), network_entry(row)));
    replace(&maps.networks, "NETWORKS", is_own, networks)?;
    for (index, filter) in network_filters(tables) {
        let index = filter_index(bank, index) as usize;
        maps.network_filters.set(index, filter);
    }
    let sources = tables.sources.iter();
    let sources = sources
        .map(|(ifindex, network, length)| (TrieKey::new(scope(*ifindex), network, *length), 1));
    replace(&maps.sources, "SOURCES", is_own, sources)?;
    let macs = tables.macs.iter().map(|mac| (mac_key(bank, *mac), 1));
    replace(&maps.macs, "MACS", |key| bank_of_mac(*key) == bank, macs)?;
    let on = tables.ports_at.iter();
    let on = on.map(|((protocol, port, address), binding)| {
        (
            OnKey::new(bank, *protocol, *port, address),
            binding.to_bits(),
        )
    });
    let is_own = |key: &OnKey| key.parts().is_none_or(|parts| parts.0 == bank);
    replace(&maps.on, "ON", is_own, on)
}

/// Returns the filter of each family's container networks.
fn network_filters(tables: &PolicyTables) -> [(Family, NetworkFilter); 2] {
    [Family::V4, Family::V6].map(|family| {
        let mut filter = [0; 1024];
        let own = tables.networks.keys();
        for (network, length) in own.filter(|(network, _)| network.family() == family) {
            set_bits(&mut filter, network, *length);
        }
        (family, filter)
    })
}

/// Sets the bits of the addresses of a prefix; all bits where they cannot be told.
fn set_bits(filter: &mut NetworkFilter, network: &Address, length: u8) {
    let (first, count) = match (network.family(), length) {
        (Family::V4, 16..) | (Family::V6, 64..) => (filter_bit(network), 1),
        // The addresses of the prefix have this many values in their first 16 bits.
        (Family::V4, _) => (filter_bit(network), 1usize << (16 - length)),
        (Family::V6, _) => (0, 1 << 16),
    };
    for bit in usize::from(first)..usize::from(first) + count {
        if let Some(word) = filter.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }
}

/// Replaces the entries of a bank in a map that both banks share.
fn replace<K: Plain, V: Plain>(
    map: &BatchHashMap<K, V>,
    name: &str,
    is_own: impl Fn(&K) -> bool,
    entries: impl Iterator<Item = (K, V)>,
) -> Result<()> {
    let read = map.entries();
    let stale = read.with_context(|| format!("failed to read the map {name}"))?;
    let stale: Vec<K> = stale
        .into_iter()
        .map(|(key, _)| key)
        .filter(is_own)
        .collect();
    map.remove(&stale)
        .and_then(|()| map.insert(entries))
        .with_context(|| format!("failed to write the map {name}"))
}

/// Returns the binding of a registered port under a bank.
fn binding(maps: &Maps, bank: u32, protocol: Protocol, port: u16) -> Option<Binding> {
    let entry = maps.ports.get(port_index(protocol, port) as usize);
    let binding = Binding::from_bits(entry[bank as usize]);
    let binding = Binding {
        networks: false,
        ..binding
    };
    (binding.slot >= FIRST_PORT_SLOT).then_some(binding)
}

/// Returns the registered ports of a bank.
fn bindings(maps: &Maps, bank: u32) -> impl Iterator<Item = ((Protocol, u16), Binding)> {
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
pub(super) fn read(maps: &Maps, bank: u32) -> Result<PolicyTables> {
    let mut tables = read_arrays(maps, bank)?;
    if !tables.peers.is_empty() {
        read_prefixes(maps, bank, &mut tables)?;
    }
    read_host(maps, bank, &mut tables)?;
    Ok(tables)
}

/// Returns what the mapped arrays of a bank hold, without a system call.
fn read_arrays(maps: &Maps, bank: u32) -> Result<PolicyTables> {
    let head = maps.banks.get(bank as usize);
    let mut tables = PolicyTables {
        mode: mode(&head),
        unregistered: unregistered(&head),
        ports: bindings(maps, bank).collect(),
        provenance: provenance(&maps.origins.get(bank as usize)),
        ..PolicyTables::default()
    };
    if tables.unregistered.modes[Protocol::Udp as usize].is_some() {
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
        .map(|(key, _)| mac_of_key(key))
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
fn entries<K: Plain, V: Plain>(map: &BatchHashMap<K, V>, name: &str) -> Result<Vec<(K, V)>> {
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
