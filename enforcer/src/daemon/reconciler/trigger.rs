//! Inputs of the reconciler: events of the watchers, and results of the reconciler's own actions.

use std::time::Duration;

use super::SharedRegistry;
use crate::{
    host::Keys,
    note::Note,
    registry::{Diagnostics, MissingFile, Provenance},
};

/// An input of the reconciler.
#[derive(Debug)]
pub(crate) enum Trigger {
    /// `run` is ready.
    Started,
    /// Interfaces, modules or settings of the host may have changed.
    HostChanged,
    /// The registry's files may have changed.
    FilesChanged,
    /// Another command may have changed the pins.
    PinsChanged,
    /// File systems were mounted or unmounted: those of the pins and of the cgroups perhaps.
    MountsChanged,
    /// An operator asks for a reload, by SIGHUP.
    ReloadRequested,
    /// The time of [`super::Reconciler::deadline`] has come.
    DeadlineReached,
    /// The result of [`super::Operation::InspectPins`]; `None` if `enforcer down` took the guards
    /// off.
    PinsInspected(Result<Option<PinnedState>, String>),
    /// The result of [`super::Action::LoadRegistry`].
    RegistryLoaded {
        /// The registry, or the reason why there is none.
        result: Result<SharedRegistry, LoadError>,
        /// The files changed, and [`Self::FilesChanged`] follows once they are left alone.
        is_settling: bool,
    },
    /// The result of [`super::Operation::Replace`].
    Replaced(ReplaceOutcome),
    /// The result of [`super::Operation::Follow`].
    Followed(FollowOutcome),
    /// The result of [`super::Operation::RollBack`]: notes, if there was a rollback.
    RolledBack(Result<Option<Vec<Note>>, String>),
    /// The result of [`super::Action::PollWireGuard`].
    WireGuardPolled(PollOutcome),
}

/// The pinned state at one moment.
#[derive(Clone, Debug)]
pub(crate) struct PinnedState {
    /// The generation in force.
    pub(crate) generation: u32,
    /// The inode of the pin directory, which every `up` makes anew.
    pub(crate) directory: Option<u64>,
    /// The time left to confirm the pending policy, if a policy is pending.
    pub(crate) pending: Option<Duration>,
    /// The registry of the policy in force.
    pub(crate) provenance: Provenance,
    /// The meaning of a missing file at the default path.
    pub(crate) missing: MissingFile,
    /// A guard was found detached since the last look.
    pub(crate) has_lost_guard: bool,
    /// Notes of repairs.
    pub(crate) notes: Vec<Note>,
}

/// The reason why a registry was not loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The registry is bad.
    Rejected(Rejection),
    /// The files cannot be watched.
    Failed(String),
}

/// A bad registry.
#[derive(Debug)]
pub(crate) struct Rejection {
    /// The errors, for the operator.
    pub(crate) errors: Diagnostics,
    /// The errors in plain text, to be compared.
    pub(crate) text: String,
    /// The main file does not exist.
    pub(crate) is_missing: bool,
}

/// The result of a reload by `run`.
#[derive(Debug)]
pub(crate) enum ReplaceOutcome {
    /// The registry is in force.
    InForce {
        /// The generation.
        generation: u32,
        /// Notes for the operator.
        notes: Vec<Note>,
        /// Warnings about the registry on this host.
        warnings: Diagnostics,
    },
    /// The generation is not the known one: another command was at work.
    Foreign,
    /// Nothing is pinned.
    Gone,
    /// A policy awaits confirmation.
    Pending,
    /// The change would cut off an operator.
    Refused(String),
    /// The registry was pending and was rolled back.
    AlreadyRolledBack(String),
    /// A failure that may pass.
    Failed(String),
}

/// The result of a look at the host.
#[derive(Debug)]
pub(crate) enum FollowOutcome {
    /// Guards and policy fit the host.
    Done {
        /// The new generation, if the policy had to change.
        switched_to: Option<u32>,
        /// Notes for the operator.
        notes: Vec<Note>,
        /// The answers of WireGuard, if a device was asked.
        keys: Option<Keys>,
    },
    /// The generation is not the known one: another command was at work, or a rollback was due,
    /// with these notes.
    Foreign(Vec<Note>),
    /// Nothing is pinned.
    Gone,
    /// A failure that may pass.
    Failed(String),
}

/// The result of a poll of WireGuard.
#[derive(Debug)]
pub(crate) enum PollOutcome {
    /// The answers differ from the known ones.
    Changed(Keys),
    /// The answers are the known ones.
    Unchanged,
}
