//! The guards of a pin directory, as found on the host.

use std::collections::{BTreeMap, BTreeSet};

use crate::interfaces::Hook;

/// The wire guards of a pin directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttachedGuards {
    /// The hooks of the working guards, by ifindex.
    pub(crate) guards: BTreeMap<u32, Hook>,
    /// The ids of the guards' programs.
    pub(crate) programs: BTreeSet<u32>,
    /// The ifindexes of guards behind another tcx program.
    pub(crate) behind: BTreeSet<u32>,
    /// Pinned links without effect in this network namespace: the interface has left.
    pub(crate) stale: Vec<(u32, Hook)>,
}

/// The guards of interfaces not up yet, by the pins of two directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EarlyGuards {
    /// The ifindexes of early guards in the directory in force.
    pub(crate) in_force: BTreeSet<u32>,
    /// The early guards in the reconciled directory, by ifindex: whether the link still works.
    pub(crate) here: BTreeMap<u32, bool>,
}
