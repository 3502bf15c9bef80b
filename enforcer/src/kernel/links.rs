//! The guards as links: attached by one process, pinned, and found again by the next.

use std::{
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
    bpf::{self, Target},
    load::Programs,
};
use crate::interfaces::Hook;

/// Attaches the wire program to an interface and pins the link.
///
/// # Errors
/// The hook is not to be had there, or pinning failed; nothing is attached then.
pub(crate) fn attach_wire(
    programs: &mut Programs<'_>,
    ifindex: u32,
    hook: Hook,
    link: Link,
) -> Result<()> {
    let target = match hook {
        Hook::XdpNative => Target::XdpNative(ifindex),
        Hook::XdpGeneric => Target::XdpGeneric(ifindex),
        Hook::Tcx => Target::TcxHead(ifindex),
    };
    let program = programs.wire(hook, link)?;
    attach(&program, target, &programs.pins().wire_link(ifindex, hook))
}

/// Attaches the wire program to an interface that is not up yet, where it is beside what comes
/// later, and pins the link.
///
/// # Errors
/// As for [`attach_wire`].
pub(crate) fn attach_early(programs: &mut Programs<'_>, ifindex: u32, link: Link) -> Result<()> {
    let program = programs.wire(Hook::Tcx, link)?;
    let pin = programs.pins().early_link(ifindex);
    attach(&program, Target::TcxHead(ifindex), &pin)
}

/// Attaches the socket program to the cgroup2 root and pins the link.
///
/// # Errors
/// As for [`attach_wire`].
pub(crate) fn attach_socket(program: &Path, cgroup: &Path, pin: &Path) -> Result<()> {
    let directory =
        File::open(cgroup).with_context(|| format!("failed to open {}", cgroup.display()))?;
    attach(program, Target::CgroupIngress(directory.as_fd()), pin)
        .with_context(|| format!("failed to attach to {}", cgroup.display()))
}

fn attach(program: &Path, target: Target<'_>, pin: &Path) -> Result<()> {
    let program = bpf::get(program)
        .with_context(|| format!("failed to open the program {}", program.display()))?;
    let link = bpf::link_create(program.as_fd(), target)?;
    bpf::pin(link.as_fd(), pin).with_context(|| format!("failed to pin {}", pin.display()))
}

/// Puts a new program behind a link of the old pins and pins the link among the new ones as well:
/// there is no moment without one of the two programs.
///
/// # Errors
/// The kernel's refusal; the old program is in place then.
pub(crate) fn take_over(old: &Path, program: &Path, new: &Path) -> Result<()> {
    let link = update(old, program)?;
    bpf::pin(link.as_fd(), new).with_context(|| format!("failed to pin {}", new.display()))
}

/// Puts another program behind a pinned link.
///
/// # Errors
/// The kernel's refusal; the old program is in place then.
pub(crate) fn update(pin: &Path, program: &Path) -> Result<OwnedFd> {
    let link = bpf::get(pin).with_context(|| format!("failed to open {}", pin.display()))?;
    let program = bpf::get(program)
        .with_context(|| format!("failed to open the program {}", program.display()))?;
    bpf::link_update(link.as_fd(), program.as_fd())
        .with_context(|| format!("failed to update the link {}", pin.display()))?;
    Ok(link)
}

/// A pinned wire link that guards its interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkStatus {
    /// The id of the program behind it.
    pub(crate) program: u32,
    /// No other program sees a packet before it does.
    pub(crate) is_first: bool,
}

/// Whether a pinned wire link still guards the interface of this index in this network namespace.
///
/// `xdp` is the program that rtnetlink names there: a link follows its interface into another
/// namespace, and the index may be another interface's here.
///
/// # Errors
/// The kernel does not say: a guard that holds must not be taken for one that is gone.
pub(crate) fn alive(
    pin: &Path,
    ifindex: u32,
    hook: Hook,
    xdp: Option<u32>,
) -> io::Result<Option<LinkStatus>> {
    let Some(info) = info(pin)?.filter(|info| info.ifindex == ifindex) else {
        return Ok(None);
    };
    let program = info.program;
    let place = match hook {
        Hook::XdpNative | Hook::XdpGeneric => (xdp == Some(program)).then_some(0),
        Hook::Tcx => match bpf::tcx_programs(ifindex) {
            Ok(programs) => programs.iter().position(|id| *id == program),
            // It went away a moment ago.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => None,
            Err(error) => return Err(error),
        },
    };
    Ok(place.map(|place| LinkStatus {
        program,
        is_first: place == 0,
    }))
}

/// Whether the socket guard's link is pinned at a path, and attached.
///
/// # Errors
/// The kernel does not say.
pub(crate) fn is_socket_alive(pin: &Path) -> Result<bool> {
    let info = info(pin).with_context(|| format!("failed to examine {}", pin.display()))?;
    Ok(info.is_some_and(|info| info.cgroup != 0))
}

/// Whether the socket guard's link is pinned at a path, and attached to this cgroup.
///
/// # Errors
/// The kernel does not say.
pub(crate) fn is_socket_on(pin: &Path, cgroup: &Path) -> Result<bool> {
    let what = |path: &Path| format!("failed to examine {}", path.display());
    // The id of a cgroup is its directory's inode (include/linux/kernfs.h: kernfs_ino).
    let id = fs::metadata(cgroup).with_context(|| what(cgroup))?.ino();
    let info = info(pin).with_context(|| what(pin))?;
    Ok(info.is_some_and(|info| info.cgroup == id))
}

/// What the kernel says about a pinned link, `None` where nothing is pinned.
fn info(pin: &Path) -> io::Result<Option<bpf::LinkInfo>> {
    match bpf::get(pin) {
        Ok(link) => bpf::link_info(link.as_fd()).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
