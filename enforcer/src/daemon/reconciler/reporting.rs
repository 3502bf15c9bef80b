//! Reports of the reconciler, each of them made once.

use std::{collections::BTreeSet, mem, time::Instant};

use super::{Action, Reconciler, Task};
use crate::{
    daemon::report::{Cause, Report},
    note::{Note, NoteKind},
};

impl Reconciler {
    pub(super) fn report(&mut self, report: Report) {
        self.actions.push(Action::Report(report));
    }

    /// Reports the notes of an operation, except the notes of the operation before.
    pub(super) fn report_new(&mut self, notes: Vec<Note>) {
        let notes = BTreeSet::from_iter(notes);
        let new: Vec<Note> = notes.difference(&self.reported).cloned().collect();
        new.into_iter()
            .for_each(|note| self.report(Report::Note(note)));
        self.reported = notes;
    }

    /// Reports repairs, each time anew.
    pub(super) fn report_repairs(&mut self, notes: Vec<Note>) {
        notes
            .into_iter()
            .for_each(|note| self.report(Report::Note(note)));
    }

    /// Answers a request for a reload of files that have not changed.
    pub(super) fn report_unchanged(&mut self) {
        if mem::take(&mut self.reload_requested) {
            let text = format!(
                "the registry has not changed: generation {} stays in force",
                self.generation()
            );
            self.report(Report::note(NoteKind::RegistryUnchanged, text));
        }
    }

    /// Notes and reports a switch by this process.
    pub(super) fn switched(&mut self, generation: u32, cause: Cause) {
        if let Some(pins) = &mut self.pins {
            pins.generation = generation;
        }
        self.report(Report::InForce { generation, cause });
        self.actions.push(Action::NotifyGeneration(generation));
    }

    /// Has a failed task retried. Each reason is reported once until every task has succeeded, and
    /// the first failure of a rollback in any case.
    pub(super) fn failed(&mut self, task: Task, why: &str, now: Instant) {
        let is_first_rollback = task == Task::RollBack && !self.retry.contains(task);
        if self.retry.is_news(why) || is_first_rollback {
            let (kind, what) = match task {
                Task::RollBack => (
                    NoteKind::RollbackFailed,
                    "the pending policy cannot be rolled back",
                ),
                Task::Inspect | Task::Edit | Task::Follow => {
                    (NoteKind::Retry, "the policy in force stays as it is")
                }
            };
            let text = format!("{what}, and another attempt follows: {why}");
            self.report(Report::note(kind, text));
        }
        self.retry.failed(task, now);
    }

    /// Ends: `enforcer down` took the guards off.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.actions.push(Action::Stop);
    }
}
