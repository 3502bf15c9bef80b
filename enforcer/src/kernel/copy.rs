//! A policy copied from pinned maps to other maps, bit for bit: programs on the copy judge as the
//! guards do, and leave the guards' counters alone.

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::State;

use super::{batch::BatchHashMap, maps::Maps, plain::Plain};

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
            self.network_filters.copy_from(&from.network_filters);
            copy(&self.prefixes, &from.prefixes).context("failed to copy the map PREFIXES")?;
            copy(&self.on, &from.on).context("failed to copy the map ON")?;
            copy(&self.local, &from.local).context("failed to copy the map LOCAL")?;
            copy(&self.macs, &from.macs).context("failed to copy the map MACS")?;
            copy(&self.networks, &from.networks).context("failed to copy the map NETWORKS")?;
            copy(&self.sources, &from.sources).context("failed to copy the map SOURCES")?;
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
}

/// Copies the entries of a map, and removes all others.
fn copy<K: Plain, V: Plain>(
    to: &BatchHashMap<K, V>,
    from: &BatchHashMap<K, V>,
) -> std::io::Result<()> {
    let stale: Vec<K> = to.entries()?.into_iter().map(|(key, _)| key).collect();
    to.remove(&stale)?;
    to.insert(from.entries()?.into_iter())
}
