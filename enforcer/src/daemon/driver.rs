//! The driver: hands the reconciler's actions to threads, and sleeps on watchers and results.
//!
//! The loop of `run` waits for nothing else: operations, reads of the registry and the report of the
//! state have a thread each. Polls of WireGuard are a future of the loop, because a thread would
//! be woken each second.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::time::sleep_until;

use super::{
    operations::Operations,
    outcome,
    reader::{Answer, RegistryReader, Request},
    reconciler::{Action, Operation, PollOutcome, Reconciler, Trigger},
    report::{Report, Reporter},
    sd_notify::ServiceManager,
    worker::Worker,
};
use crate::{
    control::{Error, Instance},
    host::Keys,
    inspect::{self, Status},
    kernel::{privileges, sys},
    note::NoteKind,
    watch::{Links, Modules, Mounts, Pins, Settings, Steady},
};

/// The time after which an operation counts as hung: the watchdog of the service manager is told
/// nothing then.
pub(super) const HUNG: Duration = Duration::from_secs(60);

/// The watchers of the host and of the pins.
pub(super) struct Watchers {
    links: Steady<Links>,
    modules: Steady<Modules>,
    settings: Steady<Settings>,
    pins: Steady<Pins>,
    mounts: Steady<Mounts>,
}

impl Watchers {
    /// Begins to watch.
    pub(super) fn open(instance: &Instance) -> Self {
        let pin_dir = instance.pin_dir().to_owned();
        Self {
            links: Steady::new(Links::open),
            modules: Steady::new(Modules::open),
            settings: Steady::new(Settings::watch),
            pins: Steady::new(move || Pins::watch(&pin_dir)),
            mounts: Steady::new(Mounts::open),
        }
    }

    /// Waits for an event. Also returns the failure of a watcher. A cancelled call loses nothing.
    async fn event(&mut self) -> (Trigger, Option<anyhow::Error>) {
        tokio::select! {
            failure = self.links.changed() => (Trigger::HostChanged, failure),
            failure = self.modules.changed() => (Trigger::HostChanged, failure),
            failure = self.settings.changed() => (Trigger::HostChanged, failure),
            failure = self.pins.changed() => (Trigger::PinsChanged, failure),
            failure = self.mounts.changed() => (Trigger::MountsChanged, failure),
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
    /// `enforcer down` took the guards off, so `run` ends.
    Gone,
}

/// A poll of WireGuard.
type Poll = Pin<Box<dyn Future<Output = PollOutcome>>>;

/// The result of a thread.
enum Woken {
    By(Trigger),
    Status(Box<Result<Status, Error>>),
    /// A watcher fails.
    Failure(anyhow::Error),
}

/// The threads behind the loop.
pub(super) struct Threads {
    pub(super) operations: Worker<Operation, Trigger>,
    /// The state, which takes a second where a device of WireGuard hangs.
    pub(super) status: Worker<(), Box<Result<Status, Error>>>,
    pub(super) reader: RegistryReader,
    /// This thread may have a reserve of capabilities, for the thread of operations to inherit.
    has_reserve: bool,
}

impl Threads {
    /// Starts the threads. A thread that the kernel refuses is reported, and started later.
    pub(super) fn start(
        reader: RegistryReader,
        mut operations: Operations,
        reporter: &Reporter<'_>,
    ) -> Self {
        let instance = operations.instance.clone();
        let operations = Worker::start(
            "operations",
            || (),
            move |operation, runtime| runtime.block_on(operations.carry_out(operation)),
        );
        let threads = Self {
            operations,
            has_reserve: true,
            status: Worker::start("status", privileges::give_up_reserve, move |(), runtime| {
                let status =
                    Box::new(runtime.block_on(inspect::status_after_change(&instance, None)));
                // The tables take megabytes for a moment, and the sleep may be long.
                sys::trim_heap();
                status
            }),
            reader,
        };
        let refusals = [threads.operations.refusal(), threads.status.refusal()];
        for error in refusals.into_iter().flatten() {
            let text = format!("{error:#}: the guards hold, and another attempt follows");
            reporter.note(NoteKind::Obstacle, text);
        }
        threads
    }

    /// Waits for the result of a thread. A cancelled call loses no result.
    async fn result(&mut self) -> Result<Woken> {
        // The thread of operations alone can mount a bpffs.
        if self.has_reserve && self.operations.refusal().is_none() {
            self.has_reserve = false;
            privileges::give_up_reserve();
        }
        Ok(Woken::By(tokio::select! {
            result = self.operations.answer() => result?,
            status = self.status.answer() => return Ok(Woken::Status(status?)),
            answer = self.reader.answer() => match answer? {
                Answer::Changed => Trigger::FilesChanged,
                Answer::Unwatched(error) => return Ok(Woken::Failure(error)),
                Answer::Loaded { result, is_settling } => {
                    Trigger::RegistryLoaded { result, is_settling }
                }
            },
        }))
    }
}

/// The executor of the reconciler's actions.
pub(super) struct Driver<'a> {
    pub(super) watchers: Watchers,
    pub(super) threads: Threads,
    pub(super) reconciler: Reconciler,
    pub(super) reporter: &'a Reporter<'a>,
    pub(super) manager: &'a ServiceManager,
    /// The poll of WireGuard without an outcome so far.
    pub(super) poll: Option<Poll>,
}

impl Driver<'_> {
    /// Sleeps until the next trigger. A cancelled call loses no trigger.
    ///
    /// # Errors
    /// A thread has ended.
    pub(super) async fn woken(&mut self) -> Result<Trigger> {
        let deadline = self.reconciler.deadline();
        loop {
            let woken = tokio::select! {
                (trigger, failure) = self.watchers.event() => {
                    if let Some(error) = failure {
                        self.report_failure(&error);
                    }
                    return Ok(trigger);
                }
                result = self.threads.result() => result?,
                () = until(deadline) => return Ok(Trigger::DeadlineReached),
                outcome = outcome(&mut self.poll) => {
                    self.poll = None;
                    return Ok(Trigger::WireGuardPolled(outcome));
                }
            };
            match woken {
                Woken::By(trigger) => return Ok(trigger),
                Woken::Status(status) => self.report_status(*status),
                Woken::Failure(error) => self.report_failure(&error),
            }
        }
    }

    /// Hands a trigger to the reconciler, and begins the actions. Never blocks.
    pub(super) fn settle(&mut self, trigger: Trigger) -> Next {
        let mut next = Next::Rest;
        for action in self.reconciler.on(trigger, Instant::now()) {
            match action {
                Action::Run(operation) => {
                    // br_netfilter brings its settings along.
                    if let (Operation::Follow { .. }, Some(settings)) =
                        (&operation, self.watchers.settings.watcher())
                    {
                        settings.again();
                    }
                    self.threads.operations.request(operation);
                }
                Action::LoadRegistry { file, source } => {
                    self.threads.reader.request(Request { file, source });
                }
                Action::PollWireGuard(keys) => self.poll = Some(Box::pin(poll(keys))),
                Action::ReopenReaders => next = Next::ReopenReaders,
                Action::NotifyGeneration(generation) => self.manager.generation(generation),
                Action::NotifyReady => {
                    self.threads.status.request(());
                    if let Err(error) = self.ready() {
                        let text = format!(
                            "the service manager cannot be told READY: {error}: another attempt \
                             follows"
                        );
                        self.reporter.note(NoteKind::ServiceManager, text);
                    }
                }
                Action::RepeatReady => drop(self.ready()),
                Action::Report(report) => self.reporter.report(report),
                Action::Stop => return Next::Gone,
            }
        }
        next
    }

    /// Says READY; the reconciler has a lost message said again.
    fn ready(&mut self) -> io::Result<()> {
        let said = self.manager.ready();
        if let Err(error) = &said {
            let is_full = error.kind() == io::ErrorKind::WouldBlock;
            self.reconciler.ready_lost(is_full, Instant::now());
        }
        said
    }

    fn report_failure(&self, error: &anyhow::Error) {
        let text = format!("{error:#}: looks at intervals take the watcher's place");
        self.reporter.note(NoteKind::Obstacle, text);
    }

    fn report_status(&self, status: Result<Status, Error>) {
        match status {
            Ok(status) => self.reporter.report(Report::Status(Box::new(status))),
            Err(error) => {
                let text = format!("the state cannot be read: {}", outcome::text(&error));
                self.reporter.note(NoteKind::Obstacle, text);
            }
        }
    }

    /// Whether no operation hangs.
    pub(super) fn is_alive(&self) -> bool {
        let busy = self.threads.operations.busy_for();
        busy.is_none_or(|busy| busy < HUNG)
    }
}

async fn poll(keys: Arc<Keys>) -> PollOutcome {
    match keys.changed().await {
        Some(keys) => PollOutcome::Changed(keys),
        None => PollOutcome::Unchanged,
    }
}

/// Waits for the outcome of a poll, for ever without a poll. A cancelled call leaves the poll alive.
async fn outcome(poll: &mut Option<Poll>) -> PollOutcome {
    match poll {
        Some(poll) => poll.await,
        None => std::future::pending().await,
    }
}

/// Waits until a time, or for ever without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
