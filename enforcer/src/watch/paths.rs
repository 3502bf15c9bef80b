//! Single paths under inotify(7): the pins, and sysctls with other writers.

use std::{
    ffi::CStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use anyhow::Result;
use rustix::fs::{
    Mode, OFlags,
    inotify::{Event, ReadFlags, WatchFlags},
    open,
};

use super::{Watch, inotify::Inotify};
use crate::procfs::{reserved_ports, sysctl::BRIDGE_NF_CALL};

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
