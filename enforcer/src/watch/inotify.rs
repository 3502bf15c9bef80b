//! inotify(7): events without details.

use std::{mem::MaybeUninit, os::fd::OwnedFd, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::{async_fd, printable::decode_path};

/// An inotify instance that reports events without details.
pub(super) struct Inotify(AsyncFd<Arc<OwnedFd>>);

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

    /// Watches a path, and returns the watch's number; an existing watch gets these flags.
    ///
    /// # Errors
    /// The kernel's refusal, also for a missing path.
    pub(super) fn add(&self, path: &Path, flags: WatchFlags) -> Result<i32> {
        add(self.0.get_ref(), path, flags)
    }

    /// Waits for an event, and drains the queue.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) async fn changed(&self) -> Result<()> {
        self.changed_where(|_| true).await
    }

    /// Waits for an event that `counts`, and drains the queue.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) async fn changed_where(&self, counts: impl Fn(&Event<'_>) -> bool) -> Result<()> {
        while !self.take(&counts).await? {}
        Ok(())
    }

    /// Waits for an event, which stays in the queue.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) async fn readable(&self) -> Result<()> {
        let ready = self.0.readable().await;
        ready.context("failed to wait for inotify").map(drop)
    }

    /// Waits for an event, drains the queue, and returns whether any event `counts`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) async fn take(&self, counts: impl Fn(&Event<'_>) -> bool) -> Result<bool> {
        let ready = self.0.readable().await;
        let mut ready = ready.context("failed to wait for inotify")?;
        let before = self.drain(&counts);
        ready.clear_ready();
        // An event between the two calls is read now; a later event wakes this task again.
        Ok(before | self.drain(&counts))
    }

    /// Drains the queue and returns whether any event counts.
    fn drain(&self, counts: impl Fn(&Event<'_>) -> bool) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        let mut any = false;
        while let Ok(event) = reader.next() {
            // An overrun queue may have lost an event that counts.
            any |= event.events().contains(ReadFlags::QUEUE_OVERFLOW) || counts(&event);
        }
        any
    }
}

/// Watches a path, and returns the watch's number. The call blocks for as long as the file system
/// does.
///
/// # Errors
/// The kernel's refusal, also for a missing path.
pub(super) fn add(inotify: &OwnedFd, path: &Path, flags: WatchFlags) -> Result<i32> {
    inotify::add_watch(inotify, path, flags)
        .with_context(|| format!("failed to watch {}", decode_path(path)))
}
