//! The pinned record of the pending policy.
//!
//! The idle bank holds the policy before the pending policy, whole, because no bank is filled while
//! a policy awaits confirmation: a rollback is one store. The record is tied to a generation, so
//! that a crash between two stores leaves a pending policy or none.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context as _, Result, bail};
use enforcer_ebpf::layout::{PendingConfirm, State};

use super::{
    array::MmapArray,
    maps::{self, Maps, mapped},
    object::misshapen,
    pins::PinDir,
    sys,
};
use crate::{
    decisions::pending::{PendingPolicy, PendingState, next_generation},
    failpoint::{self, Call},
    policy::PolicyTables,
    registry::Provenance,
};

/// The flags of [`State`] that belong to a policy and are rolled back with it.
const OF_THE_POLICY: u32 = State::FALLBACK | State::EMBEDDED;

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
        let map = |name| -> Result<_> {
            let pin = pins.map(name);
            if !pin.try_exists()? {
                return Ok(None);
            }
            let map = maps::open(&pin).with_context(|| format!("failed to open the map {name}"))?;
            Ok(misshapen(name, &map)?.is_none().then_some(map))
        };
        let (Some(state), Some(record)) = (map("STATE")?, map("TRIAL")?) else {
            return Ok(None);
        };
        Ok(Some(Self {
            state: mapped(&state, "STATE", 1)?,
            record: mapped(&record, "TRIAL", 1)?,
        }))
    }

    /// The state of the last pending policy.
    pub(crate) fn pending(&self) -> PendingState {
        let generation = self.state.get(0).generation;
        PendingState::of(self.record.get(0), generation, sys::boottime())
    }

    /// The cookie of the network namespace that the pins guard.
    pub(crate) fn netns_cookie(&self) -> u64 {
        self.state.get(0).netns_cookie
    }
}

impl Maps {
    /// The state of the last pending policy.
    pub(crate) fn pending(&self) -> PendingState {
        let generation = self.state().generation;
        PendingState::of(self.pending.get(0), generation, sys::boottime())
    }

    /// Puts a policy in force that awaits confirmation for `time`. The policy before stays in the
    /// other bank, for [`Maps::roll_back`]. Returns the new generation.
    ///
    /// # Errors
    /// A map refuses an entry, or another policy awaits confirmation: nothing has changed.
    pub(crate) fn switch_pending(&mut self, tables: &PolicyTables, time: Duration) -> Result<u32> {
        let next = self.fill_idle(tables)?;
        let time = u64::try_from(time.as_nanos()).context("the time to confirm is too long")?;
        self.set_pending(PendingConfirm::NONE);
        self.pending.set(
            0,
            PendingConfirm {
                state: PendingConfirm::NONE,
                generation: next,
                deadline: sys::boottime().saturating_add(time),
                digest: tables.provenance.digest,
                previous_flags: self.state().flags,
                zero: 0,
            },
        );
        // The record is armed before the switch: a process that ends in between has armed nothing,
        // because no generation matches the record.
        self.set_pending(PendingConfirm::ARMED);
        self.switch(next);
        Ok(next)
    }

    /// Puts the policy before the pending policy in force again, with one write.
    ///
    /// The caller restores guards, flags and reserved ports, and then calls
    /// [`Maps::end_pending`].
    ///
    /// # Errors
    /// No policy awaits confirmation.
    pub(crate) fn roll_back(&self) -> Result<u32> {
        let Some(PendingPolicy { generation, .. }) = self.pending().awaiting() else {
            bail!("no policy awaits confirmation");
        };
        let next = next_generation(generation);
        self.switch(next);
        Ok(next)
    }

    /// Restores the flags of the policy before the pending policy.
    pub(crate) fn restore_flags(&self) {
        let (state, before) = (self.state(), self.pending.get(0).previous_flags);
        let flags = state.flags & !OF_THE_POLICY | before & OF_THE_POLICY;
        self.describe(state.netns_cookie, flags);
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
        failpoint::stored(Call::Trial);
    }
}
