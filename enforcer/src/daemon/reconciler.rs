//! The reconciler: the decisions of `run` as a state machine without I/O.
//!
//! [`Reconciler::on`] takes a trigger (an event of a watcher, or the result of an action) and
//! returns actions. An event adds a task, and a task looks at the whole, whatever the event says.
//! Events therefore merge, and the next event or retry covers a lost one.
//!
//! One task runs at a time, in this order; a task that is added again waits for its next turn:
//!
//! ```text
//! RollBack   the pending policy, after its deadline          RollBack
//! Inspect    the pins, and the registry in force             InspectPins, a read
//! Edit       the registry's files                            a read, Replace
//! Follow     the host                                        Follow
//! ```
//!
//! An edit begins with a look at the pins: the files are read under the generation that `Replace`
//! names, or under a later one. A read and a poll of WireGuard may take for ever, so both run
//! beside the operations. A look at pins and guards every [`LOOK`] covers the changes that no
//! watcher tells: a guard that was taken off, for example.

mod action;
mod begun;
mod reading;
mod registry_file;
mod reporting;
mod results;
mod retry;
mod tasks;
#[cfg(test)]
mod tests;
mod trigger;
mod wireguard_poll;

use std::{
    collections::BTreeSet,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{host::Keys, note::Note, registry::MissingFile};

pub(crate) use action::{Action, Operation, SharedRegistry};
pub(crate) use begun::Begun;
use reading::{Purpose, Reading};
pub(crate) use registry_file::OwnFile;
use registry_file::RegistryFile;
use retry::RetryQueue;
use tasks::Tasks;
pub(crate) use trigger::{
    FollowOutcome, LoadError, PinnedState, PollOutcome, Rejection, ReplaceOutcome, Trigger,
};

/// The time between two looks at pins and guards without an event. A lost guard is back within 30
/// seconds, the time of a look included.
const LOOK: Duration = Duration::from_secs(25);

/// The time after which READY is said again to a service manager whose queue was full.
const READY_AGAIN: Duration = Duration::from_millis(500);

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
    /// A read that operations wait for.
    Read,
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
    keys: Arc<Keys>,
    /// The time of the next poll of WireGuard.
    next_wg_poll: Instant,
    /// The poll without a result so far, by the answers that it compares with.
    polled: Option<Arc<Keys>>,
    /// A poll has ended.
    has_polled: bool,
    /// The read without a result so far.
    reading: Option<Reading>,
    /// The tasks that wait for the end of the read.
    after_reading: BTreeSet<Task>,
    /// The result of a read that came when operations went on already.
    late_edit: Option<Result<SharedRegistry, LoadError>>,
    /// The time of the next look without an event.
    next_look: Instant,
    /// The guards hold, and the service manager has been told.
    is_ready: bool,
    /// The time of the next READY, after one that the service manager did not take.
    next_ready: Option<Instant>,
    /// An operator waits for the answer to SIGHUP.
    reload_requested: bool,
    /// The notes of the last operation, reported already.
    reported: BTreeSet<Note>,
    /// The errors of the registry's files, if the files are bad.
    last_errors: Option<String>,
    /// The deadline of the pending policy.
    pending: Option<Instant>,
    /// The registry's files changed while a policy was pending.
    edit_deferred: bool,
    tasks: Tasks,
    in_flight: Option<InFlight>,
    retry: RetryQueue,
    /// `enforcer down` took the guards off, and `run` ends.
    stopped: bool,
    /// The actions of the current trigger.
    actions: Vec<Action>,
}

impl Reconciler {
    /// The reconciler after start-up. `own` is the registry's file of `run` itself.
    pub(crate) fn new(own: OwnFile, begun: Begun, now: Instant) -> Self {
        let mut reconciler = Self {
            file: RegistryFile::new(own),
            missing: MissingFile::Fragments,
            registry: begun.registry,
            registry_unknown: true,
            pins: None,
            keys: Arc::default(),
            next_wg_poll: now,
            polled: None,
            has_polled: false,
            reading: begun.is_loading.then(|| Reading::of_start(now)),
            after_reading: BTreeSet::new(),
            late_edit: None,
            next_look: now + LOOK,
            is_ready: false,
            next_ready: None,
            reload_requested: false,
            reported: BTreeSet::new(),
            last_errors: begun.errors,
            pending: None,
            edit_deferred: false,
            tasks: Tasks::default(),
            in_flight: None,
            retry: RetryQueue::default(),
            stopped: false,
            actions: Vec::new(),
        };
        if begun.retry {
            reconciler.tasks.add(Task::Edit);
        }
        reconciler
    }

    /// The time of [`Trigger::DeadlineReached`], unless another trigger comes first.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let work = self.work_deadline();
        Some(work.map_or(self.next_look, |at| at.min(self.next_look)))
    }

    /// The time of the next step of work that is known now.
    fn work_deadline(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let pending = self.pending.filter(|_| !self.is_rolling_back());
        let times = [
            pending,
            self.retry.at(),
            self.poll_deadline(),
            self.reading_deadline(),
            self.next_ready,
        ];
        times.into_iter().flatten().min()
    }

    /// Takes a trigger. Returns the actions to carry out in their order.
    pub(crate) fn on(&mut self, trigger: Trigger, now: Instant) -> Vec<Action> {
        if self.stopped {
            return Vec::new();
        }
        self.add_due_tasks(now);
        self.tire_of_reading(now);
        match trigger {
            Trigger::DeadlineReached => {}
            Trigger::Started => [Task::Inspect, Task::Follow]
                .into_iter()
                .for_each(|task| self.add(task)),
            Trigger::PinsChanged => self.add(Task::Inspect),
            Trigger::FilesChanged => {
                self.late_edit = None;
                self.add(Task::Edit);
            }
            Trigger::MountsChanged => self.look(now),
            Trigger::ReloadRequested => self.reload(),
            Trigger::HostChanged => {
                self.add(Task::Follow);
                if self.edit_deferred || self.registry_unknown {
                    self.add(Task::Inspect);
                }
            }
            Trigger::WireGuardPolled(outcome) => self.polled(outcome, now),
            Trigger::RegistryLoaded {
                result,
                is_settling,
            } => self.loaded(result, is_settling, now),
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
        if self.next_look <= now {
            self.look(now);
        }
        if self.next_ready.take_if(|at| *at <= now).is_some() {
            self.actions.push(Action::RepeatReady);
        }
    }

    /// Takes the loss of READY, without which a service manager ends `run` after its start limit. A
    /// full queue is tried again within a second, any other failure with the next look.
    pub(crate) fn ready_lost(&mut self, is_full: bool, now: Instant) {
        let at = match is_full {
            true => now + READY_AGAIN,
            false => self.next_look,
        };
        self.next_ready = Some(at);
    }

    /// Looks at pins and guards.
    fn look(&mut self, now: Instant) {
        self.next_look = now + LOOK;
        self.add(Task::Inspect);
        // What was amiss may have become possible.
        if !self.reported.is_empty() {
            self.add(Task::Follow);
        }
    }

    /// Reads the files, and asks the host and WireGuard anew.
    fn reload(&mut self) {
        self.reload_requested = true;
        self.late_edit = None;
        self.forget_keys();
        self.add(Task::Edit);
        self.add(Task::Follow);
    }

    fn add(&mut self, task: Task) {
        match task {
            Task::Edit => self.tasks.add_after(Task::Inspect, Task::Edit),
            task => self.tasks.add(task),
        }
    }

    /// Whether a rollback is in flight or about to be retried.
    fn is_rolling_back(&self) -> bool {
        matches!(self.in_flight, Some(InFlight::RollBack)) || self.retry.contains(Task::RollBack)
    }

    /// Begins the next task, unless an action is in flight.
    fn advance(&mut self, now: Instant) {
        while self.in_flight.is_none() && !self.stopped {
            // Neither waits for tasks that come again and again.
            if self.tasks.is_round_over() {
                self.poll_if_due(now);
                self.notify_ready();
            }
            let Some(task) = self.tasks.take() else {
                return;
            };
            match task {
                Task::RollBack => self.begin(InFlight::RollBack, Operation::RollBack),
                Task::Inspect => self.begin(InFlight::Inspect, Operation::InspectPins),
                Task::Edit if self.pending.is_some() => {
                    self.edit_deferred = true;
                    self.late_edit = None;
                    self.retry.succeeded(Task::Edit);
                }
                Task::Edit => match self.late_edit.take() {
                    Some(result) => self.edited(result, now),
                    None => self.load_edit(now),
                },
                Task::Follow => {
                    let follow = Operation::Follow {
                        registry: self.registry.clone(),
                        generation: self.generation(),
                        keys: Arc::clone(&self.keys),
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

    fn load_edit(&mut self, now: Instant) {
        let source = self.file.source(self.missing);
        self.read(Purpose::Edit, source, now);
    }

    /// Says that `run` is ready: the first look is done, and WireGuard has answered or had its time.
    fn notify_ready(&mut self) {
        if !self.is_ready && (self.has_polled || !self.keys.is_incomplete()) {
            self.is_ready = true;
            self.actions.push(Action::NotifyReady);
        }
    }
}
