//! What the commands do: put a policy in force, change it, take it off, and look at it.

mod alive;
mod down;
mod install;
mod keys;
mod live;
mod prepare;
mod preview;
mod question;
mod reload;
mod reserve;
mod safety;
mod sessions;
mod socket;
mod status;
mod survey;
mod trial;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_ebpf::layout::State;

use crate::{
    kernel::{
        links,
        maps::{self, Maps},
        mounts,
        pins::{Lock, PinDir},
        sys,
    },
    procfs,
    registry::{self, Absent, DEFAULT_PATH, Provenance},
};

pub use down::down;
pub use install::{Wanted, install};
pub use keys::{Keys, stale, unfollowed};
pub use live::{Copies, Live, Seen, copies};
pub use prepare::{Prepared, prepare};
pub use preview::{Preview, preview};
pub use question::{bpf_log, has_wire_guard, would_be, would_forward};
pub use reload::{Followed, Look, Reloaded, Replaced, Terms, follow, reload, replace};
pub use safety::{Author, Consent, Refused};
pub use status::{
    BypassRow, Condition, GuardRow, OnTrial, PeerState, PeerStatus, Status, UncoveredRow, status,
};
pub use survey::{Survey, survey, survey_for};
pub use trial::{
    Confirmed, RolledBack, TakenBack, TrialState, confirm, roll_back_if_due, roll_back_when_due,
    trial,
};

use survey::survey_at_once;

/// Where `run` has its sockets, for root alone; systemd makes it for the unit.
pub const RUNTIME: &str = "/run/enforcer";

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
    pub fn new(pin_dir: &Path, cgroup: Option<PathBuf>) -> Result<Self> {
        Ok(Self {
            pins: PinDir::new(pin_dir)?,
            cgroup,
        })
    }

    /// The pin directory.
    pub fn pin_dir(&self) -> &Path {
        self.pins.path()
    }

    pub(crate) fn pins(&self) -> &PinDir {
        &self.pins
    }

    /// Whether anything is pinned.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn is_pinned(&self) -> Result<bool> {
        self.pins.exists()
    }

    /// What it means for a reload that the file at the default place is absent.
    ///
    /// # Errors
    /// The pins cannot be read, or are another namespace's.
    pub fn absent(&self) -> Result<Absent> {
        let Some(maps) = self.maps()? else {
            return Ok(Absent::Fragments);
        };
        let provenance = maps.provenance();
        let is_default = provenance.path.as_deref() == Some(Path::new(DEFAULT_PATH));
        Ok(if maps.state().flags & State::EMBEDDED != 0 {
            Absent::Embedded
        } else if is_default && provenance.has_main {
            Absent::Vanished
        } else {
            Absent::Fragments
        })
    }

    /// The generation in force, 0 where nothing is pinned.
    ///
    /// # Errors
    /// The pins cannot be read, or are another namespace's.
    pub fn generation(&self) -> Result<u32> {
        Ok(self.maps()?.map_or(0, |maps| maps.state().generation))
    }

    /// The registry that the policy in force was made from.
    ///
    /// # Errors
    /// As above.
    pub fn provenance(&self) -> Result<Option<Provenance>> {
        let maps = self.maps()?;
        Ok(maps.map(|maps| maps.provenance()))
    }

    /// The Unix socket on which `run` tells of drops: `/run/enforcer/COOKIE-NAME.sock`, for the
    /// network namespace and the pin directory's name.
    ///
    /// # Errors
    /// The namespace cannot be told.
    pub fn events_socket(&self) -> Result<PathBuf> {
        let name = self.pins.path().file_name().unwrap_or_default();
        let cookie = sys::netns_cookie()?;
        let name = format!("{cookie}-{}.sock", name.to_string_lossy());
        Ok(Path::new(RUNTIME).join(name))
    }

    /// Whether a `run` lives that follows the host for these pins.
    pub fn is_followed(&self) -> bool {
        let socket = self.events_socket();
        socket.is_ok_and(|socket| std::os::unix::net::UnixStream::connect(socket).is_ok())
    }

    /// Whether there is a socket guard.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn has_socket_guard(&self) -> Result<bool> {
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

    /// Makes an end of what an interrupted command left beside the pins.
    ///
    /// Where there are no pins, an `up` from nothing or a `down` was cut short: what it left takes
    /// the place of pins, so that the guards in it hold until the caller replaces or removes
    /// them. What was left beside pins has no use: they have guards of their own; nor has what a
    /// `down` had begun to remove, whose guards are gone.
    ///
    /// # Errors
    /// It is another network namespace's, or the kernel's refusal.
    fn recover(&self) -> Result<()> {
        let what = "failed to clean up after an interrupted command";
        self.pins.scratch().remove().context(what)?;
        let staging = self.pins.staging();
        if !staging.exists()? {
            return Ok(());
        }
        let is_whole = staging.has_links()? || staging.has_all_maps()?;
        match self.owner(&staging)? {
            Owner::Us if is_whole && !self.pins.exists()? => {
                self.pins.rename_from(&staging).context(what)
            }
            Owner::Us | Owner::Nobody => staging.remove().context(what),
        }
    }

    /// Whether there are guards beside the pins: a command's that is at work, or was interrupted.
    fn has_guards_beside(&self) -> Result<bool> {
        self.pins.staging().has_links()
    }

    /// Whether an interrupted command left guards beside the pins.
    pub(crate) fn is_interrupted(&self) -> Result<bool> {
        Ok(
            self.has_guards_beside()?
                && !Lock::is_taken(&self.pins)?
                && self.has_guards_beside()?,
        )
    }

    /// Whose pins these are, whatever their layout.
    ///
    /// # Errors
    /// They are another network namespace's, or it cannot be told whose; or something else than
    /// pins of an enforcer is among them.
    fn owner(&self, pins: &PinDir) -> Result<Owner> {
        pins.check()?;
        match maps::pinned_netns_cookie(pins) {
            // What a new map holds, before any guard is attached.
            Ok(0) => Ok(Owner::Nobody),
            Ok(cookie) => ensure_ours(cookie, pins).map(|()| Owner::Us),
            // The map that tells is made before the first guard, and goes after the last.
            Err(_) if !pins.has_links()? => Ok(Owner::Nobody),
            Err(why) => Err(why).with_context(|| {
                format!(
                    "it cannot be told which network namespace the pins in {} guard: take them \
                     off with the `enforcer down` of the version that made them, or remove the \
                     folder by hand",
                    pins.path().display()
                )
            }),
        }
    }

    /// Refuses pins of another network namespace.
    fn check_namespace(&self, maps: &Maps) -> Result<()> {
        ensure_ours(maps.state().netns_cookie, &self.pins)
    }
}

/// Whose pins some are, if they are not another network namespace's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The network namespace's that this process is in.
    Us,
    /// Nobody's yet: there is no guard in them.
    Nobody,
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

/// Makes sure that there is a folder for pins, as `up` and `run` do: there is a bpffs.
///
/// # Errors
/// It cannot be mounted, or is not one.
pub fn make_parent(place: &Place) -> Result<()> {
    mounts::ensure_bpffs(place.pins.parent())
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
    let ephemeral = procfs::sysctl::local_port_range()?;
    let is_wireguard = |name: &str| survey?.is_wireguard(name);
    Ok(registry::warn(registry, &ephemeral, is_wireguard))
}
