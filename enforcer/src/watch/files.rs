//! The registry's files.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
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
/// links, so are the folders that hold them, and those that they lead to.
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
    let mut watched = 0;
    for folder in folders_of(main) {
        watched += usize::from(inotify.add(&folder, FLAGS).is_ok());
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

/// The folders in which something must change before a registry can be another one.
fn folders_of(main: &Path) -> BTreeSet<PathBuf> {
    let fragments = main.with_extension("d");
    let mut folders = BTreeSet::new();
    for path in [main, &fragments.join("any")] {
        way_to(path, &mut folders);
    }
    // Of a fragment that is a file of the folder, that says all.
    let entries = fs::read_dir(&fragments).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            way_to(&entry.path(), &mut folders);
        }
    }
    folders
}

/// Adds the folder that a path leads to, and those of all links on the way there; where the way
/// ends early, the last folder that is there.
fn way_to(path: &Path, folders: &mut BTreeSet<PathBuf>) {
    /// linux/namei.h: MAXSYMLINKS.
    const MOST: usize = 40;
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
            Ok(target) if links < MOST => {
                links += 1;
                folders.insert(here.clone());
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                left.extend(components(&target));
            }
            _ if left.is_empty() || !next.is_dir() => {
                folders.insert(here);
                return;
            }
            _ => here = next,
        }
    }
    // The path of a folder.
    folders.insert(here);
}

/// The names of a path, the last one first.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.rev().collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The folders that matter for `enforcer/main.toml` in a new folder, as seen from there.
    fn watched(make: impl Fn(&Path)) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for folder in ["etc", "srv/deep", "static"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        make(&root);
        let folders = folders_of(&root.join("etc/enforcer/main.toml"));
        let inside = folders.iter().filter_map(|it| it.strip_prefix(&root).ok());
        inside.map(|it| it.display().to_string()).collect()
    }

    fn folder(root: &Path) {
        fs::create_dir_all(root.join("etc/enforcer/main.d")).unwrap();
    }

    #[test]
    fn files_are_watched_by_their_folder() {
        assert_eq!(watched(folder), ["etc/enforcer", "etc/enforcer/main.d"]);
        assert_eq!(watched(|_| ()), ["etc"], "until there is one");
    }

    #[test]
    fn every_link_on_the_way_is_watched() {
        let way = watched(|root| {
            symlink(root.join("static/enforcer"), root.join("etc/enforcer")).unwrap();
            symlink("../srv/real", root.join("static/enforcer")).unwrap();
            fs::create_dir_all(root.join("srv/real")).unwrap();
            symlink("../deep/x.toml", root.join("srv/real/main.toml")).unwrap();
        });
        assert_eq!(way, ["etc", "srv/deep", "srv/real", "static"]);
    }

    #[test]
    fn a_fragment_may_be_a_link() {
        let way = watched(|root| {
            folder(root);
            symlink(
                root.join("srv/deep/a.toml"),
                root.join("etc/enforcer/main.d/a.toml"),
            )
            .unwrap();
        });
        assert_eq!(way, ["etc/enforcer", "etc/enforcer/main.d", "srv/deep"]);
    }

    #[test]
    fn links_in_a_circle_have_an_end() {
        let way = watched(|root| symlink("enforcer", root.join("etc/enforcer")).unwrap());
        assert_eq!(way, ["etc"]);
    }
}
