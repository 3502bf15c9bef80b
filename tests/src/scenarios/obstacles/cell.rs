//! The cells of the fault matrix: an obstacle in a state, and the trial or the reason for none.

use anyhow::Result;

use super::trial::Trial;
use crate::lab::Feature;

/// An object that `run` needs, or uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// The registry's main file.
    Registry,
    /// The folder of fragments.
    Fragments,
    /// The cgroup2 file system.
    Cgroup2,
    /// The bpffs, and the pins there.
    Bpffs,
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The socket of the service manager.
    Notify,
    /// The lock of writers.
    Lock,
    /// The sockets of userspace WireGuard.
    Uapi,
    /// Netlink.
    Netlink,
    /// inotify.
    Inotify,
    /// The settings of the kernel.
    ProcSys,
}

impl Obstacle {
    /// All obstacles, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::Registry,
        Self::Fragments,
        Self::Cgroup2,
        Self::Bpffs,
        Self::Stderr,
        Self::Stdout,
        Self::Notify,
        Self::Lock,
        Self::Uapi,
        Self::Netlink,
        Self::Inotify,
        Self::ProcSys,
    ];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Fragments => "fragment folder",
            Self::Cgroup2 => "cgroup2",
            Self::Bpffs => "bpffs",
            Self::Stderr => "stderr",
            Self::Stdout => "stdout",
            Self::Notify => "notify socket",
            Self::Lock => "lock",
            Self::Uapi => "UAPI socket",
            Self::Netlink => "netlink",
            Self::Inotify => "inotify",
            Self::ProcSys => "/proc/sys",
        }
    }
}

/// The state of an obstacle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Never there.
    Absent,
    /// No answer, neither success nor failure.
    Hangs,
    /// No room.
    Full,
    /// Another user's, or writable by others.
    Foreign,
    /// Content without a meaning.
    Garbage,
    /// Gone while `run` lives.
    Vanishes,
    /// Gone while `run` lives, and there again later.
    Returns,
}

impl State {
    /// All states, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Absent,
        Self::Hangs,
        Self::Full,
        Self::Foreign,
        Self::Garbage,
        Self::Vanishes,
        Self::Returns,
    ];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Hangs => "hangs",
            Self::Full => "full",
            Self::Foreign => "wrong owner",
            Self::Garbage => "garbage",
            Self::Vanishes => "vanishes",
            Self::Returns => "comes back",
        }
    }
}

/// A cell.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// The obstacle.
    pub obstacle: Obstacle,
    /// Its state.
    pub state: State,
    /// The scenario's name behind `obstacles::`, or nothing.
    pub name: &'static str,
    /// The manner in which the obstacle is made, or the reason for no trial.
    pub made: &'static str,
    /// The trial, if there is one.
    pub body: Option<fn(&mut Trial<'_>) -> Result<()>>,
    /// The ports under attack.
    pub ports: &'static [u16],
    /// Whether other scenarios would suffer.
    pub alone: bool,
    /// Whether guests try the cell too.
    pub in_guests: bool,
    /// The feature of the kernel by which the obstacle is made, if not every kernel has it.
    pub needs: Option<Feature>,
}

/// The port of the main file, registered by the built-in registry too.
pub(super) const MAIN: u16 = 9200;
/// The port of a fragment.
pub(super) const FRAGMENT: u16 = 27017;

impl Cell {
    /// A cell with a trial.
    pub const fn tried(
        obstacle: Obstacle,
        state: State,
        name: &'static str,
        made: &'static str,
        body: fn(&mut Trial<'_>) -> Result<()>,
    ) -> Self {
        Self {
            obstacle,
            state,
            name,
            made,
            body: Some(body),
            ports: &[MAIN],
            alone: false,
            in_guests: false,
            needs: None,
        }
    }

    /// A cell without a trial, for a reason.
    pub const fn left_out(obstacle: Obstacle, state: State, why: &'static str) -> Self {
        Self {
            obstacle,
            state,
            name: "",
            made: why,
            body: None,
            ports: &[],
            alone: false,
            in_guests: false,
            needs: None,
        }
    }

    /// The same for kernels with a feature.
    pub const fn needing(self, feature: Feature) -> Self {
        Self {
            needs: Some(feature),
            ..self
        }
    }

    /// The same with other ports under attack.
    pub const fn against(self, ports: &'static [u16]) -> Self {
        Self { ports, ..self }
    }

    /// The same without another scenario beside.
    pub const fn alone(self) -> Self {
        Self {
            alone: true,
            ..self
        }
    }

    /// The same in guests too.
    pub const fn in_guests(self) -> Self {
        Self {
            in_guests: true,
            ..self
        }
    }
}
