//! The registered ports and the kernel's automatic ports.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::{
    kernel::maps::{Maps, Reserved},
    note::{Note, NoteKind},
    policy::PolicyTables,
    procfs::reserved_ports,
};

/// Keeps the kernel from giving registered ports to outgoing connections.
///
/// # Errors
/// The sysctl cannot be written; the guards hold all the same.
fn reserve(ours: &Reserved, tables: &PolicyTables) -> Result<()> {
    let wanted = tables.ports.keys().map(|(_, port)| *port).collect();
    merge(ours, &wanted).context("failed to keep registered ports from outgoing connections")
}

/// Gives back the ports that enforcer added, and no other.
///
/// # Errors
/// The sysctl cannot be written; the pins still tell the added ports.
pub(super) fn release(ours: &Reserved) -> Result<()> {
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

/// Reserves the ports of a policy. Returns a note of a failure.
pub(super) fn reserve_or_note(maps: &Maps, tables: &PolicyTables) -> Option<Note> {
    let error = reserve(&maps.reserved, tables).err()?;
    let text = format!("outgoing connections may be given registered ports: {error:#}");
    Some(Note::new(NoteKind::ReservedPorts, text))
}
