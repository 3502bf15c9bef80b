//! What changes in place, under either bank: grants that end, and what the host has got.

use anyhow::{Context as _, Result};
use enforcer_ebpf::{Address, PeerSet, layout::bank};

use super::{bank, entries::prefix_key, maps::Maps};
use crate::policy::PolicyTables;

/// One of the two banks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bank {
    /// The bank of the policy in force.
    InForce,
    /// The other bank. While a policy awaits confirmation, the bank holds the policy before.
    Other,
}

impl Bank {
    /// Returns the number of the bank under a generation.
    const fn number(self, generation: u32) -> u32 {
        let in_force = bank(generation);
        match self {
            Self::InForce => in_force,
            Self::Other => 1 - in_force,
        }
    }
}

impl Maps {
    /// Returns the policy of a bank.
    ///
    /// # Errors
    /// The maps cannot be read, or hold a value of no meaning in this version.
    pub(crate) fn tables_of(&self, which: Bank) -> Result<PolicyTables> {
        bank::read(self, which.number(self.state().generation))
    }

    /// Sets the peers at prefixes that a bank holds already: ifindex, network, length. Each prefix
    /// changes at once (a hash element is replaced whole, kernel/bpf/hashtab.c); a packet in between
    /// meets some old and some new prefixes.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn set_grants(
        &self,
        which: Bank,
        grants: &[((u32, Address, u8), PeerSet)],
    ) -> Result<()> {
        if grants.is_empty() {
            return Ok(());
        }
        let bank = which.number(self.state().generation);
        let entries = grants.iter();
        let entries = entries.map(|(prefix, peers)| (prefix_key(bank, prefix), *peers));
        let written = self.prefixes.insert(entries);
        written.context("failed to take grants away in the map PREFIXES")
    }

    /// Adds to a bank what `now` has beside `before`, the bank's policy: container networks, rows of
    /// the local table, and MAC addresses.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn add_host(
        &self,
        which: Bank,
        before: &PolicyTables,
        now: &PolicyTables,
    ) -> Result<()> {
        let bank = which.number(self.state().generation);
        bank::add_host(self, bank, before, now)
    }
}

#[cfg(test)]
mod tests {
    use super::Bank;

    #[test]
    fn the_banks_take_turns() {
        for (generation, in_force, other) in [(1, 1, 0), (2, 0, 1), (3, 1, 0), (u32::MAX, 1, 0)] {
            assert_eq!(Bank::InForce.number(generation), in_force);
            assert_eq!(Bank::Other.number(generation), other);
        }
    }
}
