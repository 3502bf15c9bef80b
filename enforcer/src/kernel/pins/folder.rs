//! The folders of pins on their file system: what stands at a path, and the ways to make room.
//!
//! A parent directory that others may write lets a stranger put a folder where pins belong. Such a
//! folder is never read, never emptied and never in the way: the folder is moved aside.

use std::{
    fs::{self, DirBuilder},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{MAPS, PinDir, is_pin_name};
use crate::{
    failpoint::{Call, through},
    kernel::{mounts, sys},
    note::{Note, NoteKind},
    printable::decode_path,
};

/// The part of a name between a folder's own name and the number of a folder that was moved aside.
const ASIDE: &str = "_enforcer_aside_";
/// The part of a name between a folder's own name and the number of a folder in the making.
const NEW: &str = "_enforcer_new_";
/// The number of attempts against somebody who makes the same folder again and again.
const ATTEMPTS: u32 = 100;

/// What stands at the path of a pin directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing.
    Nothing,
    /// An empty folder, of anybody.
    Empty,
    /// Pins, in a folder of root's; and the first other entry, if there is any.
    Pins(Option<String>),
    /// Something else, in words.
    Foreign(Foreign),
}

/// A file or folder without pins of enforcer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// The user id of the owner.
    pub(crate) owner: u32,
    /// The first entry; `None` for anything but a folder.
    pub(crate) entry: Option<String>,
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    /// Whether the entry is a plain file, as every pinned object is (kernel/bpf/inode.c:
    /// bpf_mkobj_ops). Users can make folders and symbolic links on a bpffs, and no pins.
    is_plain: bool,
}

impl Entry {
    fn is_pin(&self) -> bool {
        self.is_plain && is_pin_name(&self.name)
    }
}

/// Judges a folder by the owner and the entries. `us` is the user of this process.
fn judge(owner: u32, us: u32, entries: &[Entry]) -> Content {
    let is_roots = owner == 0 || owner == us;
    let other = entries.iter().find(|entry| !entry.is_pin());
    let other = other.map(|entry| entry.name.clone());
    match entries.first() {
        None => Content::Empty,
        Some(_) if is_roots && entries.iter().any(Entry::is_pin) => Content::Pins(other),
        Some(first) => Content::Foreign(Foreign {
            owner,
            entry: Some(other.unwrap_or_else(|| first.name.clone())),
        }),
    }
}

impl PinDir {
    /// Tells what stands at the path. Symbolic links are not followed.
    ///
    /// # Errors
    /// The parent directory cannot be searched, for lack of privileges as a rule.
    pub(crate) fn content(&self) -> Result<Content> {
        let what = || format!("failed to look for pins at {}", decode_path(&self.path));
        let found = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Content::Nothing),
            found => found.with_context(what)?,
        };
        if !found.is_dir() {
            return Ok(Content::Foreign(Foreign {
                owner: found.uid(),
                entry: None,
            }));
        }
        let entries = match self.entries() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Content::Nothing),
            // Whatever the folder holds, the owner decides. A process with the privileges tells more.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => vec![Entry {
                name: MAPS[0].to_owned(),
                is_plain: true,
            }],
            entries => entries.with_context(what)?,
        };
        let us = rustix::process::geteuid().as_raw();
        Ok(judge(found.uid(), us, &entries))
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let entries = fs::read_dir(&self.path)?.map(|entry| {
            let entry = entry?;
            Ok(Entry {
                name: decode_path(entry.file_name().as_ref()),
                is_plain: entry.file_type()?.is_file(),
            })
        });
        entries.collect()
    }

    /// Whether pins are in the directory.
    ///
    /// # Errors
    /// As for [`Self::content`].
    pub(crate) fn exists(&self) -> Result<bool> {
        Ok(matches!(self.content()?, Content::Pins(_)))
    }

    /// Makes room: an empty folder is removed, and anything but pins is moved aside.
    ///
    /// # Errors
    /// The parent is on no bpffs, the kernel's refusal, or somebody makes the folder again and
    /// again.
    pub(crate) fn clear(&self) -> Result<Vec<Note>> {
        let mut notes = Vec::new();
        for _ in 0..ATTEMPTS {
            match self.content()? {
                Content::Nothing | Content::Pins(_) => return Ok(notes),
                Content::Empty => self.remove_empty()?,
                Content::Foreign(_) => notes.extend(self.move_aside()?),
            }
        }
        bail!(
            "{0} comes back as often as it is moved away: run `chown root {1} && chmod 700 {1}`",
            decode_path(&self.path),
            decode_path(self.parent())
        )
    }

    /// Removes an empty folder; whether the folder is still there and empty does not matter.
    fn remove_empty(&self) -> Result<()> {
        match through(Call::RemoveDirectory, || fs::remove_dir(&self.path)) {
            Err(error) if is_race(&error) => Ok(()),
            removed => {
                removed.with_context(|| format!("failed to remove {}", decode_path(&self.path)))
            }
        }
    }

    /// Renames whatever stands at the path to a free name on the same bpffs.
    fn move_aside(&self) -> Result<Option<Note>> {
        ensure!(
            mounts::is_bpffs(self.parent())?,
            "{} holds other files than enforcer's pins, and is not on a bpffs",
            decode_path(&self.path)
        );
        let aside = self.numbered(ASIDE);
        match rename(&self.path, &aside, RenameFlags::NOREPLACE) {
            Err(error) if is_race(&error) => return Ok(None),
            renamed => renamed.with_context(|| {
                let (from, to) = (decode_path(&self.path), decode_path(&aside));
                format!("failed to move {from}, which is not enforcer's, to {to}")
            })?,
        }
        Ok(Some(Note::new(
            NoteKind::MovedAside,
            format!(
                "{} was in the way, and holds no pins of enforcer: it is {} now (remove it once \
                 nobody needs it)",
                decode_path(&self.path),
                decode_path(&aside)
            ),
        )))
    }

    /// Returns a path beside this one that nobody foresees.
    fn numbered(&self, part: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!("{part}{}", sys::boottime()));
        self.path.with_file_name(name)
    }

    /// Makes the directory, for root alone, and moves a stranger's folder of the same name aside.
    ///
    /// # Errors
    /// Pins are in the directory, or the kernel's refusal.
    pub(crate) fn create(&self) -> Result<Vec<Note>> {
        match self.make() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && !self.exists()? => {}
            made => {
                return made
                    .map(|()| Vec::new())
                    .with_context(|| format!("failed to create {}", decode_path(&self.path)));
            }
        }
        // A folder that somebody makes again and again is replaced in one step, and never missed.
        let new = Self {
            path: self.numbered(NEW),
        };
        new.make()
            .with_context(|| format!("failed to create {}", decode_path(&new.path)))?;
        self.take_place(&new)?;
        new.clear()
    }

    fn make(&self) -> io::Result<()> {
        through(Call::MakeDirectory, || {
            DirBuilder::new().mode(0o700).create(&self.path)
        })
    }

    /// Puts the directory that was built in `staging` in the place of this directory, in one step.
    /// Whatever was here before is in `staging` then.
    ///
    /// # Errors
    /// The kernel's refusal: nothing has changed.
    pub(crate) fn replace_with(&self, staging: &Self) -> Result<()> {
        self.take_place(staging)
    }

    /// Renames `from` to the path of this directory, in one step. Anything but pins is moved aside.
    ///
    /// # Errors
    /// Pins are in this directory, or the kernel's refusal: nothing has changed.
    pub(crate) fn rename_from(&self, from: &Self) -> Result<Vec<Note>> {
        ensure!(
            !self.exists()?,
            "failed to rename {} to {}: pins are there",
            decode_path(&from.path),
            decode_path(&self.path)
        );
        self.take_place(from)?;
        from.clear()
    }

    /// Renames `from` to this path; the two change places if something is here.
    fn take_place(&self, from: &Self) -> Result<()> {
        let what = || {
            let (from, to) = (decode_path(&from.path), decode_path(&self.path));
            format!("failed to rename {from} to {to}")
        };
        for _ in 0..ATTEMPTS {
            // A rename onto a directory with entries fails, and an exchange with nothing too.
            let flags = match fs::symlink_metadata(&self.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => RenameFlags::NOREPLACE,
                found => {
                    found.with_context(what)?;
                    RenameFlags::EXCHANGE
                }
            };
            match rename(&from.path, &self.path, flags) {
                Err(error) if is_race(&error) && fs::symlink_metadata(&from.path).is_ok() => {}
                renamed => return renamed.with_context(what),
            }
        }
        bail!(
            "{}: the one or the other comes and goes: run `chown root {1} && chmod 700 {1}`",
            what(),
            decode_path(self.parent())
        )
    }

    /// Removes the directory and every pin; guards that are pinned nowhere else are detached. Other
    /// entries are moved aside with the directory.
    ///
    /// Guards that are pinned in `other` too stay attached. Links go first. `STATE` goes last, with
    /// the network namespace that owns the pins.
    ///
    /// # Errors
    /// A pin cannot be removed, or the directory is on no bpffs.
    pub(crate) fn remove(&self, other: Option<&Self>) -> Result<Vec<Note>> {
        if self.exists()? {
            self.remove_links(other)?;
            self.remove_maps()?;
        }
        self.clear()
    }
}

/// Whether somebody else made, filled or removed a folder between a look and a call.
fn is_race(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::DirectoryNotEmpty
            | ErrorKind::NotADirectory
    )
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> io::Result<()> {
    through(Call::Rename, || {
        renameat_with(CWD, from, CWD, to, flags).map_err(io::Error::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, is_plain: bool) -> Entry {
        Entry {
            name: name.to_owned(),
            is_plain,
        }
    }

    #[test]
    fn only_a_folder_of_roots_with_a_plain_pin_holds_pins() {
        let (state, link) = (entry("STATE", true), entry("link_socket", true));
        let planted = entry("link_socket", false);
        let other = entry("theirs", false);
        let foreign = |owner, name: &str| {
            Content::Foreign(Foreign {
                owner,
                entry: Some(name.to_owned()),
            })
        };
        for (owner, entries, expected) in [
            (0, &[][..], Content::Empty),
            (65534, &[], Content::Empty),
            (0, &[&state, &link], Content::Pins(None)),
            (65534, &[&state], foreign(65534, "STATE")),
            (0, &[&planted], foreign(0, "link_socket")),
            (0, &[&other], foreign(0, "theirs")),
            (65534, &[&other], foreign(65534, "theirs")),
            (
                0,
                &[&state, &other],
                Content::Pins(Some("theirs".to_owned())),
            ),
            (
                0,
                &[&planted, &link],
                Content::Pins(Some("link_socket".to_owned())),
            ),
        ] {
            let entries: Vec<Entry> = entries.iter().map(|entry| (*entry).clone()).collect();
            assert_eq!(judge(owner, 0, &entries), expected, "{owner} {entries:?}");
        }
    }

    #[test]
    fn a_file_and_a_link_are_no_folders() {
        let folder = tempfile::tempdir().unwrap();
        let pins = PinDir::new(&folder.path().join("pins")).unwrap();
        assert_eq!(pins.content().unwrap(), Content::Nothing);
        let is_foreign = || {
            matches!(
                pins.content().unwrap(),
                Content::Foreign(Foreign { entry: None, .. })
            )
        };
        fs::write(pins.path(), "").unwrap();
        assert!(is_foreign() && !pins.exists().unwrap());
        fs::remove_file(pins.path()).unwrap();
        std::os::unix::fs::symlink("/", pins.path()).unwrap();
        assert!(is_foreign() && !pins.exists().unwrap());
    }

    #[test]
    fn nothing_outside_a_bpffs_is_moved() {
        let folder = tempfile::tempdir().unwrap();
        let pins = PinDir::new(&folder.path().join("pins")).unwrap();
        fs::create_dir(pins.path()).unwrap();
        fs::write(pins.path().join("mine"), "").unwrap();
        let error = pins.clear().unwrap_err().to_string();
        assert!(error.contains("not on a bpffs"), "{error}");
        assert!(pins.path().join("mine").exists());
        fs::remove_file(pins.path().join("mine")).unwrap();
        assert_eq!(pins.clear().unwrap(), []);
        assert!(!pins.path().exists(), "an empty folder goes");
    }

    #[test]
    fn an_empty_folder_of_the_same_name_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let pins = PinDir::new(&folder.path().join("pins")).unwrap();
        fs::create_dir(pins.path()).unwrap();
        let old = fs::metadata(pins.path()).unwrap().ino();
        assert_eq!(pins.create().unwrap(), []);
        let new = fs::metadata(pins.path()).unwrap();
        assert_ne!(new.ino(), old);
        assert_eq!(new.mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
