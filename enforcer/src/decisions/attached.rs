//! The guards of a pin directory, as found on the host.

use std::collections::{BTreeMap, BTreeSet};

use super::reconcile::AttachReport;
use crate::{
    host::HostSnapshot,
    interfaces::Hook,
    note::{Note, NoteKind},
};

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

impl AttachedGuards {
    /// Returns a note for each interface that had lost its guard and has a guard again: another
    /// program detached the link, for example.
    pub(crate) fn restored(&self, report: &AttachReport, snapshot: &HostSnapshot) -> Vec<Note> {
        let lost = self.stale.iter().map(|(ifindex, _)| *ifindex);
        let lost = lost.filter(|ifindex| !self.guards.contains_key(ifindex));
        let restored = lost.filter(|ifindex| report.guards.contains_key(ifindex));
        let interfaces = restored.filter_map(|ifindex| snapshot.by_index(ifindex));
        let note = |name: &str| {
            let text = format!(
                "{name} had lost its guard to another program than `enforcer`, and is guarded again"
            );
            Note::new(NoteKind::GuardRestored, text).on(name)
        };
        interfaces.map(|interface| note(&interface.name)).collect()
    }
}

/// The guards of interfaces not up yet, by the pins of two directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EarlyGuards {
    /// The ifindexes of early guards in the directory in force.
    pub(crate) in_force: BTreeSet<u32>,
    /// The early guards in the reconciled directory, by ifindex: whether the link still works.
    pub(crate) here: BTreeMap<u32, bool>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{interfaces::Interface, wireguard::Answer};

    #[test]
    fn an_interface_that_lost_its_guard_is_told() {
        let interface = |index, name: &str| {
            let interface = Interface {
                index,
                name: name.to_owned(),
                ..Interface::default()
            };
            (interface, Answer::NotWireGuard)
        };
        let snapshot = HostSnapshot::of(vec![interface(2, "eth0"), interface(3, "eth1")]);
        let attached = AttachedGuards {
            guards: BTreeMap::from([(3, Hook::Tcx)]),
            // eth1 changed its hook, and ifindex 4 has left.
            stale: vec![(2, Hook::Tcx), (3, Hook::XdpNative), (4, Hook::Tcx)],
            ..AttachedGuards::default()
        };
        let told = |guards: &[u32]| -> Vec<Option<String>> {
            let report = AttachReport {
                guards: guards.iter().map(|ifindex| (*ifindex, Hook::Tcx)).collect(),
                ..AttachReport::default()
            };
            let notes = attached.restored(&report, &snapshot).into_iter();
            notes.map(|note| note.interface).collect()
        };
        assert_eq!(told(&[2, 3]), [Some("eth0".to_owned())]);
        assert_eq!(told(&[3]), []);
    }
}
