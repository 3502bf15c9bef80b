//! Map entries from and to the rows of [`PolicyTables`]: pure conversions.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_ebpf::{
    Address, Family, Mode, PeerSet,
    layout::{
        BankEntry, InterfaceEntry, InterfaceKey, OriginEntry, PeerEntry, PrefixKey, RuleEntry,
        ServiceEntry,
    },
};

use crate::{
    interfaces::InterfaceOptions,
    policy::{InterfaceRow, OptionsRow, PeerRow, PolicyTables, ServiceRow, UnregisteredRow},
    registry::{Forward, FragmentFolder, HookChoice, Provenance, Side},
};

/// Returns the mode and the sizes of a policy.
pub(super) fn bank_entry(tables: &PolicyTables) -> Result<BankEntry> {
    let count = |length: usize| u32::try_from(length).context("too many entries");
    ensure!(
        tables.unregistered == UnregisteredRow::default(),
        "the maps have no room for `[unregistered]`"
    );
    ensure!(
        tables.ports_at.is_empty(),
        "the maps have no room for services with `on`"
    );
    Ok(BankEntry {
        flags: match tables.mode {
            Mode::Enforce => 0,
            Mode::Audit => BankEntry::AUDIT,
        },
        services: count(tables.services.len())?,
        peers: count(tables.peers.len())?,
        rules: count(tables.interface_options.len())?,
    })
}

pub(super) const fn mode(entry: &BankEntry) -> Mode {
    match entry.flags & BankEntry::AUDIT {
        0 => Mode::Enforce,
        _ => Mode::Audit,
    }
}

pub(super) fn service_entry(row: &ServiceRow) -> Result<ServiceEntry> {
    Ok(ServiceEntry {
        allow: row.allow,
        name: field(row.name.as_bytes())?,
    })
}

pub(super) fn service_row(entry: &ServiceEntry) -> ServiceRow {
    ServiceRow {
        name: text(&entry.name),
        allow: entry.allow,
    }
}

pub(super) fn peer_entry(row: &PeerRow) -> Result<PeerEntry> {
    let by_key = flag(row.key.is_some(), PeerEntry::BY_KEY);
    Ok(PeerEntry {
        name: field(row.name.as_bytes())?,
        interface: field(row.interface.as_bytes())?,
        key: row.key.unwrap_or_default(),
        flags: by_key | flag(row.active, PeerEntry::ACTIVE),
    })
}

pub(super) fn peer_row(entry: &PeerEntry) -> PeerRow {
    PeerRow {
        name: text(&entry.name),
        interface: text(&entry.interface),
        key: (entry.flags & PeerEntry::BY_KEY != 0).then_some(entry.key),
        active: entry.flags & PeerEntry::ACTIVE != 0,
    }
}

pub(super) fn options_entry(row: &OptionsRow) -> Result<RuleEntry> {
    let InterfaceOptions {
        containers,
        routed,
        mode,
        ..
    } = row.options;
    ensure!(
        (containers, routed, mode) == (None, false, None) && row.allow.is_empty(),
        "the maps have no room for the container network of `[interfaces.{}]`",
        row.pattern
    );
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
        forward: match row.options.forward {
            Forward::Auto => 0,
            Forward::True => 1,
            Forward::False => 2,
        },
        zero: 0,
    })
}

/// Returns the row of an entry.
///
/// # Errors
/// A number has no meaning in this version.
pub(super) fn options_row(entry: &RuleEntry) -> Result<OptionsRow> {
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
        forward: match entry.forward {
            0 => Forward::Auto,
            1 => Forward::True,
            2 => Forward::False,
            other => bail!("the options for {pattern} have the unknown forward {other}"),
        },
        ..InterfaceOptions::default()
    };
    Ok(OptionsRow {
        pattern,
        options,
        allow: PeerSet::EMPTY,
    })
}

/// Returns the entry of an interface, with the lengths of the interface's prefixes in `tables`.
pub(super) fn interface_entry(
    ifindex: u32,
    row: &InterfaceRow,
    tables: &PolicyTables,
) -> InterfaceEntry {
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
        // The field has a place for every length of the family.
        field[..lengths.len()].copy_from_slice(lengths);
        *count = u8::try_from(lengths.len()).unwrap_or(u8::MAX);
    }
    entry
}

pub(super) fn interface_row(entry: &InterfaceEntry) -> InterfaceRow {
    let is = |flag| entry.flags & flag != 0;
    InterfaceRow {
        carries: entry.carries,
        forward: is(InterfaceEntry::FORWARD),
        macvlan_parent_mac: is(InterfaceEntry::CHILDREN).then_some(entry.mac),
        vlan_parent: is(InterfaceEntry::VLAN_PARENT),
    }
}

pub(super) fn origin_entry(provenance: &Provenance) -> Result<OriginEntry> {
    let path = provenance.path.as_deref().unwrap_or("".as_ref());
    Ok(OriginEntry {
        digest: provenance.digest,
        parts: parts(provenance),
        path: field(path.as_os_str().as_bytes())?,
    })
}

pub(super) fn provenance(entry: &OriginEntry) -> Provenance {
    let path = until_zero(&entry.path);
    Provenance {
        path: (!path.is_empty()).then(|| PathBuf::from(OsString::from_vec(path.to_vec()))),
        digest: entry.digest,
        has_main: entry.parts & OriginEntry::MAIN != 0,
        fragments: (entry.parts & OriginEntry::FRAGMENTS != 0).then(|| {
            let folder = entry.parts >> OriginEntry::FOLDER_SHIFT;
            FragmentFolder(u32::try_from(folder).unwrap_or_default())
        }),
    }
}

/// Returns the files of a registry, as [`OriginEntry::parts`] has them.
fn parts(provenance: &Provenance) -> u64 {
    let main = match provenance.has_main {
        true => OriginEntry::MAIN,
        false => 0,
    };
    let fragments = match provenance.fragments {
        Some(FragmentFolder(folder)) => {
            OriginEntry::FRAGMENTS | u64::from(folder) << OriginEntry::FOLDER_SHIFT
        }
        None => 0,
    };
    main | fragments
}

/// Returns the key of a prefix: ifindex, network and length under a bank.
pub(super) fn prefix_key(bank: u32, (ifindex, network, length): &(u32, Address, u8)) -> PrefixKey {
    let interface = InterfaceKey {
        ifindex: *ifindex,
        bank,
    };
    PrefixKey::new(interface, network, *length)
}

/// Returns text in a fixed field, padded with zeros.
///
/// # Errors
/// The text is longer than the field.
fn field<const N: usize>(text: &[u8]) -> Result<[u8; N]> {
    let mut field = [0; N];
    match field.get_mut(..text.len()) {
        Some(front) => front.copy_from_slice(text),
        None => bail!(
            "`{}` is longer than {N} bytes",
            String::from_utf8_lossy(text)
        ),
    }
    Ok(field)
}

/// Returns the text of a fixed field.
pub(super) fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(until_zero(field)).into_owned()
}

fn until_zero(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

const fn flag(set: bool, flag: u32) -> u32 {
    if set { flag } else { 0 }
}
