//! Many interfaces of the host that come up and leave at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::time::Instant;

use anyhow::{Context, Result};

use super::Lab;

/// The group of the near ends, by which `ip` changes all of them in one request.
const GROUP: u32 = 4242;
/// The ifindex of the first near end: no other interface of a lab has as high an ifindex.
const FIRST: u32 = 20_000;

/// Near ends of veth pairs between the host and the neighbour.
#[derive(Debug)]
pub struct Crowd<'lab> {
    lab: &'lab Lab,
    size: u32,
}

impl<'lab> Crowd<'lab> {
    /// Makes `size` pairs, of which nothing is up.
    pub fn new(lab: &'lab Lab, size: u32) -> Result<Self> {
        let mut batch = String::new();
        for index in FIRST..FIRST + size {
            writeln!(
                batch,
                "link add near{index} index {index} group {GROUP} type veth peer name far{index} \
                 netns {}",
                lab.lan.path()
            )?;
        }
        lab.host.ip(&batch)?;
        Ok(Self { lab, size })
    }

    /// The ifindexes of the near ends.
    pub const fn indexes(&self) -> Range<u32> {
        FIRST..FIRST + self.size
    }

    /// Brings all near ends up; returns the moment before.
    pub fn up(&self) -> Result<Instant> {
        let before = Instant::now();
        self.lab.host.ip(&format!("link set group {GROUP} up"))?;
        Ok(before)
    }

    /// Removes all pairs in one request; returns the moment before.
    pub fn leave(&self) -> Result<Instant> {
        let before = Instant::now();
        self.lab.host.ip(&format!("link del group {GROUP}"))?;
        Ok(before)
    }

    /// Removes a tenth of the pairs one by one, and then the rest in one request; returns the moment
    /// before.
    pub fn leave_in_steps(&self) -> Result<Instant> {
        let before = Instant::now();
        for index in self.indexes().step_by(10) {
            self.lab.host.ip(&format!("link del near{index}"))?;
        }
        self.leave()?;
        Ok(before)
    }

    /// The number of near ends with a pinned wire guard.
    pub fn guarded(&self) -> Result<u32> {
        let pins = self.lab.pin_dir();
        let entries = fs::read_dir(&pins).with_context(|| format!("no pins in {pins:?}"))?;
        let index = |name: &str| -> Option<u32> {
            let (index, _) = name.strip_prefix("link_wire_")?.split_once('_')?;
            index.parse().ok()
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let pinned: BTreeSet<u32> = names.filter_map(|name| index(name.to_str()?)).collect();
        Ok(u32::try_from(pinned.range(self.indexes()).count())?)
    }
}
