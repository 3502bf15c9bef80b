//! Single paths under inotify(7): the pins, and sysctls with other writers.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Error, Result};
use rustix::fs::{
    Mode, OFlags,
    inotify::{Event, ReadFlags, WatchFlags},
    open,
};

use super::inotify::{Inotify, SlowLook};
use crate::procfs::{reserved_ports, sysctl::BRIDGE_NF_CALL};

/// A watch on the pins, for removal and for the end of a command's work on them.
pub struct Pins {
    parent: PathBuf,
    /// `None` while no watch can be had: then a look from time to time takes its place.
    inotify: Option<Inotify>,
    look: SlowLook,
}

impl Pins {
    /// Watches the parent of a pin directory. Without a watch [`Self::changed`] returns every five
    /// seconds; the reason comes with the watcher.
    pub fn open(pin_dir: &Path) -> (Self, Option<Error>) {
        let parent = pin_dir.parent().unwrap_or(Path::new("/")).to_owned();
        let (inotify, reason) = split(Self::watch(&parent));
        let look = SlowLook::default();
        let pins = Self {
            parent,
            inotify,
            look,
        };
        (pins, reason)
    }

    fn watch(parent: &Path) -> Result<Inotify> {
        let inotify = Inotify::new()?;
        // A writer holds a lock on this directory, and closes the directory at the end. `down`
        // renames and removes entries.
        let changes = WatchFlags::CLOSE_NOWRITE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO;
        inotify.add(parent, changes)?;
        Ok(inotify)
    }

    /// Waits until a command may have changed the pins, or without a watch until the next look.
    pub async fn changed(&mut self) {
        // Readers close the pin directory, an entry with a name; writers also close the parent.
        let counts = |event: &Event<'_>| {
            event.file_name().is_none() || !event.events().contains(ReadFlags::CLOSE_NOWRITE)
        };
        let Some(inotify) = &self.inotify else {
            self.look.due().await;
            self.inotify = Self::watch(&self.parent).ok();
            return;
        };
        match inotify.changed_where(counts).await {
            Ok(drained) if !drained.lost => {}
            // The parent was removed or unmounted, and may come back at the same path.
            _ => self.inotify = Self::watch(&self.parent).ok(),
        }
    }
}

/// A watch on sysctls that affect the policy and have other writers.
pub struct Settings {
    /// `None` while no instance can be had: then a look from time to time takes its place.
    inotify: Option<Inotify>,
    look: SlowLook,
    /// Each path with an open descriptor: the kernel drops the inode of a sysctl without users, and
    /// the next lookup makes another inode without the watch (proc_sys_lookup in
    /// fs/proc/proc_sysctl.c).
    paths: Vec<(PathBuf, Option<OwnedFd>)>,
}

impl Settings {
    /// Watches the existing sysctls. Writes through this mount of /proc, or another mount for the
    /// same PID namespace, are seen. Without an instance [`Self::changed`] returns every five
    /// seconds; the reason comes with the watcher.
    pub fn open() -> (Self, Option<Error>) {
        let paths = [reserved_ports::PATH].into_iter().chain(BRIDGE_NF_CALL);
        let (inotify, reason) = split(Inotify::new());
        let mut settings = Self {
            inotify,
            look: SlowLook::default(),
            paths: paths.map(|path| (path.into(), None)).collect(),
        };
        settings.again();
        (settings, reason)
    }

    /// Renews the watches, for new sysctls: br_netfilter adds some when loaded.
    pub fn again(&mut self) {
        for (path, held) in &mut self.paths {
            // A missing sysctl cannot be written.
            *held = open(&*path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
            if let Some(inotify) = &self.inotify {
                inotify.add(path, WatchFlags::MODIFY).ok();
            }
        }
    }

    /// Waits for a write to any of the sysctls, or without an instance until the next look.
    pub async fn changed(&mut self) {
        let Some(inotify) = &self.inotify else {
            self.look.due().await;
            self.inotify = Inotify::new().ok();
            return self.again();
        };
        // A sysctl that goes, with its module, is a change too.
        if inotify.changed_where(|_| true).await.is_err() {
            self.inotify = None;
        }
    }
}

fn split(made: Result<Inotify>) -> (Option<Inotify>, Option<Error>) {
    match made {
        Ok(inotify) => (Some(inotify), None),
        Err(reason) => (None, Some(reason)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::time::timeout;

    use super::*;

    async fn is_told(pins: &mut Pins) -> bool {
        pins.look = SlowLook::every(Duration::from_millis(100));
        let limit = Duration::from_secs(1);
        timeout(limit, pins.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_parent_that_comes_back_is_watched_again() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("parent");
        fs::create_dir(&parent).unwrap();
        let (mut pins, reason) = Pins::open(&parent.join("pins"));
        assert!(reason.is_none());
        assert!(!is_told(&mut pins).await, "the control");
        fs::create_dir(parent.join("pins")).unwrap();
        fs::remove_dir(parent.join("pins")).unwrap();
        assert!(is_told(&mut pins).await);
        fs::remove_dir(&parent).unwrap();
        assert!(is_told(&mut pins).await);
        // Looks until there is a parent.
        assert!(is_told(&mut pins).await);
        fs::create_dir(&parent).unwrap();
        assert!(is_told(&mut pins).await);
        assert!(!is_told(&mut pins).await);
        fs::create_dir(parent.join("pins")).unwrap();
        fs::remove_dir(parent.join("pins")).unwrap();
        assert!(is_told(&mut pins).await);
    }

    #[tokio::test]
    async fn a_missing_parent_is_a_reason() {
        let root = tempfile::tempdir().unwrap();
        let (mut pins, reason) = Pins::open(&root.path().join("absent/pins"));
        assert!(reason.unwrap().to_string().contains("failed to watch"));
        assert!(is_told(&mut pins).await);
    }

    #[tokio::test]
    async fn settings_are_looked_at_without_an_instance() {
        let (mut settings, reason) = Settings::open();
        assert!(reason.is_none());
        settings.inotify = None;
        settings.look = SlowLook::every(Duration::from_millis(100));
        let limit = Duration::from_secs(1);
        timeout(limit, settings.changed()).await.unwrap();
        assert!(settings.inotify.is_some());
    }
}
