//! inotify(7): events without details, and a slower look where no instance can be had.

use std::{mem::MaybeUninit, os::fd::OwnedFd, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, WatchFlags};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep_until},
};

use crate::async_fd;

/// The time between looks without events.
const LOOK: Duration = Duration::from_secs(5);

/// An inotify instance that reports events without details.
pub(super) struct Inotify(AsyncFd<Arc<OwnedFd>>);

/// The events that were waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drained {
    /// An event counts.
    pub(super) counts: bool,
    /// A watch is gone: its path was removed or unmounted.
    pub(super) lost: bool,
}

impl Inotify {
    /// Makes an instance without watches.
    ///
    /// # Errors
    /// The kernel's refusal: root has `fs.inotify.max_user_instances` for all its services.
    pub(super) fn new() -> Result<Self> {
        let what = "failed to make an inotify instance";
        let made = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).context(what)?;
        Ok(Self(async_fd::readable(Arc::new(made)).context(what)?))
    }

    /// Returns the descriptor, for a thread that sets watches.
    pub(super) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(self.0.get_ref())
    }

    /// Watches a path; an existing watch gets these flags.
    ///
    /// # Errors
    /// The kernel's refusal, also for a missing path.
    pub(super) fn add(&self, path: &Path, flags: WatchFlags) -> Result<()> {
        add(self.0.get_ref(), path, flags).map(drop)
    }

    /// Waits for an event that `counts` or for the loss of a watch, and drains the queue.
    ///
    /// # Errors
    /// The runtime's refusal.
    pub(super) async fn changed_where(
        &self,
        counts: impl Fn(&Event<'_>) -> bool,
    ) -> Result<Drained> {
        loop {
            let ready = self.0.readable().await;
            let mut ready = ready.context("failed to wait for inotify")?;
            let before = self.drain(&counts);
            ready.clear_ready();
            // An event between the two calls is read now; a later event wakes this task again.
            let after = self.drain(&counts);
            let drained = Drained {
                counts: before.counts | after.counts,
                lost: before.lost | after.lost,
            };
            if drained != Drained::default() {
                return Ok(drained);
            }
        }
    }

    /// Drains the queue.
    fn drain(&self, counts: impl Fn(&Event<'_>) -> bool) -> Drained {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        let mut drained = Drained::default();
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::IGNORED) {
                drained.lost = true;
                continue;
            }
            // An overrun queue may have lost an event that counts.
            let is_overrun = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            drained.counts |= is_overrun || counts(&event);
        }
        drained
    }
}

/// Watches a path, and returns the watch's number. The call blocks for as long as the file system
/// does.
///
/// # Errors
/// The kernel's refusal, also for a missing path.
pub(super) fn add(inotify: &OwnedFd, path: &Path, flags: WatchFlags) -> Result<i32> {
    inotify::add_watch(inotify, path, flags)
        .with_context(|| format!("failed to watch {}", path.display()))
}

/// A look from time to time, in place of events.
#[derive(Debug)]
pub(super) struct SlowLook {
    period: Duration,
    due: Instant,
}

impl Default for SlowLook {
    fn default() -> Self {
        Self::every(LOOK)
    }
}

impl SlowLook {
    pub(super) fn every(period: Duration) -> Self {
        let due = Instant::now() + period;
        Self { period, due }
    }

    /// Waits until the next look is due. Cancel safe: a cancelled wait delays no look.
    pub(super) async fn due(&mut self) {
        sleep_until(self.due).await;
        self.due = Instant::now() + self.period;
    }
}
