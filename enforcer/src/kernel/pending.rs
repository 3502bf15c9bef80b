//! The pinned record of the pending policy.
//!
//! The idle bank holds the policy before the pending policy, whole, because no bank is filled while
//! a policy awaits confirmation: a rollback is one store. The record is tied to a generation, so
//! that a crash between two stores leaves a pending policy or none.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::{PendingConfirm, State};

use super::{array::MmapArray, maps::Maps, pinned_map, pins::PinDir, sys};
use crate::{
    decisions::pending::{PendingState, next_generation},
    failpoint::{self, Call},
    registry::Provenance,
};

/// The flags of [`State`] that belong to a policy and are rolled back with the policy.
const POLICY_FLAGS: u32 = State::FALLBACK | State::EMBEDDED;

/// The two maps that tell the state of a pending policy, without opening the others.
pub(crate) struct PendingReader {
    state: MmapArray<State>,
    record: MmapArray<PendingConfirm>,
}

impl PendingReader {
    /// Opens the two maps of a directory; `None` for maps of another layout.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn open(pins: &PinDir) -> Result<Option<Self>> {
        let map = |name| pinned_map::open_if_known(pins, name);
        let (Some(state), Some(record)) = (map("STATE")?, map("TRIAL")?) else {
            return Ok(None);
        };
        Ok(Some(Self {
            state: MmapArray::new(state.fd(), "STATE", 1)?,
            record: MmapArray::new(record.fd(), "TRIAL", 1)?,
        }))
    }

    /// Returns the state of the last pending policy.
    pub(crate) fn pending(&self) -> PendingState {
        let generation = self.state.get(0).generation;
        PendingState::of(self.record.get(0), generation, sys::boottime())
    }

    /// Puts the policy before the pending policy in force again, with one store, if the pins are of
    /// this version's layout. The record then says that the pending policy was rolled back.
    pub(crate) fn roll_back_if_known(&self) {
        if self.state.get(0).layout == failpoint::layout()
            && let Some(pending) = self.pending().awaiting()
        {
            let offset = std::mem::offset_of!(State, generation);
            let next = next_generation(pending.generation);
            self.state.word(0, offset).store(next, Ordering::SeqCst);
            failpoint::stored(Call::Switch);
            let offset = std::mem::offset_of!(PendingConfirm, state);
            let state = self.record.word(0, offset);
            state.store(PendingConfirm::ROLLED_BACK, Ordering::SeqCst);
            failpoint::stored(Call::Pending);
        }
    }

    /// Whether this registry was the last pending policy's.
    pub(crate) fn was_last_pending(&self, registry: &Provenance) -> bool {
        registry.digest != 0 && self.record.get(0).digest == registry.digest
    }

    /// Returns the cookie of the network namespace that the pins guard.
    pub(crate) fn netns_cookie(&self) -> u64 {
        self.state.get(0).netns_cookie
    }
}

impl Maps {
    /// Returns the state of the last pending policy.
    pub(crate) fn pending(&self) -> PendingState {
        let generation = self.state().generation;
        PendingState::of(self.pending.get(0), generation, sys::boottime())
    }

    /// Writes and arms the record of a pending policy, which has `time` until the rollback.
    ///
    /// # Errors
    /// The time is longer than the record can hold.
    pub(super) fn arm_pending(&self, generation: u32, time: Duration, digest: u64) -> Result<()> {
        let time = u64::try_from(time.as_nanos()).context("the time to confirm is too long")?;
        self.set_pending(PendingConfirm::NONE);
        self.pending.set(
            0,
            PendingConfirm {
                state: PendingConfirm::NONE,
                generation,
                deadline: sys::boottime().saturating_add(time),
                digest,
                previous_flags: self.state().flags,
                zero: 0,
            },
        );
        self.set_pending(PendingConfirm::ARMED);
        Ok(())
    }

    /// Disarms the record, if the record is armed.
    pub(super) fn disarm_pending(&self) {
        if self.pending.get(0).state == PendingConfirm::ARMED {
            self.end_pending(false);
        }
    }

    /// Restores the flags of the policy before the pending policy.
    pub(crate) fn restore_flags(&self) {
        let state = self.state();
        let before = self.pending.get(0).previous_flags;
        self.describe(state.netns_cookie, restored_flags(state.flags, before));
    }

    /// Whether this registry was the last pending policy's.
    pub(crate) fn was_last_pending(&self, registry: &Provenance) -> bool {
        registry.digest != 0 && self.pending.get(0).digest == registry.digest
    }

    /// Ends the pending policy: the policy in force stays.
    pub(crate) fn end_pending(&self, was_rolled_back: bool) {
        self.set_pending(match was_rolled_back {
            true => PendingConfirm::ROLLED_BACK,
            false => PendingConfirm::NONE,
        });
    }

    fn set_pending(&self, state: u32) {
        let offset = std::mem::offset_of!(PendingConfirm, state);
        self.pending.word(0, offset).store(state, Ordering::SeqCst);
        failpoint::stored(Call::Pending);
    }
}

const fn restored_flags(now: u32, before: u32) -> u32 {
    now & !POLICY_FLAGS | before & POLICY_FLAGS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_restores_the_flags_of_the_policy_alone() {
        const WIRE: u32 = State::WANT_WIRE;
        const LOG: u32 = State::LOG;
        for (now, before, expected) in [
            (WIRE, WIRE, WIRE),
            (WIRE | State::EMBEDDED, WIRE, WIRE),
            (WIRE, WIRE | State::FALLBACK, WIRE | State::FALLBACK),
            (WIRE | LOG, State::EMBEDDED, WIRE | LOG | State::EMBEDDED),
            (WIRE, LOG | State::WANT_SOCKET, WIRE),
        ] {
            assert_eq!(restored_flags(now, before), expected, "{now} {before}");
        }
    }
}
