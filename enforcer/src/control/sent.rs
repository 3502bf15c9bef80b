//! The programs that note what sockets send over UDP: attached while a policy judges UDP ports
//! that no service names.
//!
//! The programs open and drop nothing. Without them rule 6 takes each answer to an unconnected
//! socket for a datagram that nobody asked for.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Instance;
use crate::{
    kernel::{
        bpf, links,
        load::{Options, Programs, SENT_PROGRAMS},
        maps::Maps,
        mounts,
        pins::PinDir,
    },
    note::{Note, NoteKind},
    policy::PolicyTables,
    printable::decode_path,
};

/// Whether both programs are attached.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn is_attached(pins: &PinDir) -> Result<bool> {
    for (name, _) in SENT_PROGRAMS {
        if !links::is_cgroup_attached(&pins.link_of(name))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Attaches what a policy wants and a set of pins lacks. Returns a note of a refusal: the policy
/// holds without the programs.
pub(crate) fn attach(
    programs: &mut Programs<'_>,
    instance: &Instance,
    tables: &PolicyTables,
) -> Option<Note> {
    if !tables.judges_unregistered_udp() {
        return None;
    }
    let refusal = attach_missing(programs, instance).err()?;
    let text = format!(
        "`udp` of `[unregistered]` takes answers for questions, as nothing notes what sockets \
         send: {refusal:#}"
    );
    Some(Note::new(NoteKind::SentUnknown, text))
}

/// As [`attach`], for the pins in force.
pub(crate) fn attach_in_place(
    instance: &Instance,
    maps: &Maps,
    tables: &PolicyTables,
) -> Option<Note> {
    let mut programs = Programs::of(instance.pins(), Options::of(maps.state()));
    attach(&mut programs, instance, tables)
}

fn attach_missing(programs: &mut Programs<'_>, instance: &Instance) -> Result<()> {
    for (name, hook) in SENT_PROGRAMS {
        let link = programs.pins().link_of(name);
        if links::is_cgroup_attached(&link)? {
            continue;
        }
        detach_one(&link)?;
        let cgroup = mounts::cgroup_root(instance.cgroup())?;
        let program = programs.sent(name)?;
        links::attach_cgroup(&program, (&cgroup, hook), &link)?;
    }
    Ok(())
}

/// Detaches the programs if a policy has no use for them.
///
/// # Errors
/// A pin cannot be removed; its program stays attached.
pub(crate) fn detach_unwanted(pins: &PinDir, tables: &PolicyTables) -> Result<()> {
    if tables.judges_unregistered_udp() {
        return Ok(());
    }
    let mut programs = SENT_PROGRAMS.iter();
    programs.try_for_each(|(name, _)| detach_one(&pins.link_of(name)))
}

fn detach_one(link: &Path) -> Result<()> {
    match link.exists() {
        true => bpf::detach(link).with_context(|| format!("failed to unpin {}", decode_path(link))),
        false => Ok(()),
    }
}
