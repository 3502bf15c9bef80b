//! A bank of the maps, as [`PolicyTables`].

mod reading;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use enforcer_ebpf::{
    Address, Family, MAX_PEERS, Mode, NO_SLOT, Protocol,
    layout::{
        AddressScope, BANKS, Binding, CHILDS_MAC, INTERFACE_PROBES, INTERFACE_SLOTS,
        InterfaceEntry, InterfaceKey, MAX_RULES, MAX_SERVICES, NetworkFilter, OnKey, PrefixKey,
        TAKEN_MAC, bank, bank_of_mac, filter_bit, filter_index, mac_key, port_index,
    },
    unregistered_slot,
};

pub(super) use self::reading::read;
use self::reading::{binding, bindings, entries, read_arrays};
use super::{
    batch::BatchHashMap,
    entries::{
        TrieKey, bank_entry, interface_entry, network_entry, options_entry, origin_entry,
        peer_entry, prefix_key, provenance, service_entry, text,
    },
    maps::Maps,
    plain::Plain,
};
use crate::{
    policy::{PolicyTables, Slots},
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

    /// Returns the service of a port at an address, if known, under the policy in force.
    pub(crate) fn service_of(
        &self,
        (protocol, port): (Protocol, u16),
        address: Option<&Address>,
    ) -> Option<String> {
        let bank = bank(self.state().generation);
        let mut binding = binding(self, bank, protocol, port)?;
        if binding.by_address
            && let Some(address) = address
            && let Ok(Some(bits)) = self.on.get(&OnKey::new(bank, protocol, port, address))
        {
            binding = Binding::from_bits(bits);
        }
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
    for (ifindex, row) in tables.interfaces_by_need() {
        let key = InterfaceKey { ifindex, bank };
        let place = key
            .places()
            .map(|place| place as usize)
            .find(|place| maps.interfaces.get(*place).ifindex == InterfaceEntry::FREE)
            .with_context(|| {
                format!(
                    "too many interfaces have a policy of their own: the map has \
                     {INTERFACE_SLOTS} places, and none within {INTERFACE_PROBES} probes for the \
                     ifindex {ifindex}"
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
    let local = tables.local.iter();
    let local = local.map(|(prefix, row)| (host_key(bank, prefix), row.to_bits()));
    replace(&maps.local, "LOCAL", is_own, local)?;
    let networks = tables.networks.iter();
    let networks = networks.map(|(prefix, row)| (host_key(bank, prefix), network_entry(row)));
    replace(&maps.networks, "NETWORKS", is_own, networks)?;
    write_network_filters(maps, bank, tables);
    let sources = tables.sources.iter();
    let sources = sources
        .map(|(ifindex, network, length)| (TrieKey::new(scope(*ifindex), network, *length), 1));
    replace(&maps.sources, "SOURCES", is_own, sources)?;
    let macs = tables.macs.iter();
    let macs = macs.map(|(mac, is_childs)| mac_entry(bank, mac, *is_childs));
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

/// Adds to a bank that programs may read what `now` has beside `before`: container networks, rows of
/// the local table, and MAC addresses. Each entry counts at once; the flags come after the entries.
///
/// # Errors
/// A map refuses an entry.
pub(super) fn add_host(
    maps: &Maps,
    bank: u32,
    before: &PolicyTables,
    now: &PolicyTables,
) -> Result<()> {
    let local = now.local.iter();
    let local = local.filter(|(prefix, _)| !before.local.contains_key(prefix));
    let local = local.map(|(prefix, row)| (host_key(bank, prefix), row.to_bits()));
    maps.local
        .insert(local)
        .context("failed to add to the map LOCAL")?;
    let macs = now.macs.iter();
    let macs = macs.filter(|(mac, is_childs)| before.macs.get(*mac) != Some(is_childs));
    maps.macs
        .insert(macs.map(|(mac, is_childs)| mac_entry(bank, mac, *is_childs)))
        .context("failed to add to the map MACS")?;
    if now.networks == before.networks {
        return Ok(());
    }
    let networks = now.networks.iter();
    let networks = networks.filter(|(prefix, _)| !before.networks.contains_key(prefix));
    maps.networks
        .insert(networks.map(|(prefix, row)| (host_key(bank, prefix), network_entry(row))))
        .context("failed to add to the map NETWORKS")?;
    write_network_filters(maps, bank, now);
    maps.banks.set(bank as usize, bank_entry(now)?);
    // A bit alone is added: a word without its service would open the port for a moment.
    let has_networks = complete(now, Binding::default()).to_bits();
    let offset = bank as usize * size_of::<u32>();
    for index in 0..maps.ports.len() {
        let word = maps.ports.word(index, offset);
        word.fetch_or(has_networks, Ordering::Relaxed);
    }
    Ok(())
}

/// Returns the key of a prefix of the host in `LOCAL` and `NETWORKS`.
fn host_key(bank: u32, (network, length): &(Address, u8)) -> TrieKey {
    TrieKey::new(AddressScope { bank, ifindex: 0 }, network, *length)
}

fn write_network_filters(maps: &Maps, bank: u32, tables: &PolicyTables) {
    for (family, filter) in network_filters(tables) {
        let index = filter_index(bank, family) as usize;
        maps.network_filters.set(index, filter);
    }
}

/// Returns the entry of a MAC address in `MACS`.
const fn mac_entry(bank: u32, mac: &[u8; 6], is_childs: bool) -> (u64, u32) {
    let value = if is_childs { CHILDS_MAC } else { TAKEN_MAC };
    (mac_key(bank, *mac), value)
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
