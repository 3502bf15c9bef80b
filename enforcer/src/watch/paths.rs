//! Single paths under inotify(7): the pins, and sysctls with other writers.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rustix::fs::{
    Mode, OFlags,
    inotify::{Event, ReadFlags, WatchFlags},
    open,
};

use super::{Watch, inotify::Inotify};
use crate::{
    kernel::{pins::PinDir, runtime::lock_path},
    procfs::{
        reserved_ports,
        sysctl::{BRIDGE_FILTER_VLAN_TAGGED, BRIDGE_NF_CALL},
    },
};

/// A watch on the pins, for removal and for the end of a command's work on them.
pub struct Pins {
    inotify: Inotify,
    pins: PinDir,
}

impl Pins {
    /// Watches a pin directory, its parent, and its lock.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn watch(pin_dir: &Path) -> Result<Self> {
        let pins = Self {
            inotify: Inotify::new()?,
            pins: PinDir::new(pin_dir)?,
        };
        pins.again()?;
        Ok(pins)
    }

    /// Watches the present directories and the present lock: `up` makes the pin directory anew, a
    /// mount replaces the parent, and the first writer makes the lock.
    ///
    /// # Errors
    /// The parent cannot be watched.
    fn again(&self) -> Result<()> {
        let removals = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        self.inotify.add(self.pins.parent(), removals)?;
        self.inotify.add(self.pins.path(), removals).ok();
        // A writer has the lock's file open for writing, and closes the file at the end.
        if let Ok(lock) = lock_path(&self.pins) {
            self.inotify.add(&lock, WatchFlags::CLOSE_WRITE).ok();
        }
        Ok(())
    }
}

impl Watch for Pins {
    /// Waits until a command may have changed the pins.
    async fn changed(&mut self) -> Result<()> {
        // A directory that is gone for now is found by the look without an event.
        self.again().ok();
        // IGNORED: a watch ended with its file, which the parent's watch tells.
        let counts = |event: &Event<'_>| !event.events().contains(ReadFlags::IGNORED);
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
        let paths = [reserved_ports::PATH, BRIDGE_FILTER_VLAN_TAGGED];
        let paths = paths.into_iter().chain(BRIDGE_NF_CALL);
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
