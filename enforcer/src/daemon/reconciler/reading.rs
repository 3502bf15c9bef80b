//! The read of the registry's files, which may take for ever: a dead network mount, for example.
//!
//! Operations wait for a read for a moment, since the result is there in milliseconds as a rule.
//! After [`GRACE`] the read runs beside operations, and after [`LIMIT`] the read counts as failed
//! and is tried again; a result that comes later still counts.

use std::time::{Duration, Instant};

use super::{Action, InFlight, LoadError, Reconciler, SharedRegistry, Task};
use crate::{
    printable::decode_path,
    registry::{Provenance, Source},
};

/// The time for which operations wait for a read.
pub(super) const GRACE: Duration = Duration::from_millis(250);
/// The time after which a read counts as failed.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// The purpose of a read.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// Find the registry in force again, by the provenance of the pins.
    Adopt(Provenance),
    /// Put an edit in force.
    Edit,
}

/// A read without a result so far.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    purpose: Purpose,
    since: Instant,
    /// The known generation at the begin of the read; `None` before the first look at the pins.
    generation: Option<u32>,
    /// Operations wait for the result.
    is_awaited: bool,
    /// The read counts as failed.
    is_given_up: bool,
}

impl Reading {
    /// A read that `run` began before its reconciler.
    pub(super) const fn of_start(now: Instant) -> Self {
        Self {
            purpose: Purpose::Edit,
            since: now,
            generation: None,
            is_awaited: false,
            is_given_up: false,
        }
    }
}

impl Reconciler {
    /// The time of the next step of a read without a result.
    pub(super) fn reading_deadline(&self) -> Option<Instant> {
        let reading = self.reading.as_ref()?;
        match (reading.is_awaited, reading.is_given_up) {
            (true, _) => Some(reading.since + GRACE),
            (false, false) => Some(reading.since + LIMIT),
            (false, true) => None,
        }
    }

    /// Has the registry read, unless a read goes on: its end has the task done again.
    pub(super) fn read(&mut self, purpose: Purpose, source: Source, now: Instant) {
        if let Some(reading) = &self.reading {
            let task = match &purpose {
                Purpose::Adopt(_) => Task::Inspect,
                Purpose::Edit => Task::Edit,
            };
            self.after_reading.insert(task);
            if reading.is_given_up {
                self.retry.failed(task, now);
            }
            return;
        }
        self.in_flight = Some(InFlight::Read);
        self.reading = Some(Reading {
            purpose,
            since: now,
            generation: Some(self.generation()),
            is_awaited: true,
            is_given_up: false,
        });
        self.actions.push(Action::LoadRegistry {
            file: self.file.path().to_owned(),
            source,
        });
    }

    /// Lets operations go on beside a read that takes its time.
    pub(super) fn tire_of_reading(&mut self, now: Instant) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        if reading.is_awaited && reading.since + GRACE <= now {
            reading.is_awaited = false;
            self.in_flight = None;
        }
        if !reading.is_awaited && !reading.is_given_up && reading.since + LIMIT <= now {
            reading.is_given_up = true;
            let task = match reading.purpose {
                Purpose::Adopt(_) => Task::Inspect,
                Purpose::Edit => Task::Edit,
            };
            let why = format!(
                "the registry's files ({} and its fragments) have not answered within {} s",
                decode_path(self.file.path()),
                LIMIT.as_secs()
            );
            self.failed(task, &why, now);
        }
    }

    /// Takes the result of a read.
    pub(super) fn loaded(
        &mut self,
        result: Result<SharedRegistry, LoadError>,
        is_settling: bool,
        now: Instant,
    ) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        if reading.is_awaited {
            self.in_flight = None;
        }
        let after = std::mem::take(&mut self.after_reading);
        let is_old = after.contains(&Task::Inspect);
        after.into_iter().for_each(|task| self.add(task));
        match reading.purpose {
            // The policy in force has changed since.
            Purpose::Adopt(_) if is_old => {}
            Purpose::Adopt(wanted) => {
                self.adopted(&wanted, result, is_settling, now);
                if !reading.is_awaited {
                    self.add(Task::Follow);
                }
            }
            Purpose::Edit if reading.is_awaited => self.edited(result, now),
            // Another command may have read the files later.
            Purpose::Edit => {
                let is_known = |read: u32| read == self.generation();
                self.late_edit = reading.generation.is_none_or(is_known).then_some(result);
                self.add(Task::Edit);
            }
        }
    }
}
