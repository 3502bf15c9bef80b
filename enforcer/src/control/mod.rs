//! What the commands do: put a policy in force, change it, take it off, and look at it.

mod down;
mod install;
mod keys;
mod question;
mod reload;
mod reserve;
mod status;
mod survey;
mod wire;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_ebpf::layout::State;

use crate::{
    kernel::{
        links,
        maps::{self, Maps},
        pins::{Lock, PinDir},
        sys,
    },
    registry,
};

pub use down::down;
pub use install::{Wanted, install};
pub use keys::{stale, unfollowed};
pub use question::{bpf_log, has_wire_guard, would_be, would_forward};
pub use reload::{Reloaded, preview, reload};
pub use status::{
    BypassRow, Condition, GuardRow, PeerState, PeerStatus, Status, UncoveredRow, status,
};
pub use survey::{Survey, survey, survey_for};

/// Where a command acts.
#[derive(Clone, Debug)]
pub struct Place {
    pins: PinDir,
    /// The cgroup2 root, if it was named.
    cgroup: Option<PathBuf>,
}

impl Place {
    /// A pin directory, and the cgroup2 root if it is not to be looked for.
    ///
    /// # Errors
    /// The path cannot be that of a pin directory.
    pub fn new(pin_dir: &std::path::Path, cgroup: Option<PathBuf>) -> Result<Self> {
        Ok(Self {
            pins: PinDir::new(pin_dir)?,
            cgroup,
        })
    }

    /// The pin directory.
    pub fn pin_dir(&self) -> &std::path::Path {
        self.pins.path()
    }

    /// Whether anything is pinned.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn is_pinned(&self) -> Result<bool> {
        self.pins.exists()
    }

    /// Whether the policy in force is the embedded one, for want of a file.
    ///
    /// # Errors
    /// The pins cannot be read, or are another namespace's.
    pub fn is_embedded(&self) -> Result<bool> {
        let maps = self.maps()?;
        Ok(maps.is_some_and(|maps| maps.state().flags & State::EMBEDDED != 0))
    }

    /// Whether there is a socket guard.
    pub fn has_socket_guard(&self) -> bool {
        links::is_socket_alive(&self.pins.socket_link())
    }

    /// Takes the lock of writers.
    fn lock(&self) -> Result<Lock> {
        Lock::exclusive(&self.pins)
    }

    /// Opens the pinned maps, `None` where nothing is pinned.
    ///
    /// # Errors
    /// They are of another layout, or of another network namespace than this process is in.
    pub(crate) fn maps(&self) -> Result<Option<Maps>> {
        if !self.pins.exists()? {
            return Ok(None);
        }
        let maps = Maps::open(&self.pins)?;
        self.check_namespace(&maps)?;
        Ok(Some(maps))
    }

    /// Removes what an interrupted command left beside the pins.
    ///
    /// # Errors
    /// It is another network namespace's, or cannot be removed.
    fn clear_staging(&self) -> Result<()> {
        let staging = self.pins.staging();
        if !staging.exists()? {
            return Ok(());
        }
        if !staging.is_empty()? {
            self.refuse_foreign(&staging)?;
        }
        staging
            .remove()
            .context("failed to clean up after an interrupted command")
    }

    /// Whether an interrupted command left guards beside the pins.
    pub(crate) fn is_interrupted(&self) -> Result<bool> {
        let staging = self.pins.staging();
        Ok(staging.exists()? && staging.has_links()?)
    }

    /// Refuses pins of another network namespace, whatever their layout.
    ///
    /// # Errors
    /// They are another's, or it cannot be told whose.
    fn refuse_foreign(&self, pins: &PinDir) -> Result<()> {
        let Ok(cookie) = maps::pinned_netns_cookie(pins) else {
            bail!(
                "it cannot be told which network namespace the pins in {} guard: take them off with \
                 the `enforcer down` of the version that made them, or remove the folder by hand",
                pins.path().display()
            );
        };
        // 0 is what a new map holds, before any guard is attached.
        match cookie {
            0 => Ok(()),
            cookie => ensure_ours(cookie, pins),
        }
    }

    /// Refuses pins of another network namespace.
    fn check_namespace(&self, maps: &Maps) -> Result<()> {
        ensure_ours(maps.state().netns_cookie, &self.pins)
    }
}

/// Refuses what guards another network namespace than the one that this process is in.
fn ensure_ours(cookie: u64, pins: &PinDir) -> Result<()> {
    let ours = sys::netns_cookie()?;
    ensure!(
        cookie == ours,
        "the pins in {} guard another network namespace (cookie {cookie}, and this one's is \
         {ours}): enter it (`nsenter --net=/run/netns/NAME enforcer …`), or give another --pin-dir",
        pins.path().display()
    );
    Ok(())
}

/// Fails with the names of what is missing, if this process may not load and attach programs.
///
/// # Errors
/// A capability is missing.
pub fn check_privileges() -> Result<()> {
    let missing = sys::missing_capabilities();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "missing privileges: {} (CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed): run it as \
         root, with sudo",
        missing.join(", ")
    )
}

/// What the registry's warnings need to know of this host.
///
/// # Errors
/// The range of ephemeral ports cannot be read.
pub fn host_warnings(
    registry: &registry::Registry,
    survey: Option<&Survey>,
) -> Result<Vec<registry::Diagnostic>> {
    let path = "/proc/sys/net/ipv4/ip_local_port_range";
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
    let mut numbers = text
        .split_whitespace()
        .filter_map(|n| n.parse::<u16>().ok());
    let (Some(first), Some(last)) = (numbers.next(), numbers.next()) else {
        bail!("failed to understand {path}: {}", text.trim());
    };
    let is_wireguard = |name: &str| survey?.is_wireguard(name);
    Ok(registry::warn(registry, &(first..=last), is_wireguard))
}
