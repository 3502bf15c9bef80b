//! Guards that hold without a pin: under a bpffs that another mount covers, or by a descriptor.
//!
//! The kernel names every link to CAP_SYS_ADMIN (kernel/bpf/syscall.c: bpf_link_get_fd_by_id). A
//! link is a guard of enforcer if its program has a name of enforcer's and reads a map `STATE` with
//! the cookie of this network namespace.

use std::{
    collections::BTreeSet,
    fmt, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::State;

use super::{
    bpf::{self, Command, LinkInfo},
    introspect,
    load::program_names,
    pins::PinDir,
};
use crate::failpoint;

/// The kernel cuts names to this length, without the closing zero.
const NAME_BYTES: usize = introspect::NAME_BYTES - 1;

/// An attached guard of this network namespace without a pin.
#[derive(Debug)]
pub(crate) struct Stray {
    link: OwnedFd,
    info: LinkInfo,
}

impl Stray {
    /// The id of the link.
    pub(crate) const fn id(&self) -> u32 {
        self.info.id
    }

    /// Detaches the guard, whoever holds the link.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn detach(&self) -> Result<()> {
        introspect::detach(self.link.as_fd()).with_context(|| format!("failed to detach {self}"))
    }
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.info.id;
        match self.info.is_cgroups() {
            true => write!(f, "the socket guard (link {id})"),
            false => write!(
                f,
                "a wire guard on ifindex {} (link {id})",
                self.info.ifindex
            ),
        }
    }
}

/// Finds the attached guards of a network namespace that are pinned in none of these directories;
/// none without CAP_SYS_ADMIN.
///
/// # Errors
/// A pin directory cannot be read, or the kernel's refusal.
pub(crate) fn find(cookie: u64, reachable: &[&PinDir]) -> Result<Vec<Stray>> {
    // The kernel's links are those of all programs.
    failpoint::uncounted(|| {
        let before = pinned(reachable)?;
        let mut found = match unpinned(cookie, &before) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Vec::new()),
            found => found.context("failed to look at the kernel's links")?,
        };
        if !found.is_empty() {
            // A link that was pinned meanwhile is no stray.
            let after = pinned(reachable)?;
            found.retain(|stray| !after.contains(&stray.id()));
        }
        Ok(found)
    })
}

/// Finds the attached guards of a network namespace, except for these links.
fn unpinned(cookie: u64, pinned: &BTreeSet<u32>) -> io::Result<Vec<Stray>> {
    let mut found = Vec::new();
    for id in introspect::link_ids()? {
        if pinned.contains(&id) {
            continue;
        }
        match introspect::link_by_id(id) {
            Ok(link) => found.extend(guard(link, cookie)?),
            // The link is gone, or not complete yet (EAGAIN).
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::WouldBlock
    )
}

/// The ids of the links that are pinned in these directories.
fn pinned(directories: &[&PinDir]) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for pins in directories {
        for path in pins.links()? {
            // A pin may go at any time, and a link that is no link at all reaches no guard.
            let link = bpf::open_pin(&path);
            let info = link.and_then(|link| bpf::link_info(link.as_fd()));
            ids.extend(info.ok().map(|info| info.id));
        }
    }
    Ok(ids)
}

/// The guard behind a link, if the link is an attached guard of this network namespace.
fn guard(link: OwnedFd, cookie: u64) -> io::Result<Option<Stray>> {
    let info = bpf::link_info(link.as_fd())?;
    if !info.is_attached() {
        return Ok(None);
    }
    let program = match introspect::program_by_id(info.program) {
        Err(error) if is_passing(&error) => return Ok(None),
        program => program?,
    };
    let program = introspect::program_info(program.as_fd())?;
    if !has_our_name(&program.name) {
        return Ok(None);
    }
    for map in program.maps {
        let map = match introspect::map_by_id(map) {
            Err(error) if is_passing(&error) => continue,
            map => map?,
        };
        if let Some(guarded) = guarded_namespace(map.as_fd())? {
            return Ok((guarded == cookie).then_some(Stray { link, info }));
        }
    }
    Ok(None)
}

/// Whether a program's name is the name of a guard's program, as the kernel has it.
fn has_our_name(name: &str) -> bool {
    let cut = |program: &'static str| program.get(..NAME_BYTES).unwrap_or(program);
    program_names().into_iter().any(|ours| cut(ours) == name)
}

/// The cookie in a map `STATE`; `None` for every other map.
fn guarded_namespace(map: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    if introspect::map_info(map)?.name() != "STATE" {
        return Ok(None);
    }
    let mut state = State::default();
    match introspect::element(Command::MapLookup, map, 0, &mut state) {
        // Another program's map of the same name.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        read => read.map(|()| Some(state.netns_cookie)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_by_the_name_that_the_kernel_cuts() {
        for (name, ours) in [
            ("socket_ingress", true),
            ("socket_ingress_", true),
            ("wire_xdp_ethern", true),
            ("wire_tcx_ip", true),
            ("wire_xdp_ethernet", false),
            ("wire", false),
            ("", false),
        ] {
            assert_eq!(has_our_name(name), ours, "{name}");
        }
    }
}
