//! One bank of the maps, as tables.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
    sync::atomic::Ordering,
};

use anyhow::{Context as _, Result, bail};
use enforcer_ebpf::{
    Family, Mode, Protocol,
    layout::{
        BANKS, BankEntry, Binding, INTERFACE_PROBES, INTERFACE_SLOTS, InterfaceEntry, InterfaceKey,
        MAX_RULES, MAX_SERVICES, OriginEntry, PeerEntry, PrefixKey, RuleEntry, ServiceEntry,
        port_index,
    },
};

use super::maps::{Maps, field, text};
use crate::{
    interfaces::InterfaceOptions,
    policy::{InterfaceRow, OptionsRow, PeerRow, PolicyTables, ServiceRow},
    registry::{HookChoice, Provenance, Side},
};

/// Peers of a bank: [`enforcer_ebpf::MAX_PEERS`].
const MAX_PEERS: usize = enforcer_ebpf::MAX_PEERS;

/// Fills a bank that no program reads.
///
/// # Errors
/// A map refuses an entry, or something does not fit one.
pub(super) fn write(maps: &Maps, bank: u32, tables: &PolicyTables) -> Result<()> {
    write_ports(maps, bank, tables);
    let base = (bank * MAX_SERVICES) as usize;
    for (number, service) in tables.services.iter().enumerate() {
        let entry = ServiceEntry {
            allow: service.allow,
            name: field(service.name.as_bytes())?,
        };
        maps.services.set(base + number, entry);
    }
    let base = bank as usize * MAX_PEERS;
    for (number, peer) in tables.peers.iter().enumerate() {
        let by_key = peer.key.map_or(0, |_| PeerEntry::BY_KEY);
        let active = if peer.active { PeerEntry::ACTIVE } else { 0 };
        let entry = PeerEntry {
            name: field(peer.name.as_bytes())?,
            interface: field(peer.interface.as_bytes())?,
            key: peer.key.unwrap_or_default(),
            flags: by_key | active,
        };
        maps.peers.set(base + number, entry);
    }
    let base = (bank * MAX_RULES) as usize;
    for (number, row) in tables.interface_options.iter().enumerate() {
        maps.rules.set(base + number, rule_entry(row)?);
    }
    write_interfaces(maps, bank, tables)?;
    write_prefixes(maps, bank, tables)?;
    maps.origins
        .set(bank as usize, origin_entry(&tables.provenance)?);
    let count = |length: usize| u32::try_from(length).context("too many entries");
    maps.banks.set(
        bank as usize,
        BankEntry {
            flags: match tables.mode {
                Mode::Enforce => 0,
                Mode::Audit => BankEntry::AUDIT,
            },
            services: count(tables.services.len())?,
            peers: count(tables.peers.len())?,
            rules: count(tables.interface_options.len())?,
        },
    );
    Ok(())
}

fn write_ports(maps: &Maps, bank: u32, tables: &PolicyTables) {
    let offset = bank as usize * size_of::<u32>();
    // The other half of each entry is being read: only this bank's word is touched.
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

/// Where the entries of a bank's interfaces are, and their views.
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

fn interface_entry(ifindex: u32, row: &InterfaceRow, tables: &PolicyTables) -> InterfaceEntry {
    let flag = |set: bool, flag| if set { flag } else { 0 };
    let mut entry = InterfaceEntry {
        ifindex,
        carries: row.carries,
        flags: flag(row.forward, InterfaceEntry::FORWARD)
            | flag(row.macvlan_parent_mac.is_some(), InterfaceEntry::CHILDREN)
            | flag(row.vlan_parent, InterfaceEntry::VLAN_PARENT)
            | flag(!row.carries.is_empty(), InterfaceEntry::CARRIES),
        mac: row.macvlan_parent_mac.unwrap_or_default(),
        ..InterfaceEntry::EMPTY
    };
    let mut lengths: BTreeMap<Family, Vec<u8>> = BTreeMap::new();
    for (owner, network, length) in tables.prefixes.keys() {
        if *owner == ifindex {
            lengths.entry(network.family()).or_default().push(*length);
        }
    }
    for (family, lengths) in &mut lengths {
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        let (field, count) = match family {
            Family::V4 => (&mut entry.v4_lengths[..], &mut entry.v4_count),
            Family::V6 => (&mut entry.v6_lengths[..], &mut entry.v6_count),
        };
        // There are as many places as lengths.
        field[..lengths.len()].copy_from_slice(lengths);
        *count = u8::try_from(lengths.len()).unwrap_or(u8::MAX);
    }
    entry
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
    let entries = entries.map(|((ifindex, network, length), peers)| {
        let key = InterfaceKey {
            ifindex: *ifindex,
            bank,
        };
        (PrefixKey::new(key, network, *length), *peers)
    });
    maps.prefixes.insert(entries).context(what)
}

fn origin_entry(provenance: &Provenance) -> Result<OriginEntry> {
    let path = provenance.path.as_deref().unwrap_or("".as_ref());
    Ok(OriginEntry {
        digest: provenance.digest,
        has_main: u64::from(provenance.has_main),
        path: field(path.as_os_str().as_bytes())?,
    })
}

pub(super) fn provenance(entry: &OriginEntry) -> Provenance {
    let end = entry.path.iter().position(|byte| *byte == 0);
    let path = OsString::from_vec(entry.path[..end.unwrap_or(entry.path.len())].to_vec());
    Provenance {
        path: (!path.is_empty()).then(|| PathBuf::from(path)),
        digest: entry.digest,
        has_main: entry.has_main != 0,
    }
}

fn rule_entry(row: &OptionsRow) -> Result<RuleEntry> {
    Ok(RuleEntry {
        pattern: field(row.pattern.as_bytes())?,
        side: match row.options.side {
            None => 0,
            Some(Side::Inside) => 1,
            Some(Side::Outside) => 2,
        },
        hook: match row.options.hook {
            HookChoice::Auto => 0,
            HookChoice::XdpNative => 1,
            HookChoice::XdpGeneric => 2,
            HookChoice::Tcx => 3,
        },
        forward: u8::from(row.options.forward),
        zero: 0,
    })
}

/// The ports of a bank.
pub(super) fn bindings(maps: &Maps, bank: u32) -> impl Iterator<Item = ((Protocol, u16), Binding)> {
    Protocol::ALL.into_iter().flat_map(move |protocol| {
        (0..=u16::MAX).filter_map(move |port| {
            let binding = maps.binding(bank, protocol, port)?;
            Some(((protocol, port), binding))
        })
    })
}

/// Reads a bank.
///
/// # Errors
/// A value is none that this version writes.
pub(super) fn read(maps: &Maps, bank: u32) -> Result<PolicyTables> {
    let whole = maps.banks.get(bank as usize);
    let mut tables = PolicyTables {
        mode: match whole.flags & BankEntry::AUDIT {
            0 => Mode::Enforce,
            _ => Mode::Audit,
        },
        ports: bindings(maps, bank).collect(),
        provenance: provenance(&maps.origins.get(bank as usize)),
        ..PolicyTables::default()
    };
    let base = (bank * MAX_SERVICES) as usize;
    for number in 0..whole.services as usize {
        let entry = maps.services.get(base + number);
        tables.services.push(ServiceRow {
            name: text(&entry.name),
            allow: entry.allow,
        });
    }
    let base = bank as usize * MAX_PEERS;
    for number in 0..whole.peers as usize {
        let entry = maps.peers.get(base + number);
        tables.peers.push(PeerRow {
            name: text(&entry.name),
            interface: text(&entry.interface),
            key: (entry.flags & PeerEntry::BY_KEY != 0).then_some(entry.key),
            active: entry.flags & PeerEntry::ACTIVE != 0,
        });
    }
    let base = (bank * MAX_RULES) as usize;
    for number in 0..whole.rules as usize {
        tables
            .interface_options
            .push(options_row(&maps.rules.get(base + number))?);
    }
    for place in interface_places(bank) {
        let entry = maps.interfaces.get(place);
        if entry.ifindex != InterfaceEntry::FREE {
            let is = |flag| entry.flags & flag != 0;
            let row = InterfaceRow {
                carries: entry.carries,
                forward: is(InterfaceEntry::FORWARD),
                macvlan_parent_mac: is(InterfaceEntry::CHILDREN).then_some(entry.mac),
                vlan_parent: is(InterfaceEntry::VLAN_PARENT),
            };
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

fn options_row(entry: &RuleEntry) -> Result<OptionsRow> {
    let pattern = text(&entry.pattern);
    let options = InterfaceOptions {
        side: match entry.side {
            0 => None,
            1 => Some(Side::Inside),
            2 => Some(Side::Outside),
            other => bail!("the options for {pattern} have the unknown side {other}"),
        },
        hook: match entry.hook {
            0 => HookChoice::Auto,
            1 => HookChoice::XdpNative,
            2 => HookChoice::XdpGeneric,
            3 => HookChoice::Tcx,
            other => bail!("the options for {pattern} have the unknown hook {other}"),
        },
        forward: entry.forward != 0,
    };
    Ok(OptionsRow { pattern, options })
}
