//! The registered ports and the kernel's automatic ports.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::{
    kernel::{maps::Maps, reserved},
    policy::Tables,
};

/// Keeps the kernel from giving registered ports to outgoing connections.
///
/// # Errors
/// The sysctl cannot be written; the guards hold all the same.
pub(crate) fn reserve(maps: &Maps, tables: &Tables) -> Result<()> {
    let wanted = tables.ports.keys().map(|(_, port)| *port).collect();
    merge(maps, &wanted)
}

/// Takes back what was added, and only that.
///
/// # Errors
/// As for [`reserve`].
pub(crate) fn release(maps: &Maps) -> Result<()> {
    merge(maps, &BTreeSet::new())
}

fn merge(maps: &Maps, wanted: &BTreeSet<u16>) -> Result<()> {
    let ours = maps.reserved();
    let remember = |added: &BTreeSet<u16>| {
        let both: BTreeSet<u16> = ours.union(added).copied().collect();
        maps.remember_reserved(&both);
    };
    let added = reserved::merge(wanted, &ours, remember)
        .context("failed to keep registered ports from outgoing connections")?;
    maps.remember_reserved(&added);
    Ok(())
}
