//! The folder /run/enforcer: the writers' lock of each pin directory, and the word of `down`.
//!
//! The folder is root's alone, so that no user can hold a lock or leave a word. A word is an empty
//! file that `down` leaves before the guards go: pins that vanish without a word were removed by
//! another program, and `run` puts the pins back.

mod word;

use std::{
    ffi::OsString,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::geteuid;

use super::pins::PinDir;
use crate::{
    failpoint::{Call, through},
    printable::decode_path,
    procfs::locks,
};

pub(crate) use word::Word;

/// The folder of locks, words and sockets, for root alone; systemd makes the folder for the unit.
pub const RUNTIME: &str = "/run/enforcer";

/// The longest pause between two attempts to take a lock.
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

/// Makes the folder, and takes a folder of looser mode back for root.
///
/// # Errors
/// The folder cannot be made, or is another user's.
pub(crate) fn make_folder() -> Result<()> {
    make_folder_at(Path::new(RUNTIME))
}

fn make_folder_at(folder: &Path) -> Result<()> {
    let what = || format!("failed to make {}", decode_path(folder));
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(what);
        }
        _ => {}
    }
    let found = fs::symlink_metadata(folder).with_context(what)?;
    ensure!(
        found.is_dir() && (found.uid() == 0 || found.uid() == geteuid().as_raw()),
        "{0} is not a folder of root: remove it, or run `chown root {0}`",
        decode_path(folder)
    );
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700)).with_context(what)?;
    }
    Ok(())
}

/// The path of the lock of a pin directory: named by the parent's file system and inode, because
/// mounts may show one bpffs at several paths.
///
/// # Errors
/// The parent cannot be examined.
pub(crate) fn lock_path(pins: &PinDir) -> Result<PathBuf> {
    let parent = pins.parent();
    let found = fs::metadata(parent)
        .with_context(|| format!("failed to examine {}", decode_path(parent)))?;
    let id = format!("{:x}-{:x}", found.dev(), found.ino());
    Ok(file_of(pins, &id, ".lock"))
}

/// The file `/run/enforcer/ID-NAME` with an ending, for the name of a pin directory: each byte of
/// the name stays, so no two pin directories share a file.
pub(crate) fn file_of(pins: &PinDir, id: &str, ending: &str) -> PathBuf {
    let mut file = OsString::from(format!("{id}-"));
    file.push(pins.path().file_name().unwrap_or_default());
    file.push(ending);
    Path::new(RUNTIME).join(file)
}

/// The right to change the pins of a pin directory, held until the drop.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
    /// The reason why the parent of the pins is locked, in place of a file in the folder.
    instead: Option<String>,
}

/// The failure to take a lock.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process holds the lock for longer than the limit.
    Held(Holder),
    /// The file of the lock cannot be made or locked.
    Failed(anyhow::Error),
}

/// The holder of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The path of the lock.
    pub path: PathBuf,
    /// The process, if /proc shows the process: its id and its name.
    pub process: Option<(u32, String)>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((id, name)) => write!(f, "process {id} ({name})"),
            None => write!(
                f,
                "another process (see `fuser {}`)",
                decode_path(&self.path)
            ),
        }
    }
}

/// The patience of a caller that needs a lock.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest wait.
    pub limit: Duration,
    /// The report of a wait of more than a second, made once.
    pub report: fn(&Holder),
}

impl Patience {
    /// The time after which a wait is reported.
    const REPORT: Duration = Duration::from_secs(1);

    /// A second without a report: for `run`, whose loop goes on and tries again.
    pub const BRIEF: Self = Self {
        limit: Duration::from_secs(1),
        report: |_| (),
    };
}

impl Lock {
    /// Takes the lock of a pin directory. Blocks the thread up to the limit.
    ///
    /// Where the folder of the locks cannot be used, the parent of the pins is locked, if the parent
    /// is root's alone: any reader of a directory can hold a lock on the directory.
    ///
    /// # Errors
    /// Another process holds the lock, or no lock can be had.
    pub(crate) fn take(pins: &PinDir, patience: Patience) -> Result<Self, LockError> {
        let path = lock_path(pins).map_err(LockError::Failed)?;
        let usable = make_folder().map_err(LockError::Failed);
        match usable.and_then(|()| Self::take_at(path, patience, open)) {
            Err(LockError::Failed(why)) if is_private(pins.parent()) => {
                let lock = Self::take_at(pins.parent().to_owned(), patience, |parent| {
                    File::open(parent).with_context(|| {
                        format!("failed to open {} to lock it", decode_path(parent))
                    })
                })?;
                Ok(Self {
                    instead: Some(format!(
                        "no lock can be had in {RUNTIME}, and the parent of the pins is locked \
                         instead: {why:#}"
                    )),
                    ..lock
                })
            }
            taken => taken,
        }
    }

    /// Returns the reason why the parent of the pins is locked, if that is so, in words.
    pub(crate) fn instead(&self) -> Option<&str> {
        self.instead.as_deref()
    }

    fn take_at(
        path: PathBuf,
        patience: Patience,
        open: impl Fn(&Path) -> Result<File>,
    ) -> Result<Self, LockError> {
        let begin = Instant::now();
        let mut pause = Duration::from_millis(1);
        let mut is_reported = false;
        // Open for all attempts: each close is an event for `run`.
        let mut file = open(&path).map_err(LockError::Failed)?;
        loop {
            match through(Call::Lock, || locked(&file)) {
                // A `down` may have removed the file in the meantime.
                Ok(true) if is_at(&file, &path) => {
                    return Ok(Self {
                        path,
                        _file: file,
                        instead: None,
                    });
                }
                Ok(_) if !is_at(&file, &path) => {
                    file = open(&path).map_err(LockError::Failed)?;
                }
                Ok(_) => {}
                Err(error) => {
                    let what = format!("failed to lock {}", decode_path(&path));
                    return Err(LockError::Failed(anyhow::Error::new(error).context(what)));
                }
            }
            let waited = begin.elapsed();
            if waited >= patience.limit {
                return Err(LockError::Held(holder(path, &file)));
            }
            if waited >= Patience::REPORT && !is_reported {
                is_reported = true;
                (patience.report)(&holder(path.clone(), &file));
            }
            sleep(pause.min(patience.limit - waited));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether a process holds the lock of a pin directory at this moment.
    ///
    /// # Errors
    /// The file of the lock cannot be opened or locked.
    pub(crate) fn is_taken(pins: &PinDir) -> Result<bool> {
        let path = lock_path(pins)?;
        let what = || format!("failed to look at {}", decode_path(&path));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(what),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).with_context(what),
        }
    }

    /// Gives the lock up and removes its file: nothing is pinned any more.
    pub(crate) fn retire(self) {
        if self.instead.is_none() {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Whether root alone can read a directory, and so lock the directory.
fn is_private(directory: &Path) -> bool {
    fs::metadata(directory)
        .is_ok_and(|found| found.mode() & 0o077 == 0 && found.uid() == geteuid().as_raw())
}

fn open(path: &Path) -> Result<File> {
    // The close of a file that was open for writing is an event for `run`.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("failed to open the lock {}", decode_path(path)))
}

/// Locks a file, unless another process holds the lock.
fn locked(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a path still names an open file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

fn holder(path: PathBuf, file: &File) -> Holder {
    let found = file.metadata().ok();
    let process = found.and_then(|found| locks::holder(found.dev(), found.ino()));
    Holder { path, process }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const AT_ONCE: Patience = Patience {
        limit: Duration::ZERO,
        report: |_| (),
    };

    #[test]
    fn one_process_at_a_time_has_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.lock");
        let lock = Lock::take_at(path.clone(), AT_ONCE, open).unwrap();
        let Err(LockError::Held(holder)) = Lock::take_at(path.clone(), AT_ONCE, open) else {
            panic!("two locks");
        };
        let (id, _) = holder.process.clone().expect("this process");
        assert_eq!(id, std::process::id());
        assert!(holder.to_string().contains(&id.to_string()), "{holder}");
        drop(lock);
        assert!(Lock::take_at(path, AT_ONCE, open).is_ok());
    }

    #[test]
    fn a_lock_is_waited_for_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.lock");
        let lock = Lock::take_at(path.clone(), AT_ONCE, open).unwrap();
        let (waits, waiting) = mpsc::channel();
        let taker = std::thread::spawn(move || {
            waits.send(()).unwrap();
            Lock::take_at(path, Patience::BRIEF, open).map(drop)
        });
        waiting.recv().unwrap();
        drop(lock);
        assert!(taker.join().unwrap().is_ok());
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.lock");
        let old = open(&path).unwrap();
        let lock = Lock::take_at(path.clone(), AT_ONCE, open).unwrap();
        assert!(is_at(&old, &path));
        lock.retire();
        assert!(!path.exists() && !is_at(&old, &path));
        let lock = Lock::take_at(path.clone(), AT_ONCE, open).unwrap();
        assert!(path.exists() && !is_at(&old, &path));
        drop(lock);
    }

    #[test]
    fn the_folder_is_for_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("enforcer");
        make_folder_at(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        make_folder_at(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(make_folder_at(&file).is_err());
        assert!(make_folder_at(&parent.path().join("absent/enforcer")).is_err());
    }
}
