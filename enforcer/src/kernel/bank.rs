//! A bank of the maps, as [`PolicyTables`].

use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use enforcer_ebpf::{
    MAX_PEERS, NO_SLOT, Protocol,
    layout::{
        BANKS, Binding, INTERFACE_PROBES, INTERFACE_SLOTS, InterfaceEntry, InterfaceKey, MAX_RULES,
        MAX_SERVICES, PrefixKey, bank, port_index,
    },
};

use super::{
    entries::{
        bank_entry, interface_entry, interface_row, mode, options_entry, options_row, origin_entry,
        peer_entry, peer_row, prefix_key, provenance, service_entry, service_row, text,
    },
    maps::Maps,
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
    pub(crate) fn slots(&self) -> Slots {
        bindings(self, bank(self.state().generation))
            .map(|(port, binding)| (port, binding.slot))
            .collect()
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
    let origin = origin_entry(&tables.provenance)?;
    maps.origins.set(bank as usize, origin);
    maps.banks.set(bank as usize, bank_entry(tables)?);
    Ok(())
}

fn write_ports(maps: &Maps, bank: u32, tables: &PolicyTables) {
    let offset = bank as usize * size_of::<u32>();
    // Programs read the other half of each entry: stores touch this bank's word alone.
    for index in 0..maps.ports.len() {
        let word = maps.ports.word(index, offset);
        if word.load(Ordering::Relaxed) != 0 {
            word.store(0, Ordering::Relaxed);
        }
    }
    for ((protocol, port), binding) in &tables.ports {
        maps.ports
            .word(port_index(*protocol, *port) as usize, offset)
            .store(binding.to_bits(), Ordering::Relaxed);
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
    let what = "failed to write the map PREFIXES";
    let stale: Vec<PrefixKey> = maps
        .prefixes
        .entries()
        .context("failed to read the map PREFIXES")?
        .into_iter()
        .map(|(key, _)| key)
        .filter(|key| key.interface().bank == bank)
        .collect();
    maps.prefixes.remove(&stale).context(what)?;
    let entries = tables.prefixes.iter();
    let entries = entries.map(|(prefix, peers)| (prefix_key(bank, prefix), *peers));
    maps.prefixes.insert(entries).context(what)
}

/// Returns the binding of a registered port under a bank.
fn binding(maps: &Maps, bank: u32, protocol: Protocol, port: u16) -> Option<Binding> {
    let entry = maps.ports.get(port_index(protocol, port) as usize);
    let binding = Binding::from_bits(entry[bank as usize]);
    (binding.slot != NO_SLOT).then_some(binding)
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
    let head = maps.banks.get(bank as usize);
    let mut tables = PolicyTables {
        mode: mode(&head),
        ports: bindings(maps, bank).collect(),
        provenance: provenance(&maps.origins.get(bank as usize)),
        ..PolicyTables::default()
    };
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
    let prefixes = maps.prefixes.entries();
    for (key, peers) in prefixes.context("failed to read the map PREFIXES")? {
        let owner = key.interface();
        if owner.bank == bank {
            let (network, length) = key.prefix();
            tables
                .prefixes
                .insert((owner.ifindex, network, length), peers);
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use enforcer_ebpf::layout::{INTERFACE_ENTRIES, WIRE_VIEW};

    use super::*;

    #[test]
    fn the_banks_share_the_places_of_interfaces_between_them() {
        let both: Vec<usize> = interface_places(0).chain(interface_places(1)).collect();
        let all: BTreeSet<usize> = (0..INTERFACE_ENTRIES as usize).collect();
        assert_eq!(both.len(), all.len());
        assert_eq!(BTreeSet::from_iter(both), all);
    }

    #[test]
    fn every_probe_of_an_interface_is_a_place_of_its_bank() {
        for bank in 0..BANKS {
            let places: BTreeSet<usize> = interface_places(bank).collect();
            for ifindex in [1, 1023, 1024, 70_000, 1 | WIRE_VIEW, 1023 | WIRE_VIEW] {
                let key = InterfaceKey { ifindex, bank };
                let mut probes = key.places();
                assert!(probes.all(|place| places.contains(&(place as usize))));
            }
        }
    }
}
