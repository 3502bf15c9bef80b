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
use tokio::time::{Instant, sleep_until};

use super::{Watch, inotify::Inotify, pace::Pace};
use crate::{
    kernel::{pins::PinDir, runtime::lock_path},
    procfs::{
        reserved_ports,
        sysctl::{BRIDGE_FILTER_VLAN_TAGGED, BRIDGE_NF_CALL},
    },
};

/// A watch on the pins, for removal and for the end of a command's work on them.
///
/// Others may write a parent of the pins (a bpffs is mounted with mode 1777 unless told otherwise),
/// so that only the pin directory's own name counts there. An owner of that name, or of a full
/// queue, is held to the pace of the looks.
pub struct Pins {
    inotify: Inotify,
    pins: PinDir,
    /// The watch on the pin directory itself, where every name counts.
    directory: Option<i32>,
    pace: Pace,
}

impl Pins {
    /// Watches a pin directory, its parent, and its lock.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn watch(pin_dir: &Path) -> Result<Self> {
        let mut pins = Self {
            inotify: Inotify::new()?,
            pins: PinDir::new(pin_dir)?,
            directory: None,
            pace: Pace::new(Instant::now()),
        };
        pins.again()?;
        Ok(pins)
    }

    /// Watches the present directories and the present lock: `up` makes the pin directory anew, a
    /// mount replaces the parent, and the first writer makes the lock.
    ///
    /// # Errors
    /// The parent cannot be watched.
    fn again(&mut self) -> Result<()> {
        let removals = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        self.inotify.add(self.pins.parent(), removals)?;
        self.directory = self.inotify.add(self.pins.path(), removals).ok();
        // A writer has the lock's file open for writing, and closes the file at the end.
        if let Ok(lock) = lock_path(&self.pins) {
            self.inotify.add(&lock, WatchFlags::CLOSE_WRITE).ok();
        }
        Ok(())
    }

    /// Whether an event may tell of the pins.
    fn counts(&self, event: &Event<'_>) -> bool {
        // IGNORED: a watch ended with its file, which the parent's watch tells.
        if event.events().contains(ReadFlags::IGNORED) {
            return false;
        }
        // The lock's file and an unmounted file system have no name.
        let Some(name) = event.file_name() else {
            return true;
        };
        let own = self.pins.path().file_name().unwrap_or_default();
        Some(event.wd()) == self.directory || name.to_bytes() == own.as_encoded_bytes()
    }
}

impl Watch for Pins {
    /// Waits until a command may have changed the pins. Many changes in a short time are told
    /// together, see `Pace`.
    async fn changed(&mut self) -> Result<()> {
        loop {
            // A directory that is gone for now is found by the look without an event.
            self.again().ok();
            self.inotify.readable().await?;
            // Events of others take from the budget as well: their number costs no time.
            sleep_until(self.pace.next_look(Instant::now(), false)).await;
            let counts = self.inotify.take(|event| self.counts(event)).await?;
            self.pace.look(Instant::now());
            if counts {
                return Ok(());
            }
        }
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

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::time::timeout;

    use super::*;

    /// A pin directory in a parent, under watch.
    fn watched() -> (tempfile::TempDir, PathBuf, Pins) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("pins");
        fs::create_dir(&path).unwrap();
        let pins = Pins::watch(&path).unwrap();
        (parent, path, pins)
    }

    async fn is_told(pins: &mut Pins) -> bool {
        let waited = timeout(Duration::from_millis(500), pins.changed()).await;
        waited.is_ok_and(|told| told.is_ok())
    }

    fn make_and_remove(path: &Path) {
        fs::create_dir(path).unwrap();
        fs::remove_dir(path).unwrap();
    }

    #[tokio::test]
    async fn only_the_pins_own_name_counts_in_the_parent() {
        let (parent, path, mut pins) = watched();
        for name in ["x", "pins_enforcer_tmp", "pin", "pins2"] {
            make_and_remove(&parent.path().join(name));
        }
        assert!(!is_told(&mut pins).await, "names of others");
        fs::remove_dir(&path).unwrap();
        assert!(is_told(&mut pins).await, "removed");
        fs::create_dir(parent.path().join("new")).unwrap();
        fs::rename(parent.path().join("new"), &path).unwrap();
        assert!(is_told(&mut pins).await, "made anew");
        assert!(!is_told(&mut pins).await, "told twice");
    }

    #[tokio::test]
    async fn every_name_counts_in_the_pin_directory() {
        let (parent, path, mut pins) = watched();
        make_and_remove(&path.join("link_socket"));
        assert!(is_told(&mut pins).await);
        // Also in a directory that came later.
        let aside = parent.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        assert!(is_told(&mut pins).await);
        fs::create_dir(&path).unwrap();
        assert!(
            !is_told(&mut pins).await,
            "a new directory comes by a rename"
        );
        make_and_remove(&path.join("link_socket"));
        assert!(is_told(&mut pins).await);
    }

    #[tokio::test]
    async fn an_own_change_among_those_of_others_is_told() {
        let (parent, path, mut pins) = watched();
        for number in 0..2000 {
            make_and_remove(&parent.path().join(format!("x{number}")));
        }
        fs::remove_dir(&path).unwrap();
        assert!(is_told(&mut pins).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_own_name_made_again_and_again_is_told_at_a_pace() {
        let (_parent, path, mut pins) = watched();
        fs::remove_dir(&path).unwrap();
        let begin = Instant::now();
        let mut told = 0;
        while begin.elapsed() < Duration::from_secs(10) {
            pins.changed().await.unwrap();
            told += 1;
            make_and_remove(&path);
        }
        assert!((40..=60).contains(&told), "{told} times");
    }
}
