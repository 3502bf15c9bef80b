//! The consumer's end of the events: the ring buffer, the epoch, and what made no event.

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
    maps::{Raw, open},
    object::check_shape,
    pins::PinDir,
};
use crate::async_fd;

// SAFETY: integers, without padding.
unsafe impl aya::Pod for Raw<Budget> {}

/// The right to read the events of a pin directory, which one process has at a time.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held, never read")] File);

impl Turn {
    /// Takes it, if nobody has it.
    ///
    /// # Errors
    /// The directory cannot be opened or locked.
    pub(crate) fn take(pins: &PinDir) -> Result<Option<Self>> {
        let what = || format!("failed to lock {}", pins.path().display());
        let directory = File::open(pins.path()).with_context(what)?;
        match directory.try_lock() {
            Ok(()) => Ok(Some(Self(directory))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(what),
        }
    }

    /// Waits for it. Blocks the thread.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn wait(pins: &PinDir) -> Result<Self> {
        let what = || format!("failed to lock {}", pins.path().display());
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
    _turn: Turn,
}

impl Events {
    /// Opens them; what the ring holds from before is thrown away.
    ///
    /// # Errors
    /// The kernel's refusal, or maps of another layout.
    pub(crate) fn open(pins: &PinDir, turn: Turn) -> Result<Self> {
        let map = |name: &str| -> Result<MapData> {
            let map = open(&pins.map(name))
                .with_context(|| format!("failed to open the map {name} (CAP_BPF is needed)"))?;
            check_shape(name, &map)?;
            Ok(map)
        };
        let mut ring = RingBuf::try_from(Map::RingBuf(map("EVENTS")?))?;
        while ring.next().is_some() {}
        Ok(Self {
            ring: async_fd::readable(ring).context("failed to watch the map EVENTS")?,
            budgets: PerCpuArray::try_from(Map::PerCpuArray(map("BUDGET")?))?,
            epoch: MmapArray::new(map("EPOCH")?.fd(), "EPOCH", 1)?,
            _turn: turn,
        })
    }

    /// Lets every CPU make events again.
    pub(crate) fn next_epoch(&self) {
        self.epoch.word(0, 0).fetch_add(1, Ordering::Relaxed);
    }

    /// The drops so far that made no event, by CPU.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(crate) fn silent(&self) -> Result<Vec<u64>> {
        let budgets = self.budgets.get(&0, 0);
        let budgets = budgets.context("failed to read the map BUDGET")?;
        Ok(budgets.iter().map(|budget| budget.0.suppressed).collect())
    }

    /// Waits until the ring holds something.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        // A record may have come before anybody waited: readiness is told once for all of them.
        self.ring.readable().await.map(|mut ready| {
            ready.retain_ready();
        })
    }

    /// Takes everything out of the ring.
    pub(crate) fn drain(&mut self, mut visit: impl FnMut(Event)) {
        loop {
            while let Some(record) = self.ring.get_mut().next() {
                if let Some(event) = read(&record) {
                    visit(event);
                }
            }
            // Edge-triggered: cleared while the ring is empty, and looked at once more after.
            match async_fd::ready_now(&self.ring) {
                Some(mut ready) => ready.clear_ready(),
                None => return,
            }
        }
    }
}

/// A record as an event; records of another length are another version's.
fn read(record: &[u8]) -> Option<Event> {
    let bytes: &[u8; size_of::<Event>()] = record.try_into().ok()?;
    // SAFETY: an event is integers without padding, so every pattern of as many bytes is one; the
    // read does not ask for alignment.
    Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
}
