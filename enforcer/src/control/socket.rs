//! The socket guard of pins that stay in their place.

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::State;

use super::Instance;
use crate::kernel::{bpf, links, load::SOCKET_PROGRAM, mounts};

/// Attaches the socket guard again where it should be and is not: `up` could not, or somebody took
/// it off. Returns what to say of it.
///
/// # Errors
/// It cannot be told whether it is there. That it is not to be had is a note.
pub(crate) fn keep(instance: &Instance, state: State) -> Result<Option<String>> {
    if state.flags & State::WANT_SOCKET == 0 || instance.has_socket_guard()? {
        return Ok(None);
    }
    let program = instance.pins.program(SOCKET_PROGRAM);
    // The kernel refused it, and only another `up` would hear something else.
    if !program.exists() {
        return Ok(None);
    }
    let link = instance.pins.socket_link();
    let attach = || -> Result<()> {
        if link.exists() {
            bpf::detach(&link).with_context(|| format!("failed to unpin {}", link.display()))?;
        }
        let cgroup = mounts::cgroup_root(instance.cgroup.as_deref())?;
        links::attach_socket(&program, &cgroup, &link)
    };
    Ok(Some(match attach() {
        Ok(()) => "there was no socket guard, and there is one again".to_owned(),
        Err(why) => format!("there is no socket guard: {why:#}"),
    }))
}
