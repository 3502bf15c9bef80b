//! The poll of WireGuard: there is no notification of a change of keys or AllowedIPs.
//!
//! A userspace device may be slow to answer, or never answer. A poll therefore runs beside the
//! watchers, and any event ends the poll. After a delay of more than an interval by events, a poll
//! runs alone for a tenth of a second, so that events without end do not starve the polls.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::{Action, PollOutcome, Reconciler, Task};
use crate::host::Keys;

/// The time between two polls.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// The time limit of an overdue poll, during which events wait.
pub(super) const LIMIT: Duration = Duration::from_millis(100);

impl Reconciler {
    /// The time of the next poll: none during a poll, nor without a peer by key on an interface.
    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        (!self.keys.is_empty() && !self.is_polling).then_some(self.next_wg_poll)
    }

    /// Begins a poll if due.
    pub(super) fn poll_if_due(&mut self, now: Instant) {
        if self.poll_deadline().is_none_or(|at| at > now) {
            return;
        }
        let is_overdue = now.duration_since(self.next_wg_poll) > INTERVAL;
        if is_overdue {
            self.next_wg_poll = now;
        }
        self.is_polling = true;
        self.actions.push(Action::PollWireGuard {
            keys: Rc::clone(&self.keys),
            limit: is_overdue.then_some(LIMIT),
        });
    }

    /// Takes the result of a poll.
    pub(super) fn polled(&mut self, outcome: PollOutcome, now: Instant) {
        match outcome {
            PollOutcome::GivenUp => return,
            PollOutcome::Unchanged => {}
            PollOutcome::Changed(keys) => {
                self.keys = Rc::new(keys);
                self.add(Task::Follow);
            }
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
        self.keys = Rc::new(keys);
    }

    /// Forgets the answers, so that the next look at the host asks every device.
    pub(super) fn forget_keys(&mut self) {
        self.keys = Rc::default();
    }
}
