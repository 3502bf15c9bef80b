//! Grants that are taken away from a policy in place.

use anyhow::{Context as _, Result};
use enforcer_ebpf::{
    Address, PeerSet,
    layout::{InterfaceKey, PrefixKey, bank},
};

use super::{bank, maps::Maps};
use crate::policy::PolicyTables;

/// One of the two banks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bank {
    /// The bank of the policy in force.
    InForce,
    /// The other bank. While a policy awaits confirmation, the bank holds the policy before it.
    Other,
}

impl Maps {
    fn number(&self, which: Bank) -> u32 {
        let in_force = bank(self.state().generation);
        match which {
            Bank::InForce => in_force,
            Bank::Other => 1 - in_force,
        }
    }

    /// The policy of a bank.
    ///
    /// # Errors
    /// The maps cannot be read or make no sense.
    pub(crate) fn tables_of(&self, which: Bank) -> Result<PolicyTables> {
        bank::read(self, self.number(which))
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
        let bank = self.number(which);
        let entries = grants.iter().map(|((ifindex, network, length), peers)| {
            let interface = InterfaceKey {
                ifindex: *ifindex,
                bank,
            };
            (PrefixKey::new(interface, network, *length), *peers)
        });
        let written = self.prefixes.insert(entries);
        written.context("failed to take grants away in the map PREFIXES")
    }
}
