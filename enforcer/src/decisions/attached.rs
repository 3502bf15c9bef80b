//! The guards that a pin directory holds, as found on the host.

use std::collections::{BTreeMap, BTreeSet};

use crate::interfaces::Hook;

/// The wire guards of a pin directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttachedGuards {
    /// The hooks of the guards that judge their interface, by ifindex.
    pub(crate) guards: BTreeMap<u32, Hook>,
    /// The ids of the guards' programs.
    pub(crate) programs: BTreeSet<u32>,
    /// The ifindexes of guards that another tcx program runs before.
    pub(crate) behind: BTreeSet<u32>,
    /// Pinned links that guard nothing in this network namespace: their interface is gone, or is
    /// another namespace's.
    pub(crate) stale: Vec<(u32, Hook)>,
}

/// The guards of interfaces that were still down, by the pins of two directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EarlyGuards {
    /// The ifindexes of early guards in the directory in force.
    pub(crate) in_force: BTreeSet<u32>,
    /// The early guards in the directory that is reconciled, by ifindex: whether the link still
    /// guards its interface.
    pub(crate) here: BTreeMap<u32, bool>,
}
