//! Single paths under inotify(7): the pins, and sysctls with other writers.

use std::{
    ffi::CStr,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::fs::{
    Mode, OFlags,
    inotify::{self, CreateFlags, Event, ReadFlags, WatchFlags},
    open,
};
use tokio::io::unix::AsyncFd;

use super::Watch;
use crate::{
    async_fd,
    procfs::{reserved_ports, sysctl::BRIDGE_NF_CALL},
};

/// An inotify instance that reports events without details.
pub(super) struct Inotify(AsyncFd<OwnedFd>);

impl Inotify {
    /// Makes an instance without watches.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn new() -> Result<Self> {
        let what = "failed to make an inotify instance";
        let made = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).context(what)?;
        Ok(Self(async_fd::readable(made).context(what)?))
    }

    /// Watches a path; an existing watch gets these flags.
    ///
    /// # Errors
    /// The kernel's refusal, also for a missing path.
    pub(super) fn add(&self, path: &Path, flags: WatchFlags) -> Result<()> {
        inotify::add_watch(self.0.get_ref(), path, flags)
            .map(drop)
            .with_context(|| format!("failed to watch {}", path.display()))
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
    async fn changed_where(&self, counts: impl Fn(&Event<'_>) -> bool) -> Result<()> {
        loop {
            let ready = self.0.readable().await;
            let mut ready = ready.context("failed to wait for inotify")?;
            let before = self.drain(&counts);
            ready.clear_ready();
            // An event between the two calls is read now; a later event wakes this task again.
            if before | self.drain(&counts) {
                return Ok(());
            }
        }
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

/// A watch on the pins, for removal and for the end of a command's work on them.
pub struct Pins {
    inotify: Inotify,
    pin_dir: PathBuf,
    /// The end of the name of the lock's file.
    lock: Vec<u8>,
}

impl Pins {
    /// Watches a pin directory, its parent, and the folder of the locks.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn watch(pin_dir: &Path, locks: &Path) -> Result<Self> {
        let name = pin_dir.file_name().unwrap_or_default();
        let mut lock = vec![b'-'];
        lock.extend_from_slice(name.as_bytes());
        lock.extend_from_slice(b".lock");
        let pins = Self {
            inotify: Inotify::new()?,
            pin_dir: pin_dir.to_owned(),
            lock,
        };
        pins.again()?;
        // A writer has the file of the lock open for writing, and closes the file at the end.
        pins.inotify.add(locks, WatchFlags::CLOSE_WRITE).ok();
        Ok(pins)
    }

    /// Watches the present directories: `up` makes the pin directory anew, and a mount replaces the
    /// parent.
    ///
    /// # Errors
    /// The parent cannot be watched.
    fn again(&self) -> Result<()> {
        let removals = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        let parent = self.pin_dir.parent().unwrap_or(Path::new("/"));
        self.inotify.add(parent, removals)?;
        self.inotify.add(&self.pin_dir, removals).ok();
        Ok(())
    }
}

impl Watch for Pins {
    /// Waits until a command may have changed the pins.
    async fn changed(&mut self) -> Result<()> {
        // A directory that is gone for now is found by the look without an event.
        self.again().ok();
        let counts = |event: &Event<'_>| {
            let is_lock = |name: &CStr| name.to_bytes().ends_with(&self.lock);
            !event.events().contains(ReadFlags::CLOSE_WRITE)
                || event.file_name().is_some_and(is_lock)
        };
        self.inotify.changed_where(counts).await
    }
}

/// A watch on sysctls that affect the policy and have other writers.
pub struct Settings {
    inotify: Inotify,
    /// Each path with an open descriptor: the kernel drops the inode of a sysctl without users, and
    /// the next lookup makes another inode without the watch (proc_sys_lookup in
    /// fs/proc/proc_sysctl.c).
    paths: Vec<(PathBuf, Option<OwnedFd>)>,
}

impl Settings {
    /// Watches the existing sysctls. Writes through this mount of /proc, or another mount for the
    /// same PID namespace, are seen.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn watch() -> Result<Self> {
        let paths = [reserved_ports::PATH].into_iter().chain(BRIDGE_NF_CALL);
        let mut settings = Self {
            inotify: Inotify::new()?,
            paths: paths.map(|path| (path.into(), None)).collect(),
        };
        settings.again();
        Ok(settings)
    }

    /// Renews the watches, for new sysctls: br_netfilter adds some when loaded.
    pub fn again(&mut self) {
        for (path, held) in &mut self.paths {
            // A missing sysctl cannot be written.
            *held = open(&*path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
            self.inotify.add(path, WatchFlags::MODIFY).ok();
        }
    }
}

impl Watch for Settings {
    /// Waits for a write to any of the sysctls.
    async fn changed(&mut self) -> Result<()> {
        self.inotify.changed().await
    }
}
