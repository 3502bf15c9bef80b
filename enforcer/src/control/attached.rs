//! The wire guards that there are.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use super::HostSnapshot;
use crate::{
    interfaces::Hook,
    kernel::{links, pins::PinDir},
};

/// The wire guards that are pinned and alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct AttachedGuards {
    /// Their hooks, by ifindex.
    pub(crate) guards: BTreeMap<u32, Hook>,
    /// The ids of their programs.
    pub(crate) programs: BTreeSet<u32>,
    /// Those before which another program sees the packets, by ifindex.
    pub(crate) behind: BTreeSet<u32>,
}

impl AttachedGuards {
    /// Finds those of a directory, which need not exist.
    ///
    /// # Errors
    /// The pins cannot be read.
    pub(crate) fn find(pins: &PinDir, snapshot: &HostSnapshot) -> Result<Self> {
        let mut alive = Self::default();
        if !pins.exists()? {
            return Ok(alive);
        }
        for (ifindex, hook, pin) in pins.wire_links()? {
            let xdp = snapshot.by_index(ifindex).and_then(|i| i.xdp?.prog_id);
            let link = links::alive(&pin, ifindex, hook, xdp)
                .with_context(|| format!("failed to examine {}", pin.display()))?;
            if let Some(link) = link {
                alive.guards.insert(ifindex, hook);
                alive.programs.insert(link.program);
                if !link.is_first {
                    alive.behind.insert(ifindex);
                }
            }
        }
        Ok(alive)
    }
}
