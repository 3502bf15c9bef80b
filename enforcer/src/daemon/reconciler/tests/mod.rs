//! The reconciler against a world of plain data, without a kernel, a file or a clock.
//!
//! A test changes the world, hands triggers to the reconciler, and compares the transcript of the
//! actions that follow.

mod edits;
mod obstacles;
mod pending;
mod pins;
mod polls;
mod random;
mod retries;
mod world;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Action, Begun, Operation, OwnFile, PollOutcome, Reconciler, Trigger};
use crate::{
    daemon::report::{Cause, Report},
    printable::decode_path,
    registry::Source,
};
use world::{Content, OTHER, OWN, World, name};

/// A reconciler in a world.
struct Rig {
    world: World,
    reconciler: Reconciler,
    now: Instant,
    /// A poll is under way.
    is_polling: bool,
    /// The files do not answer.
    hangs: bool,
    /// The read under way.
    read: Option<(PathBuf, Source)>,
    /// Looks without an event are made, which most tests leave out.
    makes_looks: bool,
    has_stopped: bool,
}

impl Rig {
    /// `run` right after the start, with `own:1` in force by a named file.
    fn start() -> Self {
        let mut rig = Self::of(World::default(), true);
        rig.on(Trigger::Started);
        rig
    }

    /// `run` before its first trigger.
    fn of(world: World, is_named: bool) -> Self {
        let now = Instant::now();
        let own = OwnFile {
            path: OWN.into(),
            is_named,
        };
        let begun = Begun {
            registry: Some(world::registry(&world.in_force)),
            ..Begun::default()
        };
        Self {
            world,
            reconciler: Reconciler::new(own, begun, now),
            now,
            is_polling: false,
            hangs: false,
            read: None,
            makes_looks: false,
            has_stopped: false,
        }
    }

    /// Hands a trigger to the reconciler and carries out actions until the reconciler is at rest.
    /// Returns the transcript.
    fn on(&mut self, trigger: Trigger) -> String {
        self.on_with(trigger, |_| None)
    }

    /// As [`Self::on`], with a hand in the world after each operation. A trigger that the hand
    /// returns comes before the result of the operation.
    fn on_with(
        &mut self,
        trigger: Trigger,
        mut meanwhile: impl FnMut(&mut Self) -> Option<Trigger>,
    ) -> String {
        let mut log = Vec::new();
        let mut actions: VecDeque<Action> = self.hand(trigger).into();
        while let Some(action) = actions.pop_front() {
            log.push(describe(&action));
            let is_only = |it: &Action| !matches!(it, Action::Run(_));
            let result = match action {
                Action::Run(operation) => {
                    assert!(actions.iter().all(is_only), "two operations at a time");
                    Some(self.world.carry_out(&operation, self.now))
                }
                Action::LoadRegistry { file, source } => {
                    assert!(self.read.is_none(), "two reads at a time");
                    self.read = Some((file, source));
                    (!self.hangs).then(|| self.answer_read())
                }
                Action::PollWireGuard(_) => {
                    assert!(!self.is_polling, "two polls at a time");
                    self.is_polling = true;
                    None
                }
                Action::Stop => {
                    assert!(!self.world.is_pinned, "stopped beside pins");
                    self.has_stopped = true;
                    None
                }
                Action::ReopenReaders
                | Action::NotifyReady
                | Action::RepeatReady
                | Action::NotifyGeneration(_)
                | Action::Report(_) => None,
            };
            if let Some(result) = result {
                if let Some(trigger) = meanwhile(self) {
                    let early = self.hand(trigger);
                    assert!(
                        early.iter().all(is_only),
                        "an operation before the result of the last one"
                    );
                    actions.extend(early);
                }
                actions.extend(self.hand(result));
            }
        }
        log.join("; ")
    }

    fn hand(&mut self, trigger: Trigger) -> Vec<Action> {
        if !self.makes_looks {
            self.reconciler.next_look = self.now + super::LOOK;
        }
        self.reconciler.on(trigger, self.now)
    }

    /// The result of the read under way.
    fn answer_read(&mut self) -> Trigger {
        let (file, source) = self.read.take().expect("a read");
        Trigger::RegistryLoaded {
            result: self.world.load(&file, &source),
            is_settling: self.world.is_settling,
        }
    }

    /// The time of the next step of known work, without the looks at intervals.
    fn deadline(&self) -> Option<Instant> {
        self.reconciler.work_deadline()
    }

    /// Lets time pass without an event.
    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Sleeps until the reconciler's deadline. Returns the time slept and the transcript.
    fn sleep(&mut self) -> (Duration, String) {
        let deadline = self.deadline().expect("a deadline");
        let slept = deadline.saturating_duration_since(self.now);
        self.now += slept;
        (slept, self.on(Trigger::DeadlineReached))
    }

    /// Hands the result of a poll to the reconciler.
    fn answer(&mut self, outcome: PollOutcome) -> String {
        assert!(self.is_polling, "nobody polls");
        self.is_polling = false;
        self.on(Trigger::WireGuardPolled(outcome))
    }
}

/// An action in a few words.
fn describe(action: &Action) -> String {
    match action {
        Action::Run(operation) => describe_operation(operation),
        Action::LoadRegistry { file, source } => {
            let source = match source {
                Source::Embedded => "embedded".to_owned(),
                Source::Named(path) => format!("named {}", short(path)),
                Source::Default { path, absent } => format!("{} or {absent:?}", short(path)),
            };
            format!("watch {} load {source}", short(file))
        }
        Action::PollWireGuard(_) => "poll".to_owned(),
        Action::NotifyReady => "ready".to_owned(),
        Action::RepeatReady => "ready again".to_owned(),
        Action::ReopenReaders => "reopen".to_owned(),
        Action::NotifyGeneration(generation) => format!("notify {generation}"),
        Action::Stop => "stop".to_owned(),
        Action::Report(report) => match report {
            Report::Note(note) => format!("{:?}", note.kind),
            Report::Diagnostics(_) => "diagnostics".to_owned(),
            Report::InForce {
                generation,
                cause: Cause::Host,
            } => format!("{generation} in force by the host"),
            Report::InForce {
                generation,
                cause: Cause::Registry(registry),
            } => format!("{generation} in force by {}", name(&registry.provenance)),
            Report::Status(_) | Report::ProgramLog(_) => panic!("{report:?}"),
        },
    }
}

fn describe_operation(operation: &Operation) -> String {
    match operation {
        Operation::InspectPins => "inspect".to_owned(),
        Operation::Replace {
            registry,
            generation,
        } => format!("replace {generation} by {}", name(&registry.provenance)),
        Operation::Follow {
            registry,
            generation,
            keys,
        } => {
            let registry = registry.as_ref().map(|it| name(&it.provenance));
            let registry = registry.unwrap_or_else(|| "guards".to_owned());
            let keys = if keys.is_empty() { "" } else { " with keys" };
            format!("follow {generation} as {registry}{keys}")
        }
        Operation::RollBack => "roll back".to_owned(),
    }
}

fn short(path: &Path) -> String {
    decode_path(path.file_stem().unwrap_or_default().as_ref())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn write(world: &mut World, path: &str, content: Content) {
    world.files.insert(PathBuf::from(path), content);
}
