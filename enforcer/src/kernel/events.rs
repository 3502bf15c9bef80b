//! The reader's end of the events: the ring buffer, the epoch, and the count of drops without an
//! event.

use std::{
    fs::{File, TryLockError},
    io,
    sync::atomic::Ordering,
};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use enforcer_ebpf::layout::{Budget, Epoch, Event};
use tokio::io::unix::AsyncFd;

use super::{
    array::MmapArray,
    pinned_map,
    pins::PinDir,
    plain::{Raw, from_bytes},
};
use crate::{async_fd, printable::decode_path};

/// The right to read the events of a pin directory, held by one process at a time.
#[derive(Debug)]
pub(crate) struct ReaderLock(#[expect(dead_code, reason = "held, never read")] File);

impl ReaderLock {
    /// Takes the lock; `None` while another process holds the lock.
    ///
    /// # Errors
    /// The directory cannot be opened or locked.
    pub(crate) fn take(pins: &PinDir) -> Result<Option<Self>> {
        let what = || format!("failed to lock {}", decode_path(pins.path()));
        let directory = File::open(pins.path()).with_context(what)?;
        match directory.try_lock() {
            Ok(()) => Ok(Some(Self(directory))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(what),
        }
    }

    /// Waits for the lock. Blocks the thread.
    ///
    /// # Errors
    /// The directory cannot be opened or locked.
    pub(crate) fn wait(pins: &PinDir) -> Result<Self> {
        let what = || format!("failed to lock {}", decode_path(pins.path()));
        let directory = File::open(pins.path()).with_context(what)?;
        loop {
            match directory.lock() {
                Ok(()) => return Ok(Self(directory)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(what),
            }
        }
    }
}

/// The events of a pin directory.
pub(crate) struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    budgets: PerCpuArray<MapData, Raw<Budget>>,
    epoch: MmapArray<Epoch>,
    _lock: ReaderLock,
}

impl Events {
    /// Opens the events, and discards the events that the ring holds from before.
    ///
    /// # Errors
    /// The maps are of another layout, or the kernel's refusal.
    pub(crate) fn open(pins: &PinDir, lock: ReaderLock) -> Result<Self> {
        let map = |name| pinned_map::open(pins, name);
        let mut ring = RingBuf::try_from(Map::RingBuf(map("EVENTS")?))?;
        while ring.next().is_some() {}
        Ok(Self {
            ring: async_fd::readable(ring).context("failed to watch the map EVENTS")?,
            budgets: PerCpuArray::try_from(Map::PerCpuArray(map("BUDGET")?))?,
            epoch: MmapArray::new(map("EPOCH")?.fd(), "EPOCH", 1)?,
            _lock: lock,
        })
    }

    /// Begins an epoch: every CPU has a new budget of events.
    pub(crate) fn next_epoch(&self) {
        self.epoch.word(0, 0).fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of drops so far without an event, by CPU.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(crate) fn suppressed(&self) -> Result<Vec<u64>> {
        let budgets = self.budgets.get(&0, 0);
        let budgets = budgets.context("failed to read the map BUDGET")?;
        Ok(budgets.iter().map(|budget| budget.0.suppressed).collect())
    }

    /// Waits until the ring holds a record.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        // A record may have come before the wait: readiness is told once for all records.
        self.ring.readable().await.map(|mut ready| {
            ready.retain_ready();
        })
    }

    /// Takes every record out of the ring. Records of another length are another version's, and
    /// left out.
    pub(crate) fn drain(&mut self, mut visit: impl FnMut(Event)) {
        loop {
            while let Some(record) = self.ring.get_mut().next() {
                if let Some(event) = from_bytes(&record) {
                    visit(event);
                }
            }
            // Edge-triggered: readiness is cleared while the ring is empty, and the ring is read
            // once more.
            match async_fd::ready_now(&self.ring) {
                Some(mut ready) => ready.clear_ready(),
                None => return,
            }
        }
    }
}
