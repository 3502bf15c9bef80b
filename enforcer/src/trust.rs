//! Trust in files: a file is believed if nobody but root can change the file or the way to the file.

use std::{
    ffi::OsString,
    fmt, fs, io,
    os::{fd::BorrowedFd, unix::fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{Stat, fstat},
    process::geteuid,
};

use crate::printable::decode_path;

/// The write bits of group and others.
const WRITE: u32 = 0o022;
/// S_ISVTX (inode(7)): only the owners of a folder and of an entry may rename or remove the entry.
const STICKY: u32 = 0o1000;
/// S_IFLNK (inode(7)): the mode of a link says nothing.
const LINK: u32 = 0o120_000;
/// linux/namei.h: MAXSYMLINKS.
pub(crate) const MAX_LINKS: usize = 40;

/// A file or folder that others than root may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Distrust {
    /// The path of the file or folder.
    pub(crate) path: PathBuf,
    /// The user id of the owner.
    pub(crate) owner: u32,
    /// The file's type and mode, as stat(2) has both.
    pub(crate) mode: u32,
}

impl Distrust {
    /// Returns the commands that make the path root's alone.
    pub(crate) fn cure(&self) -> String {
        let path = decode_path(&self.path);
        let is_open = self.mode & WRITE != 0 && self.mode & LINK != LINK;
        match (self.owner != 0, is_open) {
            (true, true) => format!("chown root {path} && chmod go-w {path}"),
            (true, false) => format!("chown -h root {path}"),
            (false, _) => format!("chmod go-w {path}"),
        }
    }
}

impl fmt::Display for Distrust {
    /// Writes the path with its fault, without the cure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = decode_path(&self.path);
        match self.owner {
            0 => write!(
                f,
                "{path} may be written by others than root (mode {:04o})",
                self.mode & 0o7777
            ),
            owner => write!(f, "{path} belongs to user {owner}, not to root"),
        }
    }
}

/// Owner and mode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attributes {
    owner: u32,
    mode: u32,
}

impl Attributes {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            owner: found.uid(),
            mode: found.mode(),
        })
    }

    const fn of_open(found: &Stat) -> Self {
        Self {
            owner: found.st_uid,
            mode: found.st_mode,
        }
    }

    /// Whether root alone may change the file; for a folder, whether root alone may change the
    /// folder's entry of `below`'s owner.
    const fn is_roots(self, below: Option<Self>) -> bool {
        let is_sticky = self.mode & STICKY != 0;
        let keeps_entry = match below {
            Some(below) => is_sticky && below.owner == 0,
            None => false,
        };
        let is_link = self.mode & LINK == LINK;
        self.owner == 0 && (is_link || self.mode & WRITE == 0 || keeps_entry)
    }
}

/// Examines a path, every folder on the way from the root, and every link on the way with the
/// folders of its target. Returns the first file or folder that others than root may change.
///
/// The entry below decides about a sticky folder: in /tmp, the files of root are root's alone. For
/// a path that does not exist, the existing folders are examined.
///
/// # Errors
/// A component cannot be examined, for another reason than its absence. The call blocks as long as
/// the file systems on the way do.
pub(crate) fn examine(path: &Path) -> io::Result<Option<Distrust>> {
    let absolute = std::path::absolute(path)?;
    let mut here = PathBuf::from("/");
    let mut folder = Attributes::of(&here)?;
    let mut left = components(&absolute);
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            here.pop();
            folder = Attributes::of(&here)?;
            continue;
        }
        let next = here.join(&name);
        let found = match Attributes::of(&next) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((!folder.is_roots(None)).then(|| distrust(&here, folder)));
            }
            Err(error) => return Err(error),
        };
        if !folder.is_roots(Some(found)) {
            return Ok(Some(distrust(&here, folder)));
        }
        if found.mode & LINK == LINK {
            if !found.is_roots(None) {
                return Ok(Some(distrust(&next, found)));
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = fs::read_link(&next)?;
            if target.is_absolute() {
                here = PathBuf::from("/");
                folder = Attributes::of(&here)?;
            }
            left.extend(components(&target));
            continue;
        }
        here = next;
        folder = found;
    }
    Ok((!folder.is_roots(None)).then(|| distrust(&here, folder)))
}

/// Examines a file that is open, and the way to the file as [`examine`] does.
///
/// The order counts: the file is open first, so that the examined file is the one that is read.
///
/// # Errors
/// As for [`examine`]; `ESTALE` if the path leads to another file than the open one.
pub(crate) fn examine_open(path: &Path, file: BorrowedFd<'_>) -> io::Result<Option<Distrust>> {
    if let Some(found) = examine(path)? {
        return Ok(Some(found));
    }
    let named = fs::metadata(path)?;
    let open = fstat(file)?;
    if (named.dev(), named.ino()) != (open.st_dev, open.st_ino) {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    let found = Attributes::of_open(&open);
    Ok((!found.is_roots(None)).then(|| distrust(path, found)))
}

/// Examines a pipe that is open: the shell of `--config <(…)` owns the pipe, and the pipe's path
/// says nothing. Returns the pipe if neither root nor the caller owns the pipe.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn examine_pipe(path: &Path, pipe: BorrowedFd<'_>) -> io::Result<Option<Distrust>> {
    let found = Attributes::of_open(&fstat(pipe)?);
    let is_ours = found.owner == 0 || found.owner == geteuid().as_raw();
    Ok((!is_ours || found.mode & WRITE != 0).then(|| distrust(path, found)))
}

fn distrust(path: &Path, found: Attributes) -> Distrust {
    Distrust {
        path: path.to_owned(),
        owner: found.owner,
        mode: found.mode,
    }
}

/// Returns the components of a path, the last first.
pub(crate) fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.rev().collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const FILE: u32 = 0o100_000;
    const FOLDER: u32 = 0o040_000;

    const fn of(owner: u32, mode: u32) -> Attributes {
        Attributes { owner, mode }
    }

    #[test]
    fn only_root_may_write_a_trusted_file() {
        for (found, expected) in [
            (of(0, FILE | 0o600), true),
            (of(0, FILE | 0o644), true),
            (of(0, FILE | 0o664), false),
            (of(0, FILE | 0o646), false),
            (of(0, LINK | 0o777), true),
            (of(1000, FILE | 0o600), false),
            (of(1000, LINK | 0o777), false),
            (of(0, FOLDER | 0o1777), false),
        ] {
            assert_eq!(found.is_roots(None), expected, "{found:?}");
        }
    }

    #[test]
    fn a_sticky_folder_keeps_roots_entries_for_root() {
        let (roots, others) = (of(0, FILE | 0o600), of(1000, FILE | 0o600));
        for (folder, below, expected) in [
            (of(0, FOLDER | 0o1777), roots, true),
            (of(0, FOLDER | 0o1777), others, false),
            (of(0, FOLDER | 0o777), roots, false),
            (of(1000, FOLDER | 0o1777), roots, false),
            (of(0, FOLDER | 0o755), others, true),
        ] {
            assert_eq!(
                folder.is_roots(Some(below)),
                expected,
                "{folder:?} {below:?}"
            );
        }
    }

    #[test]
    fn words_name_the_fault_and_the_cure() {
        let fault = |owner, mode| {
            let found = distrust(Path::new("/etc/enforcer"), of(owner, mode));
            (found.to_string(), found.cure())
        };
        assert_eq!(
            fault(0, FOLDER | 0o775),
            (
                "/etc/enforcer may be written by others than root (mode 0775)".to_owned(),
                "chmod go-w /etc/enforcer".to_owned()
            )
        );
        let (text, cure) = fault(1000, FOLDER | 0o775);
        assert_eq!(text, "/etc/enforcer belongs to user 1000, not to root");
        assert_eq!(cure, "chown root /etc/enforcer && chmod go-w /etc/enforcer");
        assert_eq!(fault(1000, LINK | 0o777).1, "chown -h root /etc/enforcer");
    }

    /// The way to a file in a new folder, whose own way may be another user's.
    fn first(make: impl Fn(&Path) -> PathBuf) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = make(folder.path());
        let found = examine(&path).unwrap()?;
        let inside = found.path.strip_prefix(folder.path()).ok()?;
        Some(decode_path(inside))
    }

    fn open(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn every_folder_and_link_on_the_way_counts() {
        if !geteuid().is_root() {
            // The files of another user are no one's to trust, whatever their modes.
            assert!(first(|root| root.join("absent")).is_some());
            return;
        }
        assert_eq!(first(|root| root.join("absent")), None);
        let file = |root: &Path| {
            fs::create_dir(root.join("a")).unwrap();
            fs::write(root.join("a/file"), "").unwrap();
            root.join("a/file")
        };
        assert_eq!(first(file), None);
        let below_open_folder = |root: &Path| {
            let file = file(root);
            open(&root.join("a"), 0o777);
            file
        };
        assert_eq!(first(below_open_folder).as_deref(), Some("a"));
        let behind_link = |root: &Path| {
            below_open_folder(root);
            symlink("a/file", root.join("link")).unwrap();
            root.join("link")
        };
        assert_eq!(first(behind_link).as_deref(), Some("a"));
        let absent_in_open_folder = |root: &Path| {
            below_open_folder(root);
            root.join("a/absent/deeper")
        };
        assert_eq!(first(absent_in_open_folder).as_deref(), Some("a"));
        let circle = |root: &Path| {
            symlink("circle", root.join("circle")).unwrap();
            root.join("circle")
        };
        let folder = tempfile::tempdir().unwrap();
        assert!(examine(&circle(folder.path())).is_err());
    }
}
