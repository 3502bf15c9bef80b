//! The registered ports and the kernel's automatic ports.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::{
    kernel::maps::{Maps, Reserved},
    policy::Tables,
    procfs::reserved_ports,
};

/// Keeps the kernel from giving registered ports to outgoing connections.
///
/// # Errors
/// The sysctl cannot be written; the guards hold all the same.
pub(crate) fn reserve(ours: &Reserved, tables: &Tables) -> Result<()> {
    let wanted = tables.ports.keys().map(|(_, port)| *port).collect();
    merge(ours, &wanted).context("failed to keep registered ports from outgoing connections")
}

/// Takes back what was added, and only that.
///
/// # Errors
/// The sysctl cannot be written; what was added is known all the same.
pub(crate) fn release(ours: &Reserved) -> Result<()> {
    merge(ours, &BTreeSet::new()).context("failed to give reserved ports back")
}

fn merge(ours: &Reserved, wanted: &BTreeSet<u16>) -> Result<()> {
    let before = ours.ports();
    let remember = |added: &BTreeSet<u16>| {
        let both: BTreeSet<u16> = before.union(added).copied().collect();
        ours.remember(&both);
    };
    let added = reserved_ports::merge(wanted, &before, remember)?;
    ours.remember(&added);
    Ok(())
}

/// As [`reserve`], and what the operator should know if that failed.
pub(super) fn reserve_or_say(maps: &Maps, tables: &Tables) -> Option<String> {
    let error = reserve(&maps.reserved, tables).err()?;
    Some(format!(
        "outgoing connections may be given registered ports: {error:#}"
    ))
}
