//! The registry's files.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use rustix::fs::inotify::WatchFlags;
use tokio::time::{Instant, timeout_at};

use super::paths::Inotify;

/// How long the files must be left alone before they are read: an editor's save is several steps.
const QUIET: Duration = Duration::from_millis(50);
/// How long that is waited for at most, where somebody never stops writing.
const PATIENCE: Duration = Duration::from_millis(500);

/// A registry's main file and its fragments.
///
/// Folders are watched, not files: editors put a new file in the old one's place. Where a folder
/// is not there, the nearest one above it is watched until it comes; where the path goes through
/// links, so are the folders that they lead to.
pub struct Files {
    main: PathBuf,
    inotify: Inotify,
    /// Something changed, and nobody was told yet.
    pending: Option<Pending>,
}

/// When the files were touched.
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

    /// Until when they are waited for, if nothing more happens.
    fn end(self) -> Instant {
        (self.last + QUIET).min(self.first + PATIENCE)
    }
}

impl Files {
    /// Watches a registry by the path of its main file.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn watch(main: &Path) -> Result<Self> {
        let main = main.to_owned();
        let inotify = renewed(&main)?;
        Ok(Self {
            main,
            inotify,
            pending: None,
        })
    }

    /// The main file.
    pub fn main(&self) -> &Path {
        &self.main
    }

    /// Whether something changed that nobody was told of yet.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Has the files taken for changed.
    pub fn touch(&mut self) {
        self.pending.get_or_insert_with(Pending::now);
    }

    /// Waits until a file may have changed, and then until they are left alone. Cancelling it loses
    /// nothing, however often that happens.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn changed(&mut self) -> Result<()> {
        let pending = match &mut self.pending {
            Some(pending) => pending,
            none => {
                self.inotify.changed().await?;
                none.insert(Pending::now())
            }
        };
        while let Ok(more) = timeout_at(pending.end(), self.inotify.changed()).await {
            more?;
            pending.last = Instant::now();
            if pending.last >= pending.first + PATIENCE {
                break;
            }
        }
        // A folder may have come, gone or been replaced. Before the files are read: what changes
        // after that is seen.
        self.inotify = renewed(&self.main)?;
        self.pending = None;
        Ok(())
    }
}

fn renewed(main: &Path) -> Result<Inotify> {
    let inotify = Inotify::new()?;
    let fragments = main.with_extension("d");
    let mut watched = 0;
    for path in [main, &fragments.join("any")] {
        // As it is written, and where its links lead.
        let real = path.canonicalize().ok();
        for path in [Some(path), real.as_deref()].into_iter().flatten() {
            watched += usize::from(watch_above(&inotify, path));
        }
    }
    // Not even the root of the file system: there is a reason, and it is not a missing folder.
    if watched == 0 {
        inotify.add(Path::new("/"), FLAGS)?;
    }
    Ok(inotify)
}

/// What happens to a file that counts: written to its end, put in place, taken away.
const FLAGS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ATTRIB);

/// Watches the nearest folder above a path that is there, and says whether there was one.
fn watch_above(inotify: &Inotify, path: &Path) -> bool {
    path.ancestors()
        .skip(1)
        .any(|folder| inotify.add(folder, FLAGS).is_ok())
}
