//! The guards as links: one process attaches and pins a link, the next process finds the link again.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use enforcer_ebpf::Link;

use super::{
    bpf::{self, CgroupHook, Target},
    load::{Programs, wire_program},
    parallel,
};
use crate::{interfaces::Hook, printable::decode_path};

/// Attaches a wire program to an interface and pins the link.
///
/// # Errors
/// The interface refuses the hook, or the pin fails; nothing is attached then.
pub(crate) fn attach_wire(
    programs: &mut Programs<'_>,
    ifindex: u32,
    hook: Hook,
    link: Link,
) -> Result<()> {
    let program = programs.wire(hook, link)?;
    let pin = programs.pins().wire_link(ifindex, hook);
    attach(&program, wire_target(ifindex, hook), &pin)
}

const fn wire_target(ifindex: u32, hook: Hook) -> Target<'static> {
    match hook {
        Hook::XdpNative => Target::XdpNative(ifindex),
        Hook::XdpGeneric => Target::XdpGeneric(ifindex),
        Hook::Tcx => Target::TcxHead(ifindex),
    }
}

/// Attaches wire programs to many interfaces and pins the links, from several threads. Returns for
/// each interface whether the guard is attached and pinned; else nothing is attached there.
pub(crate) fn attach_together(
    programs: &mut Programs<'_>,
    wanted: &[(u32, Hook, Link)],
) -> Vec<bool> {
    let mut opened = BTreeMap::new();
    for &(_, hook, link) in wanted {
        opened
            .entry(wire_program(hook, link))
            .or_insert_with(|| bpf::open_pin(&programs.wire(hook, link).ok()?).ok());
    }
    let pins = programs.pins();
    parallel::map(wanted, |&(ifindex, hook, link)| {
        let Some(Some(program)) = opened.get(wire_program(hook, link)) else {
            return false;
        };
        let link = bpf::link_create(program.as_fd(), wire_target(ifindex, hook));
        link.and_then(|link| bpf::pin(link.as_fd(), &pins.wire_link(ifindex, hook)))
            .is_ok()
    })
}

/// Attaches a wire program to an interface that is not up yet, and pins the link. tcx leaves room
/// for the guard that comes later.
///
/// # Errors
/// As for [`attach_wire`].
pub(crate) fn attach_early(programs: &mut Programs<'_>, ifindex: u32, link: Link) -> Result<()> {
    let program = programs.wire(Hook::Tcx, link)?;
    let pin = programs.pins().early_link(ifindex);
    attach(&program, Target::TcxHead(ifindex), &pin)
}

/// Attaches a program to a hook of the cgroup2 root and pins the link.
///
/// # Errors
/// As for [`attach_wire`].
pub(crate) fn attach_cgroup(
    program: &Path,
    (cgroup, hook): (&Path, CgroupHook),
    pin: &Path,
) -> Result<()> {
    let directory =
        File::open(cgroup).with_context(|| format!("failed to open {}", decode_path(cgroup)))?;
    attach(program, Target::Cgroup(directory.as_fd(), hook), pin)
        .with_context(|| format!("failed to attach to {}", decode_path(cgroup)))
}

fn attach(program: &Path, target: Target<'_>, pin: &Path) -> Result<()> {
    let program = bpf::open_pin(program)
        .with_context(|| format!("failed to open the program {}", decode_path(program)))?;
    let link = bpf::link_create(program.as_fd(), target)?;
    bpf::pin(link.as_fd(), pin).with_context(|| format!("failed to pin {}", decode_path(pin)))
}

/// Puts a new program behind a link of the old pins, and pins the link among the new pins as well:
/// at every moment one of the two programs is attached.
///
/// # Errors
/// The kernel's refusal; the old program stays then.
pub(crate) fn take_over(old: &Path, program: &Path, new: &Path) -> Result<()> {
    let link = update(old, program)?;
    bpf::pin(link.as_fd(), new).with_context(|| format!("failed to pin {}", decode_path(new)))
}

/// Puts another program behind a pinned link.
///
/// # Errors
/// The kernel's refusal; the old program stays then.
pub(crate) fn update(pin: &Path, program: &Path) -> Result<OwnedFd> {
    let link =
        bpf::open_pin(pin).with_context(|| format!("failed to open {}", decode_path(pin)))?;
    let program = bpf::open_pin(program)
        .with_context(|| format!("failed to open the program {}", decode_path(program)))?;
    bpf::link_update(link.as_fd(), program.as_fd())
        .with_context(|| format!("failed to update the link {}", decode_path(pin)))?;
    Ok(link)
}

/// The status of a pinned wire link that guards an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkStatus {
    /// The id of the program behind the link.
    pub(crate) program: u32,
    /// Whether the program sees packets before any other program.
    pub(crate) is_first: bool,
}

/// Returns the status of a pinned wire link; `None` if the link does not guard the interface of
/// this index in this network namespace.
///
/// `xdp` is the program that rtnetlink names there: a link follows an interface into another
/// namespace, and the index may be another interface's here.
///
/// # Errors
/// The kernel does not tell: an attached guard must not be taken for a lost guard.
pub(crate) fn status(
    pin: &Path,
    ifindex: u32,
    hook: Hook,
    xdp: Option<u32>,
) -> io::Result<Option<LinkStatus>> {
    let Some(info) = info(pin)?.filter(|info| info.ifindex == ifindex) else {
        return Ok(None);
    };
    let attached = match hook {
        Hook::XdpNative | Hook::XdpGeneric => xdp.into_iter().collect(),
        Hook::Tcx => match bpf::tcx_programs(ifindex) {
            Ok(programs) => programs,
            // The interface went away a moment ago.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Vec::new(),
            Err(error) => return Err(error),
        },
    };
    Ok(among(info.program, &attached))
}

/// Returns the status of a program among the programs at a hook, in the order in which they run.
fn among(program: u32, attached: &[u32]) -> Option<LinkStatus> {
    let place = attached.iter().position(|id| *id == program)?;
    Some(LinkStatus {
        program,
        is_first: place == 0,
    })
}

/// Whether a cgroup's link is pinned at a path, and attached.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn is_cgroup_attached(pin: &Path) -> Result<bool> {
    Ok(attached_cgroup(pin)?.is_some())
}

/// The cgroup of a pinned link, if the link is attached.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn attached_cgroup(pin: &Path) -> Result<Option<Cgroup>> {
    let info = info(pin).with_context(|| format!("failed to examine {}", decode_path(pin)))?;
    let attached = info.filter(|info| info.cgroup != 0);
    Ok(attached.map(|info| Cgroup(info.cgroup)))
}

/// A cgroup, by the id that every cgroup namespace and mount shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup(pub(crate) u64);

impl Cgroup {
    /// Whether the cgroup is the root of the hierarchy, above every cgroup namespace: the first
    /// node of a kernfs has the id 1 (fs/kernfs/dir.c: kernfs_create_root; on 64 bits the id is the
    /// inode alone, include/linux/kernfs.h: kernfs_id_ino).
    pub(crate) const fn is_root(self) -> bool {
        self.0 == 1
    }
}

/// Whether the socket guard's link is pinned at a path, and attached to this cgroup.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn is_socket_attached_to(pin: &Path, cgroup: &Path) -> Result<bool> {
    let what = |path: &Path| format!("failed to examine {}", decode_path(path));
    // The id of a cgroup is the inode of the directory (include/linux/kernfs.h: kernfs_ino).
    let id = fs::metadata(cgroup).with_context(|| what(cgroup))?.ino();
    let info = info(pin).with_context(|| what(pin))?;
    Ok(info.is_some_and(|info| info.cgroup == id))
}

/// Returns the kernel's facts about a pinned link; `None` without a pin.
fn info(pin: &Path) -> io::Result<Option<bpf::LinkInfo>> {
    match bpf::open_pin(pin) {
        Ok(link) => bpf::link_info(link.as_fd()).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{Cgroup, LinkStatus, among};

    #[test]
    fn the_first_cgroup_is_the_root() {
        assert!(Cgroup(1).is_root());
        assert!(!Cgroup(2).is_root() && !Cgroup(1 << 32 | 1).is_root());
    }

    #[test]
    fn a_program_is_first_behind_no_other() {
        let status = |is_first| {
            Some(LinkStatus {
                program: 7,
                is_first,
            })
        };
        for (attached, expected) in [
            (&[][..], None),
            (&[8], None),
            (&[7], status(true)),
            (&[7, 8], status(true)),
            (&[8, 7], status(false)),
        ] {
            assert_eq!(among(7, attached), expected, "{attached:?}");
        }
    }
}
