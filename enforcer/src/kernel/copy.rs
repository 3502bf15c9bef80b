//! A policy copied from pinned maps to other maps, bit for bit: programs on the copy judge as the
//! guards do, and leave the guards' counters alone.

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::State;

use super::maps::Maps;

impl Maps {
    /// Copies the policy of `from` into these maps, which no program reads at this time.
    ///
    /// Counters stay as they are, like everything else that guards write.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub(crate) fn copy_policy(&self, from: &Self) -> Result<()> {
        loop {
            let before = from.state();
            self.banks.copy_from(&from.banks);
            self.ports.copy_from(&from.ports);
            self.services.copy_from(&from.services);
            self.peers.copy_from(&from.peers);
            self.rules.copy_from(&from.rules);
            self.interfaces.copy_from(&from.interfaces);
            self.origins.copy_from(&from.origins);
            self.copy_prefixes(from)
                .context("failed to copy the map PREFIXES")?;
            // A reload in the meantime may have begun to fill the bank that was in force.
            if from.state().generation == before.generation {
                self.state.set(
                    0,
                    State {
                        generation: before.generation,
                        ..self.state()
                    },
                );
                return Ok(());
            }
        }
    }

    fn copy_prefixes(&self, from: &Self) -> std::io::Result<()> {
        let stale: Vec<_> = self.prefixes.entries()?;
        let stale: Vec<_> = stale.into_iter().map(|(key, _)| key).collect();
        self.prefixes.remove(&stale)?;
        self.prefixes.insert(from.prefixes.entries()?.into_iter())
    }
}
