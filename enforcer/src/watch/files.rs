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

/// The quiet time before the files are read, since an editor saves in several steps.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// The longest debounce, for a file under constant change.
const MAX_DEBOUNCE: Duration = Duration::from_millis(500);

/// A registry's main file and its fragments.
///
/// Watches are on directories, not on files: editors replace files. For a missing directory the
/// nearest existing ancestor is watched; for a path through symbolic links, also the directories of
/// the links and of their targets.
pub struct Files {
    main: PathBuf,
    inotify: Inotify,
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

    /// Returns the path of the main file.
    pub fn main(&self) -> &Path {
        &self.main
    }

    /// Returns whether a change is pending.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Marks the files as changed.
    pub fn touch(&mut self) {
        self.pending.get_or_insert_with(Pending::now);
    }

    /// Waits until a file may have changed, and then for the debounce. Cancel safe: a cancelled
    /// wait loses no change.
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
            if pending.last >= pending.first + MAX_DEBOUNCE {
                break;
            }
        }
        // A directory may have come, gone or been replaced. The watches are renewed before the
        // caller reads the files, so that no later change is missed.
        self.inotify = renewed(&self.main)?;
        self.pending = None;
        Ok(())
    }
}

fn renewed(main: &Path) -> Result<Inotify> {
    let inotify = Inotify::new()?;
    let mut watched = 0;
    for directory in directories_of(main) {
        watched += usize::from(inotify.add(&directory, FLAGS).is_ok());
    }
    // A missing directory cannot be the reason if even the root has no watch: report the error.
    if watched == 0 {
        inotify.add(Path::new("/"), FLAGS)?;
    }
    Ok(inotify)
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

/// Returns the components of a path, the last first.
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

    /// Returns the watched directories for `etc/enforcer/main.toml` in a new directory, relative to
    /// the latter.
    fn watched(make: impl Fn(&Path)) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for directory in ["etc", "srv/deep", "static"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        make(&root);
        let directories = directories_of(&root.join("etc/enforcer/main.toml"));
        let inside = directories
            .iter()
            .filter_map(|it| it.strip_prefix(&root).ok());
        inside.map(|it| it.display().to_string()).collect()
    }

    fn directory(root: &Path) {
        fs::create_dir_all(root.join("etc/enforcer/main.d")).unwrap();
    }

    #[test]
    fn files_are_watched_by_their_directory() {
        assert_eq!(watched(directory), ["etc/enforcer", "etc/enforcer/main.d"]);
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
            directory(root);
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
