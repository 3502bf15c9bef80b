//! The reconciler: the decisions of `run` as a state machine without I/O.
//!
//! [`Reconciler::on`] takes a trigger (an event of a watcher, or the result of an action) and
//! returns actions. An event adds a task, and a task looks at the whole, whatever the event says.
//! Events therefore merge, and the next event or retry covers a lost one.
//!
//! One task runs at a time, in this order:
//!
//! ```text
//! RollBack   the pending policy, after its deadline          RollBack
//! Inspect    the pins, and the registry in force             InspectPins, LoadRegistry
//! Edit       the registry's files                            LoadRegistry, Replace
//! Follow     the host                                        Follow
//! ```
//!
//! An edit begins with a look at the pins: the files are read under the generation that `Replace`
//! names, or under a later one. WireGuard is polled while no task is left.

mod action;
mod begun;
mod registry_file;
mod reporting;
mod results;
mod retry;
#[cfg(test)]
mod tests;
mod trigger;
mod wireguard_poll;

use std::{collections::BTreeSet, mem, rc::Rc, time::Instant};

use crate::{
    host::Keys,
    note::Note,
    registry::{MissingFile, Provenance},
};

pub(crate) use action::{Action, Operation, SharedRegistry};
pub(crate) use begun::Begun;
pub(crate) use registry_file::OwnFile;
use registry_file::RegistryFile;
use retry::RetryQueue;
pub(crate) use trigger::{
    FollowOutcome, LoadError, PinnedState, PollOutcome, Rejection, ReplaceOutcome, Trigger,
};

/// A task, in the order of execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// Roll the pending policy back.
    RollBack,
    /// Find the changes by other commands.
    Inspect,
    /// Read the registry's files, and put the registry in force.
    Edit,
    /// Bring guards and policy up to the host.
    Follow,
}

/// The operation in flight.
#[derive(Debug)]
enum InFlight {
    RollBack,
    Inspect,
    /// Read the registry in force, by the provenance of the pins.
    Adopt(Provenance),
    Edit,
    Replace(SharedRegistry),
    Follow,
}

/// The identity of the pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pins {
    generation: u32,
    directory: Option<u64>,
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Reconciler {
    /// The registry's file, whose edits are followed.
    file: RegistryFile,
    /// The meaning of a missing file at the default path, by the policy in force.
    missing: MissingFile,
    /// The registry of the policy in force, if the files still say the same.
    registry: Option<SharedRegistry>,
    /// Nobody has compared `registry` with the pins.
    registry_unknown: bool,
    /// The known pins; `None` before the first look.
    pins: Option<Pins>,
    /// The last answers of WireGuard.
    keys: Rc<Keys>,
    /// The time of the next poll of WireGuard.
    next_wg_poll: Instant,
    /// A poll runs beside the watchers.
    is_polling: bool,
    /// The notes of the last operation, reported already.
    reported: BTreeSet<Note>,
    /// The errors of the registry's files, if the files are bad.
    last_errors: Option<String>,
    /// The deadline of the pending policy.
    pending: Option<Instant>,
    /// The registry's files changed while a policy was pending.
    edit_deferred: bool,
    tasks: BTreeSet<Task>,
    in_flight: Option<InFlight>,
    retry: RetryQueue,
    /// Nothing is pinned, and `run` ends.
    stopped: bool,
    /// The actions of the current trigger.
    actions: Vec<Action>,
}

impl Reconciler {
    /// The reconciler after start-up. `own` is the registry's file of `run` itself.
    pub(crate) fn new(own: OwnFile, begun: Begun, now: Instant) -> Self {
        Self {
            file: RegistryFile::new(own),
            missing: MissingFile::Fragments,
            registry: begun.registry,
            registry_unknown: true,
            pins: None,
            keys: Rc::default(),
            next_wg_poll: now,
            is_polling: false,
            reported: BTreeSet::new(),
            last_errors: begun.errors,
            pending: None,
            edit_deferred: false,
            tasks: match begun.retry {
                true => BTreeSet::from([Task::Edit]),
                false => BTreeSet::new(),
            },
            in_flight: None,
            retry: RetryQueue::default(),
            stopped: false,
            actions: Vec::new(),
        }
    }

    /// The time of [`Trigger::DeadlineReached`], unless another trigger comes first.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let pending = self.pending.filter(|_| !self.is_rolling_back());
        let times = [pending, self.retry.at(), self.poll_deadline()];
        times.into_iter().flatten().min()
    }

    /// Takes a trigger. Returns the actions to carry out in their order.
    pub(crate) fn on(&mut self, trigger: Trigger, now: Instant) -> Vec<Action> {
        if self.stopped {
            return Vec::new();
        }
        let was_polling = mem::take(&mut self.is_polling);
        self.add_due_tasks(now);
        match trigger {
            Trigger::DeadlineReached => {}
            Trigger::Started => self.tasks.extend([Task::Inspect, Task::Follow]),
            Trigger::PinsChanged => self.add(Task::Inspect),
            Trigger::FilesChanged => self.add(Task::Edit),
            Trigger::HostChanged => {
                self.add(Task::Follow);
                if self.edit_deferred || self.registry_unknown {
                    self.add(Task::Inspect);
                }
            }
            Trigger::WireGuardPolled(outcome) if was_polling => self.polled(outcome, now),
            Trigger::WireGuardPolled(_) => {}
            result => self.finish(result, now),
        }
        self.advance(now);
        mem::take(&mut self.actions)
    }

    /// Takes the result of the action in flight. A result of any other action is ignored.
    fn finish(&mut self, result: Trigger, now: Instant) {
        match (self.in_flight.take(), result) {
            (Some(InFlight::RollBack), Trigger::RolledBack(result)) => {
                self.rolled_back(result, now);
            }
            (Some(InFlight::Inspect), Trigger::PinsInspected(result)) => {
                self.inspected(result, now);
            }
            (
                Some(InFlight::Adopt(provenance)),
                Trigger::RegistryLoaded {
                    result,
                    is_settling,
                },
            ) => self.adopted(&provenance, result, is_settling, now),
            (Some(InFlight::Edit), Trigger::RegistryLoaded { result, .. }) => {
                self.edited(result, now);
            }
            (Some(InFlight::Replace(registry)), Trigger::Replaced(outcome)) => {
                self.replaced(registry, outcome, now);
            }
            (Some(InFlight::Follow), Trigger::Followed(outcome)) => self.followed(outcome, now),
            (in_flight, _) => self.in_flight = in_flight,
        }
    }

    /// Adds the tasks whose time has come.
    fn add_due_tasks(&mut self, now: Instant) {
        if self.pending.is_some_and(|at| at <= now) && !self.is_rolling_back() {
            self.add(Task::RollBack);
        }
        for task in self.retry.take_due(now) {
            self.add(task);
        }
    }

    fn add(&mut self, task: Task) {
        self.tasks.insert(task);
        if task == Task::Edit {
            self.tasks.insert(Task::Inspect);
        }
    }

    /// Whether a rollback is in flight or about to be retried.
    fn is_rolling_back(&self) -> bool {
        matches!(self.in_flight, Some(InFlight::RollBack)) || self.retry.contains(Task::RollBack)
    }

    /// Begins the next task, unless an action is in flight.
    fn advance(&mut self, now: Instant) {
        while self.in_flight.is_none() && !self.stopped {
            let Some(task) = self.tasks.pop_first() else {
                return self.poll_if_due(now);
            };
            match task {
                Task::RollBack => self.begin(InFlight::RollBack, Operation::RollBack),
                Task::Inspect => self.begin(InFlight::Inspect, Operation::InspectPins),
                Task::Edit if self.pending.is_some() => {
                    self.edit_deferred = true;
                    self.retry.succeeded(Task::Edit);
                }
                Task::Edit => self.load_edit(),
                Task::Follow => {
                    let follow = Operation::Follow {
                        registry: self.registry.clone(),
                        generation: self.generation(),
                        keys: Rc::clone(&self.keys),
                    };
                    self.begin(InFlight::Follow, follow);
                }
            }
        }
    }

    fn begin(&mut self, in_flight: InFlight, operation: Operation) {
        self.in_flight = Some(in_flight);
        self.actions.push(Action::Run(operation));
    }

    /// The known generation; 0 before the first look.
    fn generation(&self) -> u32 {
        self.pins.map_or(0, |pins| pins.generation)
    }

    fn load_edit(&mut self) {
        let load = Operation::LoadRegistry {
            file: self.file.path().to_owned(),
            source: self.file.source(self.missing),
        };
        self.begin(InFlight::Edit, load);
    }
}
