//! The guards as links: attached by one process, pinned, and found again by the next.

use std::{
    fs::File,
    os::fd::{AsFd as _, BorrowedFd},
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
    let link = bpf::get(old).with_context(|| format!("failed to open {}", old.display()))?;
    let program = bpf::get(program)
        .with_context(|| format!("failed to open the program {}", program.display()))?;
    bpf::link_update(link.as_fd(), program.as_fd())
        .with_context(|| format!("failed to update the link {}", old.display()))?;
    repin(link.as_fd(), new)
}

fn repin(object: BorrowedFd<'_>, path: &Path) -> Result<()> {
    bpf::pin(object, path).with_context(|| format!("failed to pin {}", path.display()))
}

/// A pinned wire link that guards its interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alive {
    /// The id of the program behind it.
    pub(crate) program: u32,
    /// No other program sees a packet before it does.
    pub(crate) is_first: bool,
}

/// Whether a pinned wire link still guards the interface of this index in this network namespace.
///
/// `xdp` is the program that rtnetlink names there: a link follows its interface into another
/// namespace, and the index may be another interface's here.
pub(crate) fn alive(pin: &Path, ifindex: u32, hook: Hook, xdp: Option<u32>) -> Option<Alive> {
    let info = bpf::get(pin)
        .and_then(|link| bpf::link_info(link.as_fd()))
        .ok()?;
    if info.ifindex != ifindex {
        return None;
    }
    let program = info.program;
    let place = match hook {
        Hook::XdpNative | Hook::XdpGeneric => (xdp == Some(program)).then_some(0),
        Hook::Tcx => bpf::tcx_programs(ifindex)
            .ok()?
            .iter()
            .position(|id| *id == program),
    };
    Some(Alive {
        program,
        is_first: place? == 0,
    })
}

/// Whether the socket guard's link is pinned at a path, and attached.
pub(crate) fn is_socket_alive(pin: &Path) -> bool {
    bpf::get(pin)
        .and_then(|link| bpf::link_info(link.as_fd()))
        .is_ok_and(|info| info.cgroup != 0)
}
