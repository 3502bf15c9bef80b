//! The counts of packets: by slot, and of the socket guard on interfaces that have a wire guard.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aya::{maps::PerCpuValues, util::nr_cpus};
use enforcer_ebpf::layout::{CELLS, Cell, Cells, Count};

use super::maps::Maps;
use crate::failpoint::{Call, through};

impl Maps {
    /// Returns the counts of a slot, over all CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(crate) fn counts(&self, slot: u16) -> Result<Vec<(Cell, Count)>> {
        let cpus = self
            .counters
            .get(&slot.into(), 0)
            .with_context(|| format!("failed to read the counters of slot {slot}"))?;
        let sums = sum(cpus.iter().map(|cells| &cells.0));
        Ok(Cell::of_slot(slot)
            .filter_map(|cell| Some((cell, sums[cell.index()?])))
            .collect())
    }

    /// Sets the counters of slots to zero.
    ///
    /// # Errors
    /// The map cannot be written.
    pub(super) fn clear_counters(&self, slots: &[u32]) -> Result<()> {
        self.slots
            .clear(slots)
            .context("failed to clear the counters of new ports")
    }

    /// Sets the interfaces, by ifindex, on which the drops of the socket guard are counted as
    /// bypasses of a wire guard. Counts of interfaces that stay are kept.
    ///
    /// # Errors
    /// The map cannot be written.
    pub(crate) fn watch_bypasses(&mut self, ifindexes: &BTreeSet<u32>) -> Result<()> {
        let what = "failed to write the map BYPASSED";
        let known: BTreeSet<u32> = self.bypassed.keys().filter_map(Result::ok).collect();
        for gone in known.difference(ifindexes) {
            through(Call::Bypassed, || self.bypassed.remove(gone).context(what))?;
        }
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        for new in ifindexes.difference(&known) {
            let zeros = PerCpuValues::try_from(vec![0u64; cpus])?;
            through(Call::Bypassed, || {
                self.bypassed.insert(*new, zeros, 0).context(what)
            })?;
        }
        Ok(())
    }

    /// Returns the drops of the socket guard on interfaces that have a wire guard, by ifindex.
    pub(crate) fn bypasses(&self) -> BTreeMap<u32, u64> {
        self.bypassed
            .iter()
            .filter_map(Result::ok)
            .map(|(ifindex, cpus)| (ifindex, cpus.iter().sum()))
            .collect()
    }
}

fn sum<'a>(cpus: impl Iterator<Item = &'a Cells>) -> Cells {
    let mut sums = [Count::default(); CELLS];
    for cells in cpus {
        for (sum, count) in sums.iter_mut().zip(cells) {
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_is_summed_over_the_cpus() {
        let count = |packets, bytes| Count { packets, bytes };
        let (mut first, mut second) = ([Count::default(); CELLS], [Count::default(); CELLS]);
        first[0] = count(1, 60);
        second[0] = count(2, 120);
        second[CELLS - 1] = count(u64::MAX, 1);
        let sums = sum([&first, &second].into_iter());
        assert_eq!((sums[0], sums[1]), (count(3, 180), count(0, 0)));
        assert_eq!(sums[CELLS - 1], count(u64::MAX, 1));
        assert_eq!(sum(std::iter::empty()), [Count::default(); CELLS]);
    }
}
