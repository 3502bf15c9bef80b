//! Results of operations: new knowledge, reports and further tasks.

use std::{mem, sync::Arc, time::Instant};

use super::{
    Action, FollowOutcome, InFlight, LoadError, Operation, PinnedState, Pins, Purpose, Reconciler,
    Rejection, ReplaceOutcome, SharedRegistry, Task, registry_file,
};
use crate::{
    daemon::report::{Cause, Report},
    note::{Note, NoteKind},
    registry::{Provenance, Source},
};

impl Reconciler {
    pub(super) fn rolled_back(&mut self, result: Result<Option<Vec<Note>>, String>, now: Instant) {
        match result {
            Ok(notes) => {
                self.pending = None;
                notes.into_iter().for_each(|notes| self.report_new(notes));
                self.retry.succeeded(Task::RollBack);
                self.add(Task::Inspect);
            }
            Err(why) => self.failed(Task::RollBack, &why, now),
        }
    }

    pub(super) fn inspected(&mut self, result: Result<Option<PinnedState>, String>, now: Instant) {
        let state = match result {
            Ok(Some(state)) => state,
            Ok(None) => return self.stop(),
            Err(why) => {
                self.failed(Task::Inspect, &why, now);
                if self.tasks.remove(Task::Edit) {
                    self.retry.failed(Task::Edit, now);
                }
                return;
            }
        };
        self.missing = state.missing;
        self.report_repairs(state.notes);
        if state.has_lost_guard {
            self.add(Task::Follow);
        }
        let pending = state.pending.map(|left| now + left);
        let was_pending = mem::replace(&mut self.pending, pending).is_some();
        if pending.is_none() {
            if was_pending {
                // The host may have changed in the meantime.
                self.add(Task::Follow);
            }
            if mem::take(&mut self.edit_deferred) {
                self.tasks.add(Task::Edit);
            }
        }
        let pins = Pins {
            generation: state.generation,
            directory: state.directory,
        };
        let before = self.pins.replace(pins);
        if before == Some(pins) && !self.registry_unknown {
            return self.retry.succeeded(Task::Inspect);
        }
        if before.is_some_and(|before| before.directory != pins.directory) {
            self.actions.push(Action::ReopenReaders);
        }
        self.actions.push(Action::NotifyGeneration(pins.generation));
        // The other command has asked WireGuard later than this process.
        self.forget_keys();
        self.add(Task::Follow);
        self.adopt(state.provenance, now);
    }

    /// Finds the registry in force, perhaps another command's.
    fn adopt(&mut self, provenance: Provenance, now: Instant) {
        let is_known = |registry: &SharedRegistry| registry.provenance.has_same_text(&provenance);
        self.registry = self.registry.take().filter(is_known);
        self.registry_unknown = self.registry.is_none();
        if !self.registry_unknown {
            return self.retry.succeeded(Task::Inspect);
        }
        self.file.follow(&provenance);
        let source = Source::in_force(&provenance);
        self.read(Purpose::Adopt(provenance), source, now);
    }

    pub(super) fn adopted(
        &mut self,
        wanted: &Provenance,
        result: Result<SharedRegistry, LoadError>,
        is_settling: bool,
        now: Instant,
    ) {
        match result {
            Err(LoadError::Failed(why)) => return self.failed(Task::Inspect, &why, now),
            Ok(registry) if registry.provenance.has_same_text(wanted) => {
                self.registry = Some(registry);
            }
            // The edit will be applied in a moment, and ends the difference.
            _ if is_settling || self.tasks.contains(Task::Edit) => {}
            _ => self.report(registry_file::changed_since(wanted)),
        }
        self.registry_unknown = false;
        self.retry.succeeded(Task::Inspect);
    }

    pub(super) fn edited(&mut self, result: Result<SharedRegistry, LoadError>, now: Instant) {
        let registry = match result {
            Ok(registry) => registry,
            Err(LoadError::Failed(why)) => return self.failed(Task::Edit, &why, now),
            // Another command's file was moved away, if need be into the place of the own file.
            Err(LoadError::Rejected(rejection))
                if rejection.is_missing && self.file.is_others() =>
            {
                self.file.follow_own();
                return self.load_edit(now);
            }
            Err(LoadError::Rejected(rejection)) => {
                self.rejected(rejection);
                return self.retry.succeeded(Task::Edit);
            }
        };
        self.last_errors = None;
        let in_force = self.registry.as_ref().map(|registry| &registry.provenance);
        if in_force == Some(&registry.provenance) {
            self.report_unchanged();
            return self.retry.succeeded(Task::Edit);
        }
        let replace = Operation::Replace {
            registry: registry.clone(),
            generation: self.generation(),
        };
        self.begin(InFlight::Replace(registry), replace);
    }

    fn rejected(&mut self, rejection: Rejection) {
        if self.last_errors.as_ref() == Some(&rejection.text) {
            return;
        }
        self.report(Report::Diagnostics(rejection.errors));
        let text = "the registry is bad: the policy in force stays";
        self.report(Report::note(NoteKind::RegistryBad, text));
        self.last_errors = Some(rejection.text);
    }

    pub(super) fn replaced(
        &mut self,
        registry: SharedRegistry,
        outcome: ReplaceOutcome,
        now: Instant,
    ) {
        match outcome {
            ReplaceOutcome::InForce {
                generation,
                notes,
                warnings,
            } => {
                self.reload_requested = false;
                if !warnings.is_empty() {
                    self.report(Report::Diagnostics(warnings));
                }
                self.switched(generation, Cause::Registry(Arc::clone(&registry.0)));
                self.report_new(notes);
                self.file.follow(&registry.provenance);
                self.registry = Some(registry);
                self.registry_unknown = false;
                // The reload has asked WireGuard later than this process.
                self.forget_keys();
                self.add(Task::Follow);
            }
            // The other command may have read the files later than this process.
            ReplaceOutcome::Foreign => {
                self.tasks.give_back(Task::Edit);
                return self.add(Task::Edit);
            }
            // The look at the pins tells why.
            ReplaceOutcome::Gone => {
                self.add(Task::Inspect);
                return self.retry.failed(Task::Edit, now);
            }
            ReplaceOutcome::Pending => {
                self.edit_deferred = true;
                self.add(Task::Inspect);
            }
            // No retry: a registry that cuts off an SSH session must not come into force after the
            // session's end, because then no operator could come back.
            ReplaceOutcome::Refused(why) | ReplaceOutcome::AlreadyRolledBack(why) => {
                let text = format!("the policy in force stays: {why}");
                self.report(Report::note(NoteKind::RegistryRefused, text));
            }
            ReplaceOutcome::Failed(why) => return self.failed(Task::Edit, &why, now),
        }
        self.retry.succeeded(Task::Edit);
    }

    pub(super) fn followed(&mut self, outcome: FollowOutcome, now: Instant) {
        match outcome {
            FollowOutcome::Done {
                switched_to,
                notes,
                keys,
            } => {
                if let Some(keys) = keys {
                    self.learn_keys(keys, now);
                }
                if let Some(generation) = switched_to {
                    self.switched(generation, Cause::Host);
                }
                self.report_new(notes);
            }
            FollowOutcome::Foreign(notes) => {
                self.report_new(notes);
                self.add(Task::Inspect);
            }
            FollowOutcome::Gone => {
                self.add(Task::Inspect);
                return self.retry.failed(Task::Follow, now);
            }
            FollowOutcome::Failed(why) => return self.failed(Task::Follow, &why, now),
        }
        self.retry.succeeded(Task::Follow);
    }
}
