//! The driver: carries out the actions of the reconciler, and sleeps on the watchers.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    pin::Pin,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::time::{sleep_until, timeout};

use super::{
    outcome,
    reconciler::{
        Action, LoadError, Operation, PollOutcome, Reconciler, ReplaceOutcome, SharedRegistry,
        Trigger,
    },
    report::Reporter,
    sd_notify,
};
use crate::{
    control::{self, Consent, Instance, Terms},
    host::{self, Keys},
    kernel::sys,
    registry::{Reader, Source, load},
    watch::{FileWatcher, Links, Modules, Pins, Settings},
};

/// The watchers of the host, of the registry's files and of the pins.
pub(super) struct Watchers {
    links: Links,
    modules: Modules,
    files: FileWatcher,
    settings: Settings,
    pins: Pins,
}

impl Watchers {
    /// Begins to watch, before the registry is read for the first time: no later change is missed.
    /// `file` is the registry's main file.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn open(instance: &Instance, file: &Path) -> Result<Self> {
        let (files, _) = FileWatcher::open(file);
        files.watches().renew(file).ok();
        Ok(Self {
            links: Links::open()?,
            modules: Modules::open()?,
            files,
            settings: Settings::open().0,
            pins: Pins::open(instance.pin_dir()).0,
        })
    }

    /// Waits for an event. A cancelled call loses no event.
    async fn event(&mut self) -> Result<Trigger> {
        tokio::select! {
            changed = self.links.changed() => changed.map(|()| Trigger::HostChanged),
            changed = self.modules.changed() => changed.map(|()| Trigger::HostChanged),
            () = self.settings.changed() => Ok(Trigger::HostChanged),
            () = self.files.changed() => Ok(Trigger::FilesChanged),
            () = self.pins.changed() => Ok(Trigger::PinsChanged),
        }
    }
}

/// The next step after all actions of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing is left to be done.
    Rest,
    /// The readers of the pins must open the pins again.
    ReopenReaders,
    /// Nothing is pinned, so `run` ends.
    Gone,
}

/// The executor of the reconciler's actions.
pub(super) struct Driver<'a> {
    pub(super) instance: &'a Instance,
    /// The consent for edits of the registry.
    pub(super) consent: Consent,
    pub(super) watchers: Watchers,
    pub(super) reconciler: Reconciler,
    pub(super) reporter: &'a Reporter<'a>,
    /// The poll of WireGuard that runs beside the watchers.
    pub(super) poll: Option<Pin<Box<dyn Future<Output = PollOutcome>>>>,
}

impl Driver<'_> {
    /// Sleeps until the next trigger. A cancelled call loses no trigger.
    ///
    /// # Errors
    /// A watcher fails.
    pub(super) async fn woken(&mut self) -> Result<Trigger> {
        let deadline = self.reconciler.deadline();
        let trigger = tokio::select! {
            event = self.watchers.event() => event?,
            () = until(deadline) => Trigger::DeadlineReached,
            outcome = answer(&mut self.poll) => Trigger::WireGuardPolled(outcome),
        };
        self.poll = None;
        Ok(trigger)
    }

    /// Hands a trigger to the reconciler, and carries out actions until the reconciler is at rest.
    pub(super) async fn settle(&mut self, trigger: Trigger) -> Next {
        let mut next = Next::Rest;
        let mut has_worked = false;
        let mut actions = VecDeque::from(self.reconciler.on(trigger, Instant::now()));
        while let Some(action) = actions.pop_front() {
            let result = match action {
                Action::Run(operation) => {
                    has_worked |= !matches!(operation, Operation::InspectPins);
                    self.carry_out(operation).await
                }
                Action::PollWireGuard { keys, limit } => match self.poll(keys, limit).await {
                    Some(outcome) => Trigger::WireGuardPolled(outcome),
                    None => continue,
                },
                Action::ReopenReaders => {
                    next = Next::ReopenReaders;
                    continue;
                }
                Action::NotifyGeneration(generation) => {
                    sd_notify::generation(generation);
                    continue;
                }
                Action::Report(report) => {
                    self.reporter.report(report);
                    continue;
                }
                Action::Stop => return Next::Gone,
            };
            actions.extend(self.reconciler.on(result, Instant::now()));
        }
        // A burst of events may have taken a hundred lists of interfaces; the sleep may be long.
        if has_worked {
            sys::trim_heap();
        }
        next
    }

    async fn carry_out(&mut self, operation: Operation) -> Trigger {
        match operation {
            Operation::InspectPins => {
                let state = outcome::pinned_state(self.instance);
                Trigger::PinsInspected(state.map_err(|error| outcome::text(&error)))
            }
            Operation::LoadRegistry { file, source } => Trigger::RegistryLoaded {
                result: self.load(file, &source),
                is_settling: self.watchers.files.is_pending(),
            },
            Operation::Replace {
                registry,
                generation,
            } => Trigger::Replaced(self.replace(&registry, generation).await),
            Operation::Follow {
                registry,
                generation,
                keys,
            } => {
                // br_netfilter brings its settings along.
                self.watchers.settings.again();
                let registry = registry.as_deref();
                let look = control::follow(self.instance, registry, generation, &keys).await;
                Trigger::Followed(outcome::followed(look))
            }
            Operation::RollBack => {
                let rolled_back = control::roll_back_if_due(self.instance).await;
                Trigger::RolledBack(outcome::rolled_back(rolled_back))
            }
        }
    }

    fn load(&mut self, file: PathBuf, source: &Source) -> Result<SharedRegistry, LoadError> {
        if file != self.watchers.files.main() {
            self.watchers.files.follow(file.clone());
        }
        // Before the files are read, so that no later change is missed.
        self.watchers.files.watches().renew(&file).ok();
        let in_force = self.instance.provenance().ok().flatten();
        let reader = Reader::STRICT.again(in_force);
        let loaded = load(source, &reader).map_err(|rejected| {
            LoadError::Rejected(outcome::rejection(rejected, !file.exists()))
        })?;
        Ok(loaded.into())
    }

    async fn replace(&self, registry: &SharedRegistry, generation: u32) -> ReplaceOutcome {
        let snapshot = host::snapshot().await;
        let warned = snapshot.and_then(|snapshot| self.reporter.warnings(registry, &snapshot));
        if let Err(error) = warned {
            return ReplaceOutcome::Failed(format!("{error:#}"));
        }
        let terms = Terms {
            confirm: None,
            consent: self.consent,
        };
        outcome::replaced(control::replace(self.instance, registry, terms, generation).await)
    }

    /// Polls WireGuard. Without a limit, the poll begins, and the outcome comes with
    /// [`Self::woken`].
    async fn poll(&mut self, keys: Rc<Keys>, limit: Option<Duration>) -> Option<PollOutcome> {
        let poll = async move {
            match keys.changed().await {
                Some(keys) => PollOutcome::Changed(keys),
                None => PollOutcome::Unchanged,
            }
        };
        let Some(limit) = limit else {
            self.poll = Some(Box::pin(poll));
            return None;
        };
        let outcome = timeout(limit, poll).await;
        Some(outcome.unwrap_or(PollOutcome::GivenUp))
    }
}

/// Waits until a time, or for ever without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for the outcome of a poll; for ever without a poll.
async fn answer(poll: &mut Option<Pin<Box<dyn Future<Output = PollOutcome>>>>) -> PollOutcome {
    match poll {
        Some(poll) => poll.await,
        None => std::future::pending().await,
    }
}
