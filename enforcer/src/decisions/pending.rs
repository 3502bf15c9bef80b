//! The pending policy: in force until a deadline, unless an operator confirms it.
//!
//! [`PendingState`] follows from the pinned record, the generation in force and the time. Each
//! request (a change, a confirmation, a look) has one answer for each state.

#[cfg(test)]
mod tests;

use std::time::Duration;

use enforcer_ebpf::layout::PendingConfirm;

use super::lockout::Author;

/// A policy that awaits confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingPolicy {
    /// The generation of the policy in force.
    pub generation: u32,
    /// The time until the policy is rolled back; zero once the deadline has passed.
    pub left: Duration,
}

impl PendingPolicy {
    /// The time until the rollback in whole seconds, rounded up: 0 only after the deadline.
    pub fn seconds_left(&self) -> u64 {
        self.left.as_secs() + u64::from(self.left.subsec_nanos() > 0)
    }
}

/// The state of the last pending policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PendingState {
    /// No policy awaits confirmation: there was none, or the last policy was confirmed.
    None,
    /// The policy in force awaits confirmation.
    Awaiting(PendingPolicy),
    /// The policy before the pending policy is in force again; its guards, flags and reserved ports
    /// may not be.
    RollingBack,
    /// The last pending policy was rolled back.
    RolledBack,
}

/// The outstanding part of a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollback {
    /// Nothing.
    None,
    /// The whole: switch to the policy before, then restore its guards, flags and reserved ports.
    Whole,
    /// The rest, after an interruption right behind the switch.
    Rest,
}

/// A change of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The author of the change.
    pub(crate) author: Author,
    /// The change ends a pending policy: `up` by an operator does, `reload` does not.
    pub(crate) ends_pending: bool,
    /// The registry is the last pending policy's.
    pub(crate) is_last_pending: bool,
}

/// A refusal of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A policy awaits confirmation.
    Awaiting(PendingPolicy),
    /// `run` may not put a rolled-back registry in force by itself.
    AlreadyRolledBack,
}

/// The answer to `confirm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// The policy of this generation stays.
    Accept(u32),
    /// The policy was rolled back before.
    TooLate,
    /// No policy awaits confirmation.
    NothingPending,
}

impl PendingState {
    /// The state by the pinned record, the generation in force, and the time in nanoseconds of
    /// CLOCK_BOOTTIME.
    pub(crate) fn of(record: PendingConfirm, generation: u32, now: u64) -> Self {
        match record.state {
            PendingConfirm::ARMED if record.generation == generation => {
                Self::Awaiting(PendingPolicy {
                    generation,
                    left: Duration::from_nanos(record.deadline.saturating_sub(now)),
                })
            }
            PendingConfirm::ARMED if next_generation(record.generation) == generation => {
                Self::RollingBack
            }
            PendingConfirm::ROLLED_BACK => Self::RolledBack,
            // The reload behind the record was interrupted before its switch.
            _ => Self::None,
        }
    }

    /// The policy that awaits confirmation, if any.
    pub(crate) const fn awaiting(self) -> Option<PendingPolicy> {
        match self {
            Self::Awaiting(pending) => Some(pending),
            Self::None | Self::RollingBack | Self::RolledBack => None,
        }
    }

    /// The due rollback: every writer's first act.
    pub(crate) const fn due(self) -> Rollback {
        match self {
            Self::Awaiting(pending) if pending.left.is_zero() => Rollback::Whole,
            Self::RollingBack => Rollback::Rest,
            Self::Awaiting(_) | Self::None | Self::RolledBack => Rollback::None,
        }
    }

    /// Whether a change may be made in this state.
    ///
    /// # Errors
    /// The reason why the change may not be made.
    pub(crate) const fn admit(self, change: Change) -> Result<(), Refusal> {
        let is_run = matches!(change.author, Author::Run);
        match self {
            Self::Awaiting(pending) if is_run || !change.ends_pending => {
                Err(Refusal::Awaiting(pending))
            }
            Self::RolledBack | Self::RollingBack if is_run && change.is_last_pending => {
                Err(Refusal::AlreadyRolledBack)
            }
            _ => Ok(()),
        }
    }

    /// The answer to `confirm`, after every due rollback.
    pub(crate) const fn confirm(self) -> Confirmation {
        match self {
            Self::Awaiting(pending) => Confirmation::Accept(pending.generation),
            Self::RolledBack => Confirmation::TooLate,
            Self::None | Self::RollingBack => Confirmation::NothingPending,
        }
    }
}

/// The generation after another. Generation 0 is before all others.
pub(crate) const fn next_generation(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}
