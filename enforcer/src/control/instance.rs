//! The pin directory of a command, for the network namespace of the process.

mod ownership;

use std::path::{Path, PathBuf};

use anyhow::Result;
use enforcer_ebpf::layout::State;

use super::{
    Error,
    socket_state::{SocketState, socket_state},
};
use crate::{
    kernel::{
        links,
        maps::{self, Maps},
        pins::PinDir,
        runtime::{Lock, LockError, Patience, Word, file_of},
        sys,
    },
    note::{Note, NoteKind},
    registry::{DEFAULT_PATH, MissingFile, Provenance},
};
use ownership::is_gone;
pub(super) use ownership::{Adoptable, ensure_ours};

pub use crate::kernel::runtime::RUNTIME;

/// The gap of a socket guard below the root, in words.
pub(crate) const BELOW_ROOT: &str = "the socket guard stands at a cgroup below the root, and sees \
     the sockets of that cgroup alone: run `enforcer up` outside of the container, in the cgroup \
     namespace of the host (`nsenter --target 1 --cgroup --mount enforcer up`)";

/// A pin directory and a cgroup2 root.
#[derive(Clone, Debug)]
pub struct Instance {
    pins: PinDir,
    /// The cgroup2 root of `--cgroup`.
    cgroup: Option<PathBuf>,
    /// The patience with another writer.
    patience: Patience,
}

impl Instance {
    /// The instance of a pin directory. Without a cgroup2 root, the mount table names the root.
    ///
    /// # Errors
    /// The path cannot be a pin directory's.
    pub fn new(pin_dir: &Path, cgroup: Option<PathBuf>) -> Result<Self> {
        Ok(Self {
            pins: PinDir::new(pin_dir)?,
            cgroup,
            patience: Patience::BRIEF,
        })
    }

    /// The same instance with another patience for the lock.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The path of the pin directory.
    pub fn pin_dir(&self) -> &Path {
        self.pins.path()
    }

    /// The pin directory.
    pub(crate) const fn pins(&self) -> &PinDir {
        &self.pins
    }

    /// The cgroup2 root of `--cgroup`.
    pub(crate) fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_deref()
    }

    /// Whether anything is pinned. Pins of a network namespace that is gone guard nothing.
    ///
    /// # Errors
    /// The parent directory cannot be read.
    pub fn is_pinned(&self) -> Result<bool> {
        Ok(self.pins.exists()? && !is_gone(&self.pins)?)
    }

    /// The meaning of a missing file at the default path, for a reload of the policy in force. With
    /// nothing pinned no policy can lose ports.
    ///
    /// # Errors
    /// The pins cannot be read, or are another namespace's.
    pub fn missing_file(&self) -> Result<MissingFile, Error> {
        let maps = self.maps()?;
        Ok(maps.map_or(MissingFile::Embedded, |maps| Self::missing_file_of(&maps)))
    }

    /// The meaning of a missing file at the default path, for a reload of the policy of these maps.
    pub(crate) fn missing_file_of(maps: &Maps) -> MissingFile {
        let is_embedded = maps.state().flags & State::EMBEDDED != 0;
        match maps.provenance().missing_file(Path::new(DEFAULT_PATH)) {
            // The embedded registry stands in for bad files, which may come back.
            MissingFile::Embedded if !is_embedded => MissingFile::Fragments,
            missing => missing,
        }
    }

    /// The registry behind the policy that an `up` replaces, and the meaning of a missing file at
    /// the default path.
    ///
    /// # Errors
    /// The pins are another namespace's.
    pub fn before_up(&self) -> Result<(Option<Provenance>, MissingFile), Error> {
        if !self.pins.exists()? {
            return Ok((None, MissingFile::Embedded));
        }
        // Maps of another shape do not tell, and `up` replaces them.
        let Ok(Some(origin)) = maps::pinned_origin(&self.pins) else {
            return Ok((None, MissingFile::Fragments));
        };
        if let Err(others) = ensure_ours(origin.netns_cookie, &self.pins) {
            return match self.is_pinned()? {
                true => Err(others),
                false => Ok((None, MissingFile::Embedded)),
            };
        }
        let missing = match &origin.provenance {
            Some(before) => before.missing_file(Path::new(DEFAULT_PATH)),
            None if origin.is_embedded => MissingFile::Embedded,
            None => MissingFile::Fragments,
        };
        Ok((origin.provenance, missing))
    }

    /// The generation in force; 0 if nothing is pinned.
    ///
    /// # Errors
    /// The pins cannot be read, or are another namespace's.
    pub fn generation(&self) -> Result<u32, Error> {
        Ok(self.maps()?.map_or(0, |maps| maps.state().generation))
    }

    /// The registry behind the policy in force.
    ///
    /// # Errors
    /// The pins cannot be read, or are another namespace's.
    pub fn provenance(&self) -> Result<Option<Provenance>, Error> {
        let maps = self.maps()?;
        Ok(maps.map(|maps| maps.provenance()))
    }

    /// The Unix socket on which `run` serves events: `/run/enforcer/COOKIE-NAME.sock`, for the
    /// network namespace's cookie and the pin directory's name.
    ///
    /// # Errors
    /// The kernel does not tell the cookie.
    pub fn events_socket(&self) -> Result<PathBuf> {
        let cookie = sys::netns_cookie()?.to_string();
        Ok(file_of(&self.pins, &cookie, ".sock"))
    }

    /// Whether a living `run` follows the host for these pins. The question wakes no process, and
    /// a `run` that hangs counts as well.
    pub fn is_followed(&self) -> bool {
        let socket = self.events_socket();
        socket.is_ok_and(|socket| socket_state(&socket) == SocketState::Served)
    }

    /// Whether the socket guard is attached.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn has_socket_guard(&self) -> Result<bool> {
        links::is_cgroup_attached(&self.pins.socket_link())
    }

    /// Returns a note if the socket guard stands below the root of the cgroups: the processes of
    /// other cgroups have sockets too.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(super) fn below_root(&self) -> Result<Option<Note>> {
        let cgroup = links::attached_cgroup(&self.pins.socket_link())?;
        let below = cgroup.filter(|cgroup| !cgroup.is_root());
        Ok(below.map(|_| Note::new(NoteKind::SocketGuardBelowRoot, BELOW_ROOT)))
    }

    /// Takes the writers' lock. Blocks the thread up to the limit of the patience.
    ///
    /// # Errors
    /// [`Error::Locked`], or the file of the lock cannot be made.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        Lock::take(&self.pins, self.patience).map_err(|error| match error {
            LockError::Held(holder) => Error::Locked(holder),
            LockError::Failed(error) => Error::NoLock(error),
        })
    }

    /// The word of `down`.
    ///
    /// # Errors
    /// The kernel does not tell the network namespace's cookie.
    pub(super) fn word(&self) -> Result<Word> {
        Word::of(&self.pins)
    }

    /// Opens the pinned maps; `None` if nothing is pinned.
    ///
    /// # Errors
    /// The maps are of another layout, or of another network namespace than this process's.
    pub(crate) fn maps(&self) -> Result<Option<Maps>, Error> {
        if !self.is_pinned()? {
            return Ok(None);
        }
        let maps = Maps::open(&self.pins).map_err(anyhow::Error::from)?;
        self.check_namespace(&maps)?;
        Ok(Some(maps))
    }

    /// The names of the maps without a pin; none if nothing is pinned.
    ///
    /// # Errors
    /// The pins cannot be read, or are another namespace's.
    pub(crate) fn missing_maps(&self) -> Result<Vec<&'static str>, Error> {
        if !self.is_pinned()? {
            return Ok(Vec::new());
        }
        let missing = self.pins.missing_maps()?;
        if !missing.is_empty() {
            self.owner(&self.pins)?;
        }
        Ok(missing)
    }

    /// Opens the maps for a change in place; `None` if nothing is pinned.
    ///
    /// # Errors
    /// As for [`Self::maps`]; or an interrupted command left guards beside the pins, with maps out
    /// of reach for a change in place.
    pub(super) fn maps_to_change(&self) -> Result<Option<Maps>, Error> {
        let maps = self.maps()?;
        match maps {
            Some(_) if self.has_guards_beside()? => Err(Error::Interrupted),
            maps => Ok(maps),
        }
    }

    /// Refuses pins of another network namespace.
    fn check_namespace(&self, maps: &Maps) -> Result<(), Error> {
        ensure_ours(maps.state().netns_cookie, &self.pins)
    }
}

/// Returns a note of a lock that could not be had in its place.
pub(super) fn lock_note(lock: &Lock) -> Option<Note> {
    let text = lock.instead()?;
    Some(Note::new(NoteKind::Obstacle, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(path: &str) -> Result<Instance> {
        Instance::new(Path::new(path), Some("/sys/fs/cgroup".into()))
    }

    #[test]
    fn an_instance_is_a_pin_directory_and_a_cgroup() {
        let instance = instance("/sys/fs/bpf/enforcer").unwrap();
        assert_eq!(instance.pin_dir(), Path::new("/sys/fs/bpf/enforcer"));
        assert_eq!(instance.cgroup(), Some(Path::new("/sys/fs/cgroup")));
        let by_mounts = Instance::new(Path::new("/sys/fs/bpf/x"), None).unwrap();
        assert_eq!(by_mounts.cgroup(), None);
    }

    #[test]
    fn a_path_that_cannot_hold_pins_is_refused() {
        for path in [
            "relative",
            "/",
            "/sys/fs/bpf/with.dots",
            "/sys/fs/bpf/x_enforcer_tmp",
            "/sys/fs/bpf/x_enforcer_scratch",
            "/sys/fs/bpf/nul\0byte",
        ] {
            assert!(instance(path).is_err(), "{path}");
        }
    }

    #[test]
    fn each_namespace_and_pin_directory_has_a_socket_of_its_own() {
        let socket = |path| instance(path).unwrap().events_socket().unwrap();
        let cookie = sys::netns_cookie().unwrap();
        let expected = Path::new(RUNTIME).join(format!("{cookie}-enforcer.sock"));
        assert_eq!(socket("/sys/fs/bpf/enforcer"), expected);
        assert_ne!(socket("/sys/fs/bpf/other"), expected);
    }

    #[test]
    fn nothing_is_pinned_in_a_directory_that_does_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        let instance = Instance::new(&folder.path().join("pins"), None).unwrap();
        assert!(!instance.is_pinned().unwrap());
        assert_eq!(instance.generation().unwrap(), 0);
        assert_eq!(instance.provenance().unwrap(), None);
        assert_eq!(instance.missing_file().unwrap(), MissingFile::Embedded);
        assert_eq!(instance.before_up().unwrap(), (None, MissingFile::Embedded));
        assert!(instance.maps().unwrap().is_none());
        assert!(matches!(instance.adoptable_maps(), Ok(Adoptable::Nothing)));
        assert!(!instance.is_interrupted().unwrap());
        assert!(!instance.is_followed());
    }

    #[test]
    fn a_folder_of_other_files_is_no_pin_directory() {
        let folder = tempfile::tempdir().unwrap();
        let instance = Instance::new(&folder.path().join("pins"), None).unwrap();
        std::fs::create_dir(instance.pin_dir()).unwrap();
        std::fs::write(instance.pin_dir().join("mine"), "").unwrap();
        assert!(!instance.is_pinned().unwrap());
        let error = instance.pins().check().unwrap_err().to_string();
        assert!(error.contains("it holds mine"), "{error}");
        // A typing error in `--pin-dir` moves nothing: the folder is on no bpffs.
        let error = instance.recover().unwrap_err().to_string();
        assert!(error.contains("not on a bpffs"), "{error}");
        assert!(instance.pin_dir().join("mine").exists());
    }
}
