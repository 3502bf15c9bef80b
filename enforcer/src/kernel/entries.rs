//! Map entries from and to the rows of [`PolicyTables`]: pure conversions.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};
use enforcer_ebpf::{
    Address, Family, Mode, Protocol,
    layout::{
        AddressKey, AddressScope, BankEntry, InterfaceEntry, InterfaceKey, KEY_BITS, NetworkEntry,
        OriginEntry, PeerEntry, PrefixKey, RuleEntry, ServiceEntry,
    },
};

use crate::{
    interfaces::InterfaceOptions,
    policy::{
        InterfaceRow, NetworkRow, OptionsRow, PeerRow, PolicyTables, ServiceRow, UnregisteredRow,
    },
    registry::{Forward, FragmentFolder, HookChoice, Provenance, Side},
};

/// Returns the mode and the sizes of a policy.
pub(super) fn bank_entry(tables: &PolicyTables) -> Result<BankEntry> {
    let count = |length: usize| u32::try_from(length).context("too many entries");
    let mut rows = tables.interfaces.values();
    let unregistered = Protocol::ALL.map(|protocol| {
        let mode = tables.unregistered.modes[protocol as usize];
        BankEntry::unregistered_bits(protocol, mode)
    });
    Ok(BankEntry {
        flags: flag(tables.mode == Mode::Audit, BankEntry::AUDIT)
            | flag(!tables.networks.is_empty(), BankEntry::NETWORKS)
            | flag(!tables.sources.is_empty(), BankEntry::SOURCES)
            | flag(
                rows.any(|row| row.looks_through_tags),
                BankEntry::LOOKS_THROUGH,
            )
            | unregistered.into_iter().fold(0, |all, bits| all | bits),
        services: count(tables.services.len())?,
        peers: count(tables.peers.len())?,
        rules: count(tables.interface_options.len())?,
        allow_unregistered: tables.unregistered.allow,
    })
}

/// Returns `[unregistered]` of a bank.
pub(super) fn unregistered(entry: &BankEntry) -> UnregisteredRow {
    UnregisteredRow {
        modes: Protocol::ALL.map(|protocol| entry.unregistered(protocol)),
        allow: entry.allow_unregistered,
    }
}

/// Returns the entry of a container network.
pub(super) fn network_entry(row: &NetworkRow) -> NetworkEntry {
    NetworkEntry {
        allow: row.allow,
        bridge: row.bridge,
        flags: flag(row.mode == Mode::Audit, NetworkEntry::AUDIT)
            | flag(row.routed, NetworkEntry::ROUTED),
    }
}

pub(super) const fn network_row(entry: &NetworkEntry) -> NetworkRow {
    NetworkRow {
        bridge: entry.bridge,
        allow: entry.allow,
        mode: match entry.flags & NetworkEntry::AUDIT {
            0 => Mode::Enforce,
            _ => Mode::Audit,
        },
        routed: entry.flags & NetworkEntry::ROUTED != 0,
    }
}

/// A key of a trie as the kernel has it: the length of the prefix in bits, scope included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct TrieKey {
    length: u32,
    key: AddressKey,
}

impl TrieKey {
    /// Returns the key of a prefix.
    pub(super) fn new(scope: AddressScope, network: &Address, length: u8) -> Self {
        Self {
            length: KEY_BITS + u32::from(length),
            key: AddressKey::new(scope, network),
        }
    }

    /// Returns the scope, the network and the length of the prefix in bits.
    pub(super) fn parts(&self) -> (AddressScope, Address, u8) {
        let length = self.length.saturating_sub(KEY_BITS);
        let length = u8::try_from(length).unwrap_or(u8::MAX);
        (self.key.scope(), self.key.address(), length)
    }
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
        containers: switch(row.options.containers),
        routed: u8::from(row.options.routed),
        mode: match row.options.mode {
            None => 0,
            Some(Mode::Enforce) => 1,
            Some(Mode::Audit) => 2,
        },
        keys: (u8::from(row.has_allow) * RuleEntry::HAS_ALLOW)
            | (u8::from(row.has_routed) * RuleEntry::HAS_ROUTED),
        zero: 0,
        allow: row.allow,
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
            other => bail!("the options for {pattern} have the unknown value {other} of forward"),
        },
        containers: match entry.containers {
            0 => None,
            1 => Some(true),
            2 => Some(false),
            other => {
                bail!("the options for {pattern} have the unknown value {other} of containers")
            }
        },
        routed: entry.routed != 0,
        mode: match entry.mode {
            0 => None,
            1 => Some(Mode::Enforce),
            2 => Some(Mode::Audit),
            other => bail!("the options for {pattern} have the unknown mode {other}"),
        },
    };
    Ok(OptionsRow {
        pattern,
        options,
        allow: entry.allow,
        has_allow: entry.keys & RuleEntry::HAS_ALLOW != 0,
        has_routed: entry.keys & RuleEntry::HAS_ROUTED != 0,
    })
}

/// Returns the number of an optional switch.
const fn switch(set: Option<bool>) -> u8 {
    match set {
        None => 0,
        Some(true) => 1,
        Some(false) => 2,
    }
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
        route_as: row.member_of.unwrap_or_default(),
        network: row.network.unwrap_or_default(),
        // An IPv4 address is the low 32 bits.
        own_v4: row
            .own_v4
            .map_or(0, |own| u32::try_from(own.low()).unwrap_or_default()),
        own_v6: row.own_v6.map_or([0; 2], |own| [own.high(), own.low()]),
        flags: flag(row.judges_all, InterfaceEntry::JUDGES_ALL)
            | flag(row.hairpin, InterfaceEntry::HAIRPIN)
            | flag(row.inside, InterfaceEntry::INSIDE)
            | flag(row.member_of.is_some(), InterfaceEntry::MEMBER)
            | flag(row.looks_through_tags, InterfaceEntry::LOOKS_THROUGH)
            | flag(row.vrf, InterfaceEntry::VRF)
            | flag(row.macvlan_parent, InterfaceEntry::CHILDREN)
            | flag(row.mac.is_some(), InterfaceEntry::KNOWS_MACS)
            | flag(row.vlan_parent, InterfaceEntry::VLAN_PARENT)
            | flag(!row.carries.is_empty(), InterfaceEntry::CARRIES),
        mac: row.mac.unwrap_or_default(),
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
        judges_all: is(InterfaceEntry::JUDGES_ALL),
        hairpin: is(InterfaceEntry::HAIRPIN),
        inside: is(InterfaceEntry::INSIDE),
        member_of: is(InterfaceEntry::MEMBER).then_some(entry.route_as),
        looks_through_tags: is(InterfaceEntry::LOOKS_THROUGH),
        vrf: is(InterfaceEntry::VRF),
        network: (entry.network != 0).then_some(entry.network),
        own_v4: (entry.own_v4 != 0).then(|| Address::v4(entry.own_v4.to_be_bytes())),
        own_v6: (entry.own_v6 != [0; 2]).then(|| Address::v6(entry.own_v6[0], entry.own_v6[1])),
        mac: is(InterfaceEntry::KNOWS_MACS).then_some(entry.mac),
        macvlan_parent: is(InterfaceEntry::CHILDREN),
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
