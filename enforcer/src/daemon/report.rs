//! Reports of `run`: facts for the operator, to be turned into words by `commands`.

use std::{cell::RefCell, sync::Arc};

use crate::{
    control,
    host::HostSnapshot,
    inspect::Status,
    note::{Note, NoteKind},
    registry::{Diagnostics, Loaded, Origin},
};

/// A report of `run`.
#[derive(Debug)]
pub enum Report {
    /// A note for the operator.
    Note(Note),
    /// The errors or the warnings of a registry.
    Diagnostics(Diagnostics),
    /// Another generation is in force.
    InForce {
        /// The generation.
        generation: u32,
        /// The reason for the switch.
        cause: Cause,
    },
    /// The state right after start-up.
    Status(Box<Status>),
    /// A line of the eBPF programs' own log, under `--bpf-log`.
    ProgramLog(String),
}

impl Report {
    /// The report of a note.
    pub(super) fn note(kind: NoteKind, text: impl Into<String>) -> Self {
        Self::Note(Note::new(kind, text))
    }
}

/// The reason for a switch to another generation.
#[derive(Clone, Debug)]
pub enum Cause {
    /// The host has changed.
    Host,
    /// The registry has changed, to this one.
    Registry(Arc<Loaded>),
}

/// The receiver of reports, shared by the driver and the tasks beside the driver.
pub(super) struct Reporter<'a>(RefCell<&'a mut dyn FnMut(Report)>);

impl<'a> Reporter<'a> {
    pub(super) fn new(receiver: &'a mut dyn FnMut(Report)) -> Self {
        Self(RefCell::new(receiver))
    }

    pub(super) fn report(&self, report: Report) {
        (self.0.borrow_mut())(report);
    }

    pub(super) fn note(&self, kind: NoteKind, text: impl Into<String>) {
        self.report(Report::note(kind, text));
    }

    /// Reports the warnings of a registry.
    pub(super) fn warnings(&self, loaded: &Loaded, snapshot: Option<&HostSnapshot>) {
        let mut warnings = loaded.warnings.clone();
        // The host's ephemeral ports may be out of reach.
        let of_host = control::host_warnings(&loaded.registry, snapshot);
        warnings.extend(of_host.unwrap_or_default());
        if !warnings.is_empty() {
            self.report(Report::Diagnostics(warnings));
        }
        if matches!(loaded.origin, Origin::Embedded) {
            self.note(
                NoteKind::RegistryEmbedded,
                "there is no registry file: the embedded default applies",
            );
        }
    }
}
