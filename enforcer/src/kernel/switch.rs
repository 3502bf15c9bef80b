//! Policies put in force: the idle bank is filled, and one store switches to the bank.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use anyhow::{Result, bail, ensure};
use enforcer_ebpf::layout::{State, bank};

use super::{bank, maps::Maps, sys};
use crate::{
    decisions::pending::{PendingPolicy, PendingState, next_generation},
    failpoint::{self, Call},
    policy::PolicyTables,
};

impl Maps {
    /// Puts a policy in force and returns the new generation. A reader sees the old policy or the
    /// new policy, whole. The record of a rollback without its rest stays armed: the next writer
    /// carries out the rest, unless the caller ends the record after the switch.
    ///
    /// # Errors
    /// A map refuses an entry, or a policy awaits confirmation: the policy in force stays.
    pub(crate) fn switch_to(&mut self, tables: &PolicyTables) -> Result<u32> {
        let next = self.fill_idle(tables)?;
        // The armed record of an interrupted reload would match this generation. The record of a
        // rollback matches none from the switch on.
        if self.pending() != PendingState::RollingBack {
            self.disarm_pending();
        }
        self.switch(next);
        Ok(next)
    }

    /// Puts a policy in force that awaits confirmation for `time`. The policy before stays in the
    /// other bank, for [`Maps::roll_back`]. Returns the new generation.
    ///
    /// # Errors
    /// A map refuses an entry, or another policy awaits confirmation: nothing has changed.
    pub(crate) fn switch_pending(&mut self, tables: &PolicyTables, time: Duration) -> Result<u32> {
        let next = self.fill_idle(tables)?;
        // The record is armed before the switch: a process that ends in between has armed nothing,
        // because no generation matches the record.
        self.arm_pending(next, time, tables.provenance.digest)?;
        self.switch(next);
        Ok(next)
    }

    /// Puts the policy before the pending policy in force again, with one store.
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

    /// Fills the idle bank, and returns the generation for the switch to the bank.
    ///
    /// # Errors
    /// A map refuses an entry, or a policy awaits confirmation: the idle bank holds the policy for
    /// the rollback.
    fn fill_idle(&mut self, tables: &PolicyTables) -> Result<u32> {
        ensure!(
            !matches!(self.pending(), PendingState::Awaiting(_)),
            "a policy awaits confirmation: run `enforcer confirm` to keep it, or wait until it is \
             rolled back"
        );
        let generation = self.state().generation;
        // Slots are reused, and programs that began under the generation before this one may
        // still read the idle bank.
        if generation != 0 {
            sys::wait_for_readers()?;
        }
        let used: BTreeSet<u16> = self.slots()?.into_values().collect();
        let slots = tables.slots().map(|(.., slot)| slot);
        let new: Vec<u32> = slots
            .filter(|slot| !used.contains(slot))
            .map(u32::from)
            .collect();
        self.clear_counters(&new)?;
        let next = next_generation(generation);
        ensure!(
            bank(next) != bank(generation),
            "generations ran out: run `enforcer down`"
        );
        bank::write(self, bank(next), tables)?;
        Ok(next)
    }

    /// Switches to a generation, whose bank is filled.
    fn switch(&self, next: u32) {
        let offset = std::mem::offset_of!(State, generation);
        self.state.word(0, offset).store(next, Ordering::SeqCst);
        failpoint::stored(Call::Switch);
    }
}
