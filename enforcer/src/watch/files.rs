//! The registry's files.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Error, Result};
use rustix::{
    fs::inotify::{self, Event, ReadFlags, WatchFlags},
    io::Errno,
};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::inotify::{Inotify, add};
use crate::trust::{MAX_LINKS, components};

/// The quiet time before the files are read, since an editor saves in several steps.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// The longest debounce, for a file under constant change.
const MAX_DEBOUNCE: Duration = Duration::from_millis(500);
/// The time between looks without events.
const LOOK: Duration = Duration::from_secs(5);

/// The changes of a registry's main file and its fragments.
///
/// Watches are on directories, not on files: editors replace files. For a missing directory the
/// nearest existing ancestor is watched; for a path through symbolic links, also the directories of
/// the links and of their targets. [`Watches`] sets the watches, in a thread that may wait for a
/// dead mount; no call here waits for a file system.
pub struct FileWatcher {
    main: PathBuf,
    /// `None` while no instance can be had: then a look from time to time takes its place.
    inotify: Option<Inotify>,
    watches: Watches,
    look: SlowLook,
    /// A change that no caller was told of yet.
    pending: Option<Pending>,
}

/// The times of the first and the last change.
#[derive(Clone, Copy, Debug)]
struct Pending {
    first: Instant,
    last: Instant,
}

impl Pending {
    fn now() -> Self {
        let now = Instant::now();
        Self {
            first: now,
            last: now,
        }
    }

    /// Returns the end of the debounce, if no further change follows.
    fn end(self) -> Instant {
        (self.last + DEBOUNCE).min(self.first + MAX_DEBOUNCE)
    }
}

impl FileWatcher {
    /// Makes the one inotify instance for the life of the watcher, by the path of a registry's main
    /// file. Nothing is watched before the first [`Watches::renew`].
    ///
    /// Without an instance [`Self::changed`] returns every five seconds; the reason comes with the
    /// watcher.
    pub fn open(main: &Path) -> (Self, Option<Error>) {
        let mut watcher = Self {
            main: main.to_owned(),
            inotify: None,
            watches: Watches::default(),
            look: SlowLook::every(LOOK),
            pending: None,
        };
        let reason = watcher.connect().err();
        (watcher, reason)
    }

    fn connect(&mut self) -> Result<()> {
        let inotify = Inotify::new()?;
        // One instance for life: an earlier one does not exist.
        self.watches.0.inotify.set(inotify.descriptor()).ok();
        self.inotify = Some(inotify);
        Ok(())
    }

    /// Returns the watches, for the thread that reads the files.
    pub fn watches(&self) -> Watches {
        self.watches.clone()
    }

    /// Returns the path of the main file.
    pub fn main(&self) -> &Path {
        &self.main
    }

    /// Watches the registry of another main file, from the next [`Watches::renew`] on.
    pub fn follow(&mut self, main: PathBuf) {
        self.main = main;
    }

    /// Returns whether a change is pending.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Marks the files as changed.
    pub fn touch(&mut self) {
        self.pending.get_or_insert_with(Pending::now);
    }

    /// Waits until a file may have changed, and then for the debounce; without watches until the
    /// next look. The caller renews the watches and then reads the files, in this order. Cancel
    /// safe: a cancelled wait loses no change.
    pub async fn changed(&mut self) {
        let pending = match &mut self.pending {
            Some(pending) => pending,
            none => {
                let is_blind = self.watches.0.is_blind.load(Ordering::Relaxed);
                let by_look = is_blind || self.inotify.is_none();
                tokio::select! {
                    () = event(self.inotify.as_ref()) => {}
                    () = self.look.due(), if by_look => {}
                }
                none.insert(Pending::now())
            }
        };
        let inotify = self.inotify.as_ref();
        while timeout_at(pending.end(), event(inotify)).await.is_ok() {
            pending.last = Instant::now();
            if pending.last >= pending.first + MAX_DEBOUNCE {
                break;
            }
        }
        self.pending = None;
        if self.inotify.is_none() {
            // The next renewal watches, if an instance can be had now.
            self.connect().ok();
        }
    }
}

/// Waits for an event; for ever without an instance.
async fn event(inotify: Option<&Inotify>) {
    // IGNORED: a renewal removed a watch. At a directory's own end DELETE_SELF or UNMOUNT come too.
    let counts = |event: &Event<'_>| !event.events().contains(ReadFlags::IGNORED);
    let changed = match inotify {
        Some(inotify) => inotify.changed_where(counts).await,
        None => std::future::pending().await,
    };
    if changed.is_err() {
        // The runtime ends.
        std::future::pending::<()>().await;
    }
}

/// A look from time to time, in place of events.
#[derive(Debug)]
struct SlowLook {
    period: Duration,
    due: Instant,
}

impl SlowLook {
    fn every(period: Duration) -> Self {
        let due = Instant::now() + period;
        Self { period, due }
    }

    /// Waits until the next look is due. Cancel safe: a cancelled wait delays no look.
    async fn due(&mut self) {
        sleep_until(self.due).await;
        self.due = Instant::now() + self.period;
    }
}

/// The watches of a [`FileWatcher`], for the thread that reads the files: each call may block for
/// as long as the file systems do.
#[derive(Clone, Debug, Default)]
pub struct Watches(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inotify: OnceLock<Arc<OwnedFd>>,
    /// The numbers of the watches.
    watched: Mutex<BTreeSet<i32>>,
    /// A directory could not be watched.
    is_blind: AtomicBool,
}

impl Watches {
    /// Sets the watches anew for a registry's main file: a directory may have come, gone or been
    /// replaced. The caller reads the files afterwards, so that no later change is missed.
    ///
    /// # Errors
    /// The first directory that exists and cannot be watched, such as beyond
    /// `fs.inotify.max_user_watches`. The watcher then also looks every five seconds.
    pub fn renew(&self, main: &Path) -> Result<()> {
        let Some(inotify) = self.0.inotify.get() else {
            // The watcher told why.
            return Ok(());
        };
        let mut failed = None;
        let mut now = BTreeSet::new();
        for directory in directories_of(main) {
            match add(inotify, &directory, FLAGS) {
                Ok(watch) => {
                    now.insert(watch);
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let mut watched = self
            .0
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for &old in watched.difference(&now) {
            // The kernel has removed the watch of a removed directory.
            inotify::remove_watch(inotify, old).ok();
        }
        *watched = now;
        self.0.is_blind.store(failed.is_some(), Ordering::Relaxed);
        failed.map_or(Ok(()), Err)
    }
}

/// Whether a directory went between the list and the watch: its parent, which is watched, tells.
fn is_gone(error: &Error) -> bool {
    matches!(
        error.downcast_ref::<Errno>(),
        Some(&(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
    )
}

/// The inotify events that count: a file completely written, put in place or removed.
const FLAGS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ATTRIB);

/// Returns every directory in which a change can change the registry.
fn directories_of(main: &Path) -> BTreeSet<PathBuf> {
    let fragments = main.with_extension("d");
    let mut directories = BTreeSet::new();
    for path in [main, &fragments.join("any")] {
        add_way_to(path, &mut directories);
    }
    // The directory's watch covers fragments that are regular files.
    let entries = fs::read_dir(&fragments).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            add_way_to(&entry.path(), &mut directories);
        }
    }
    directories
}

/// Adds the directory of a path's target, and the directories of all links on the way; for a path
/// that does not exist, the last existing directory.
fn add_way_to(path: &Path, directories: &mut BTreeSet<PathBuf>) {
    let mut links = 0;
    let mut here = PathBuf::from("/");
    let mut left: Vec<OsString> = components(path);
    while let Some(name) = left.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        match fs::read_link(&next) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                directories.insert(here.clone());
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                left.extend(components(&target));
            }
            _ if left.is_empty() || !next.is_dir() => {
                directories.insert(here);
                return;
            }
            _ => here = next,
        }
    }
    // The path names a directory.
    directories.insert(here);
}
