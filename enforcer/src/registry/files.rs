//! The place of a registry, and the result of reading one.

use std::fmt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::diagnostic::{Diagnostic, Fault};
use super::loader::{Digest, Loader};
use super::model::Registry;
use super::reader::Reader;
use super::report::{Diagnostics, render};
use super::source::SourceFile;
use crate::printable::decode_path;

/// The registry's path unless `--config` names another.
pub const DEFAULT_PATH: &str = "/etc/enforcer/enforcer.toml";

/// The text of `default.toml`, the registry that applies where the host has none. Packages and
/// operators may start from a copy.
pub const EMBEDDED: &str = include_str!("default.toml");

/// The place of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The default path, where the file may be absent.
    Default {
        /// The registry's path, in production [`DEFAULT_PATH`].
        path: PathBuf,
        /// The meaning of an absent file.
        absent: MissingFile,
    },
    /// A file named by `--config`, which must exist.
    Named(PathBuf),
    /// The embedded registry, whatever files exist: for `run` at boot with a bad registry.
    Embedded,
}

impl Source {
    /// The source that `--config` names, or the default path without `--config`.
    pub fn of_config(config: Option<&Path>, absent: MissingFile) -> Self {
        match config {
            Some(path) => Self::Named(path.to_owned()),
            None => Self::Default {
                path: DEFAULT_PATH.into(),
                absent,
            },
        }
    }

    /// The source of a registry in force, to read the same registry again: the main file must exist
    /// if the registry was made from one.
    pub fn in_force(provenance: &Provenance) -> Self {
        match &provenance.path {
            None => Self::Embedded,
            Some(path) if provenance.has_main => Self::Named(path.clone()),
            Some(path) => Self::Default {
                path: path.clone(),
                absent: MissingFile::Fragments,
            },
        }
    }
}

/// The meaning of an absent file at the default path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingFile {
    /// The fragments stand alone; without fragments the embedded registry applies.
    Embedded,
    /// The fragments stand alone, and at least one must exist.
    Fragments,
    /// An error: the policy in force was made from the file, and must not lose the file's entries.
    Vanished,
}

/// The origin of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded registry.
    Embedded,
    /// These files, in reading order.
    Files(Vec<PathBuf>),
}

/// The data to find a registry again and to tell whether the files changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The main file, absolute; `None` for the embedded registry.
    pub path: Option<PathBuf>,
    /// A digest of the names and texts of all files.
    pub digest: u64,
    /// Whether the main file existed, beside any fragments.
    pub has_main: bool,
    /// The folder of the fragments, if there were any.
    pub fragments: Option<FragmentFolder>,
}

impl Provenance {
    /// The meaning of a missing file at the default path for who reads the registry again: a policy
    /// that came from files must not lose the ports of a file that vanished. `default` is the
    /// default path, in production [`DEFAULT_PATH`].
    pub fn missing_file(&self, default: &Path) -> MissingFile {
        match &self.path {
            None => MissingFile::Embedded,
            Some(path) if self.has_main && path == default => MissingFile::Vanished,
            Some(_) => MissingFile::Fragments,
        }
    }

    /// Whether both are of the same files with the same texts, whatever folder holds these now.
    pub fn has_same_text(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.digest, it.has_main);
        self.path == other.path && of(self) == of(other)
    }
}

/// The identity of a folder of fragments: a digest of the device and the inode. Another folder at
/// the same path, such as the mount point after `umount`, has another identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentFolder(pub u32);

impl FragmentFolder {
    pub(super) fn new(device: u64, inode: u64) -> Self {
        let mut digest = Digest::default();
        let numbers = [device.to_le_bytes(), inode.to_le_bytes()];
        numbers.iter().for_each(|number| digest.add(number));
        let [a, b, c, d, ..] = digest.value().to_le_bytes();
        Self(u32::from_le_bytes([a, b, c, d]))
    }
}

/// A valid registry, with warnings and origin.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The registry.
    pub registry: Registry,
    /// The warnings about the text; [`super::lint`] adds warnings about the host.
    pub warnings: Diagnostics,
    /// The origin, for messages.
    pub origin: Origin,
    /// The origin, to read the registry again later.
    pub provenance: Provenance,
}

/// A rejected registry.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The errors, in file order; at least one.
    pub errors: Diagnostics,
    /// The warnings.
    pub warnings: Diagnostics,
}

impl Rejected {
    /// The rejection of a registry whose file did not answer within a time: a network mount that is
    /// dead, or a pipe without a writer.
    pub fn no_answer(path: &Path, limit: Duration) -> Self {
        let name = decode_path(path);
        let seconds = limit.as_secs_f32();
        let fault = Fault::new(
            format!("{name} did not answer within {seconds} s"),
            "look at the disk or the network mount that holds it, or the program behind a pipe",
        );
        let file = SourceFile::new(1, name, String::new());
        Self {
            errors: vec![Diagnostic::whole_file(&file, fault)].into(),
            warnings: Diagnostics::default(),
        }
    }
}

impl fmt::Display for Rejected {
    /// Writes every error, rendered without colours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.errors, false))
    }
}

impl std::error::Error for Rejected {}

/// The file at which a reader of a registry is at work, for the message of another thread.
#[derive(Clone, Debug, Default)]
pub struct Place(Arc<Mutex<PathBuf>>);

impl Place {
    /// Returns the file; the empty path before the first one.
    pub fn path(&self) -> PathBuf {
        let path = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        path.clone()
    }

    pub(super) fn set(&self, path: &Path) {
        let mut here = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        path.clone_into(&mut here);
    }
}

/// Reads a registry and any fragments. The call blocks for as long as the file systems do; pipes
/// may block for ever.
///
/// # Errors
/// Every error in the files, and files that cannot be read or, with [`super::Trust::Refuse`], may
/// be changed by others than root.
pub fn load(source: &Source, reader: &Reader) -> Result<Loaded, Rejected> {
    load_at(source, reader, &Place::default())
}

/// As [`load`], and keeps `place` at the file that is read.
///
/// # Errors
/// As for [`load`].
pub fn load_at(source: &Source, reader: &Reader, place: &Place) -> Result<Loaded, Rejected> {
    let main = match source {
        Source::Embedded => None,
        Source::Named(path) | Source::Default { path, .. } => std::path::absolute(path).ok(),
    };
    let mut loader = Loader::new(reader, place, main);
    let origin = match source {
        Source::Embedded => loader.read_embedded(),
        Source::Named(path) => loader.read_files(path, true),
        Source::Default { path, absent } => loader.read_default(path, *absent),
    };
    loader.finish(origin)
}

/// As [`load`], in a thread that is left behind after `limit`. The process can end all the same,
/// unless the kernel itself waits for a dead mount.
///
/// # Errors
/// As for [`load`]; after `limit` the name of the file that did not answer.
pub fn load_within(source: &Source, reader: &Reader, limit: Duration) -> Result<Loaded, Rejected> {
    let place = Place::default();
    let (done, result) = sync_channel(1);
    let thread = {
        let (source, reader, place) = (source.clone(), reader.clone(), place.clone());
        let read = move || {
            // Nobody listens after the limit.
            done.send(load_at(&source, &reader, &place)).ok();
        };
        thread::Builder::new()
            .name("registry".to_owned())
            .spawn(read)
    };
    let Ok(thread) = thread else {
        return load(source, reader);
    };
    match result.recv_timeout(limit) {
        Ok(loaded) => loaded,
        Err(RecvTimeoutError::Timeout) => Err(Rejected::no_answer(&place.path(), limit)),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => Err(Rejected::no_answer(&place.path(), limit)),
        },
    }
}

/// Reads a registry from texts: the main file, then fragments.
#[cfg(test)]
pub(super) fn load_texts(files: &[(&str, &str)]) -> Result<Loaded, Rejected> {
    use super::draft::Role;

    let (reader, place) = (Reader::STRICT, Place::default());
    let mut loader = Loader::new(&reader, &place, None);
    let mut role = Role::Main;
    for &(name, text) in files {
        loader.parse(name.to_owned(), text.to_owned(), role);
        role = Role::Fragment(files[0].0);
    }
    loader.finish(Origin::Embedded)
}
