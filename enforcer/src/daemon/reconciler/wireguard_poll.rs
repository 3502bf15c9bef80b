//! The poll of WireGuard: there is no notification of a change of keys, AllowedIPs or listen ports.
//!
//! A userspace device may be slow to answer, or never answer. A poll therefore runs beside the
//! operations, one at a time, and asks all devices together within a limit.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Action, PollOutcome, Reconciler, Task};
use crate::host::Keys;

/// The time between two polls.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

impl Reconciler {
    /// The time of the next poll: none during a poll, nor without a device to ask.
    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        (!self.keys.is_empty() && self.polled.is_none()).then_some(self.next_wg_poll)
    }

    /// Begins a poll if due.
    pub(super) fn poll_if_due(&mut self, now: Instant) {
        if self.poll_deadline().is_some_and(|at| at <= now) {
            self.polled = Some(Arc::clone(&self.keys));
            self.actions
                .push(Action::PollWireGuard(Arc::clone(&self.keys)));
        }
    }

    /// Takes the result of a poll. A result is old if another look has asked WireGuard later.
    pub(super) fn polled(&mut self, outcome: PollOutcome, now: Instant) {
        let Some(asked) = self.polled.take() else {
            return;
        };
        if !Arc::ptr_eq(&asked, &self.keys) {
            return;
        }
        self.has_polled = true;
        if let PollOutcome::Changed(keys) = outcome {
            self.keys = Arc::new(keys);
            self.add(Task::Follow);
        }
        self.next_wg_poll = now + INTERVAL;
    }

    /// Takes the answers of a look at the host.
    pub(super) fn learn_keys(&mut self, keys: Keys, now: Instant) {
        if keys.is_incomplete() {
            self.next_wg_poll = now;
        } else if self.keys.is_empty() {
            self.next_wg_poll = now + INTERVAL;
        }
        if *self.keys != keys {
            self.keys = Arc::new(keys);
        }
    }

    /// Forgets the answers, so that the next look at the host asks every device.
    pub(super) fn forget_keys(&mut self) {
        self.keys = Arc::default();
    }
}
