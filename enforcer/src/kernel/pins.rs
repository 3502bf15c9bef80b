//! The pin directory: what is in force stands there, and nowhere else.
//!
//! Maps, programs and links are pinned under names without dots (bpffs takes none). A new set is
//! built in a directory beside it and renamed into place; a lock on the parent makes writers take
//! turns. The link of an interface is named by its ifindex, since names of interfaces change.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::bpf;
use crate::{
    failpoint::{Call, through},
    interfaces::Hook,
};

/// The names of the maps that are pinned, which are the names in the object.
pub(crate) const MAPS: [&str; 16] = [
    "STATE",
    "BANK",
    "PORTS",
    "SERVICES",
    "PEERS",
    "RULES",
    "RESERVED",
    "COUNTERS",
    "INTERFACES",
    "PREFIXES",
    "BYPASSED",
    "EVENTS",
    "BUDGET",
    "EPOCH",
    "ORIGIN",
    "TRIAL",
];

/// The end of the name of a directory in which a set is built.
const STAGING: &str = "_enforcer_tmp";
/// The end of the name of a directory that is there for a moment, without guards.
const SCRATCH: &str = "_enforcer_scratch";
/// The beginning of every program's name.
const PROGRAM: &str = "prog_";
/// The beginning of every link's name.
const LINK: &str = "link_";
/// The name of the socket guard's link.
const SOCKET_LINK: &str = "link_socket";
/// The beginning of a wire guard's link: `link_wire_IFINDEX_HOOK`.
const WIRE_LINK: &str = "link_wire_";

/// The beginning of the link of a guard on an interface that is not up yet: `link_early_IFINDEX`.
const EARLY_LINK: &str = "link_early_";

/// A directory of pins, whether it exists or not.
#[derive(Clone, Debug)]
pub(crate) struct PinDir {
    path: PathBuf,
}

impl PinDir {
    /// The directory of this path, which has a parent and a name without dots.
    ///
    /// # Errors
    /// The path is not one that a pin directory can have.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let taken = |name: &str| name.ends_with(STAGING) || name.ends_with(SCRATCH);
        let usable =
            name.is_some_and(|name| !name.contains('.') && !taken(name)) && path.parent().is_some();
        ensure!(
            usable && path.is_absolute() && !path.as_os_str().as_encoded_bytes().contains(&0),
            "{} cannot be a pin directory: give an absolute path to a folder of a bpffs whose name \
             has no dots and does not end in {STAGING} or {SCRATCH}",
            path.display()
        );
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it is in.
    pub(crate) fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The directory beside it in which a new set is built.
    pub(crate) fn staging(&self) -> Self {
        self.beside(STAGING)
    }

    /// The directory beside it in which maps without guards are pinned for a moment.
    pub(crate) fn scratch(&self) -> Self {
        self.beside(SCRATCH)
    }

    fn beside(&self, end: &str) -> Self {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(end);
        Self {
            path: self.path.with_file_name(name),
        }
    }

    /// Whether there is one.
    ///
    /// # Errors
    /// It cannot be told, for lack of privileges as a rule.
    pub(crate) fn exists(&self) -> Result<bool> {
        self.path
            .try_exists()
            .with_context(|| format!("failed to look for pins at {}", self.path.display()))
    }

    /// Makes the directory, for root alone.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn create(&self) -> Result<()> {
        through(Call::MakeDirectory, || {
            DirBuilder::new().mode(0o700).create(&self.path)
        })
        .with_context(|| format!("failed to create {}", self.path.display()))
    }

    /// The path of a pinned map.
    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path of a pinned program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.path.join(format!("{PROGRAM}{name}"))
    }

    /// The path of the socket guard's link.
    pub(crate) fn socket_link(&self) -> PathBuf {
        self.path.join(SOCKET_LINK)
    }

    /// The path of a wire guard's link.
    pub(crate) fn wire_link(&self, ifindex: u32, hook: Hook) -> PathBuf {
        let hook = hook.name().replace('-', "_");
        self.path.join(format!("{WIRE_LINK}{ifindex}_{hook}"))
    }

    /// The wire guards' links, by ifindex.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn wire_links(&self) -> Result<Vec<(u32, Hook, PathBuf)>> {
        let mut links = Vec::new();
        for name in self.names()? {
            let Some((ifindex, hook)) = name
                .strip_prefix(WIRE_LINK)
                .and_then(|rest| rest.split_once('_'))
            else {
                continue;
            };
            if let (Ok(ifindex), Some(hook)) = (ifindex.parse(), hook_of(hook)) {
                links.push((ifindex, hook, self.path.join(name)));
            }
        }
        links.sort();
        Ok(links)
    }

    /// The path of the link of an interface that is not up yet.
    pub(crate) fn early_link(&self, ifindex: u32) -> PathBuf {
        self.path.join(format!("{EARLY_LINK}{ifindex}"))
    }

    /// The links of interfaces that were not up yet, by ifindex.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn early_links(&self) -> Result<Vec<(u32, PathBuf)>> {
        let names = self.names()?;
        let link = |name: String| {
            let ifindex = name.strip_prefix(EARLY_LINK)?.parse().ok()?;
            Some((ifindex, self.path.join(name)))
        };
        Ok(names.into_iter().filter_map(link).collect())
    }

    /// Whether a link is pinned in it.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn has_links(&self) -> Result<bool> {
        Ok(self.names()?.iter().any(|name| name.starts_with(LINK)))
    }

    /// Whether every map is pinned in it. If not, a removal had begun: guards go before maps, and
    /// what was theirs is given back.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn has_all_maps(&self) -> Result<bool> {
        let names = self.names()?;
        let is_there = |map: &str| names.iter().any(|name| name == map);
        Ok(MAPS.iter().all(|map| is_there(map)))
    }

    fn names(&self) -> Result<Vec<String>> {
        let what = || format!("failed to read the pin directory {}", self.path.display());
        let entries = match fs::read_dir(&self.path) {
            // Another process renamed or removed it a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(what)?,
        };
        entries
            .map(|entry| {
                let name = entry.with_context(what)?.file_name();
                Ok(name.to_string_lossy().into_owned())
            })
            .collect()
    }

    /// Puts the directory that was built in `staging` in the place of this one, in one step.
    ///
    /// The old one, if there is one, is in `staging` then.
    ///
    /// # Errors
    /// The kernel's refusal: nothing has changed.
    pub(crate) fn replace_with(&self, staging: &Self) -> Result<()> {
        // Not onto a directory that is not empty: the two change places.
        self.rename(
            staging,
            match self.exists()? {
                true => RenameFlags::EXCHANGE,
                false => RenameFlags::NOREPLACE,
            },
        )
    }

    /// Makes this the name of the directory that was `from`, in one step.
    ///
    /// # Errors
    /// There is a directory of this name, or the kernel's refusal: nothing has changed.
    pub(crate) fn rename_from(&self, from: &Self) -> Result<()> {
        self.rename(from, RenameFlags::NOREPLACE)
    }

    fn rename(&self, from: &Self, flags: RenameFlags) -> Result<()> {
        through(Call::Rename, || {
            renameat_with(CWD, &from.path, CWD, &self.path, flags).map_err(io::Error::from)
        })
        .with_context(|| {
            format!(
                "failed to rename {} to {}",
                from.path.display(),
                self.path.display()
            )
        })
    }

    /// Checks that nothing but pins of the loader is in it.
    ///
    /// # Errors
    /// Something else is, or it cannot be told.
    pub(crate) fn check(&self) -> Result<()> {
        self.own_names().map(drop)
    }

    /// Detaches every guard that is pinned here and nowhere else.
    ///
    /// # Errors
    /// It is not a pin directory, and nothing is removed; or something in it cannot be.
    pub(crate) fn remove_links(&self) -> Result<()> {
        let mut names = self.own_names()?;
        // The socket guard last: alone it holds on every interface.
        names.sort_by_key(|name| name == SOCKET_LINK);
        for name in names.iter().filter(|name| name.starts_with(LINK)) {
            let path = self.path.join(name);
            bpf::detach(&path).with_context(|| format!("failed to unpin {}", path.display()))?;
        }
        Ok(())
    }

    /// Removes the directory and every pin in it; what is pinned nowhere else is detached.
    ///
    /// Links go first, and the map that says whose pins these are goes last.
    ///
    /// # Errors
    /// It is not a pin directory, and nothing is removed; or something in it cannot be.
    pub(crate) fn remove(&self) -> Result<()> {
        if !self.exists()? {
            return Ok(());
        }
        self.remove_links()?;
        let mut names = self.own_names()?;
        names.sort_by_key(|name| name == MAPS[0]);
        for name in names {
            let path = self.path.join(&name);
            through(Call::Unpin, || fs::remove_file(&path))
                .with_context(|| format!("failed to unpin {}", path.display()))?;
        }
        through(Call::RemoveDirectory, || fs::remove_dir(&self.path))
            .with_context(|| format!("failed to remove {}", self.path.display()))
    }

    /// What is in the directory, if all of it is the loader's.
    fn own_names(&self) -> Result<Vec<String>> {
        let names = self.names()?;
        let is_ours = |name: &String| {
            name.starts_with(LINK) || name.starts_with(PROGRAM) || MAPS.contains(&&**name)
        };
        if let Some(foreign) = names.iter().find(|name| !is_ours(name)) {
            bail!(
                "{} is not a directory of enforcer's pins: it holds {foreign}",
                self.path.display()
            );
        }
        ensure!(
            super::mounts::is_bpffs(&self.path)?,
            "{} is not on a bpffs",
            self.path.display()
        );
        Ok(names)
    }
}

/// The hook in a pin's name, where underscores stand for dashes.
fn hook_of(name: &str) -> Option<Hook> {
    let name = name.replace('_', "-");
    [Hook::XdpNative, Hook::XdpGeneric, Hook::Tcx]
        .into_iter()
        .find(|hook| hook.name() == name)
}

/// The right to change the pins of a parent directory, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, never read")] File);

impl Lock {
    /// Whether a process has it at this moment.
    ///
    /// # Errors
    /// The parent directory cannot be opened or locked.
    pub(crate) fn is_taken(pins: &PinDir) -> Result<bool> {
        let parent = pins.parent();
        let what = || format!("failed to look at the lock of {}", parent.display());
        match File::open(parent).with_context(what)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).with_context(what),
        }
    }

    /// Waits for the turn of this process.
    ///
    /// # Errors
    /// The parent directory cannot be opened or locked.
    pub(crate) fn exclusive(pins: &PinDir) -> Result<Self> {
        let parent = pins.parent();
        let file = File::open(parent)
            .with_context(|| format!("failed to open {} to lock it", parent.display()))?;
        loop {
            match through(Call::Lock, || file.lock()) {
                Ok(()) => return Ok(Self(file)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    bail!("failed to lock {}: {error}", parent.display());
                }
            }
        }
    }
}
