//! Descriptors of everything that is pinned: removed pins open nothing while `run` lives, and `run`
//! pins the same objects again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{
    bpf,
    introspect::map_info,
    pins::{LINK, MAPS, PinDir, is_pin_name},
};
use crate::printable::decode_path;

/// The map that every set has.
const STATE: &str = MAPS[0];

/// The objects of a set of pins, by the names of their pins.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The directory of the set.
    directory: Option<FileId>,
    objects: BTreeMap<String, Object>,
    /// Links that guard and lost their pins to another set, until that set has guards of its own.
    orphans: Vec<OwnedFd>,
    /// A link guards nothing any more, and nobody was told.
    has_lost: bool,
}

/// Device and inode.
type FileId = (u64, u64);

#[derive(Debug)]
struct Object {
    /// The pin behind the descriptor.
    pin: FileId,
    descriptor: OwnedFd,
}

impl Object {
    fn open(path: &Path) -> Result<Self> {
        let open = || -> io::Result<Self> {
            Ok(Self {
                pin: file_id(path)?,
                descriptor: bpf::open_pin(path)?,
            })
        };
        open().with_context(|| format!("failed to open {}", decode_path(path)))
    }

    /// Returns the id of a link.
    fn link_id(&self) -> Option<u32> {
        let link = bpf::link_info(self.descriptor.as_fd());
        link.ok().map(|link| link.id)
    }

    /// Whether the object is a link that guards nothing any more.
    fn is_detached(&self, name: &str) -> bool {
        if !name.starts_with(LINK) {
            return false;
        }
        bpf::link_info(self.descriptor.as_fd()).is_ok_and(|link| !link.is_attached())
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Held {
    /// Takes descriptors of what is pinned. A new directory is another command's set, and takes the
    /// place of all descriptors; a missing pin keeps its descriptor, unless its guard was detached.
    /// A directory that vanishes meanwhile changes nothing.
    ///
    /// # Errors
    /// A pin cannot be opened; the descriptors from before stay.
    pub(crate) fn refresh(&mut self, pins: &PinDir) -> Result<()> {
        let Ok(directory) = file_id(pins.path()) else {
            return Ok(());
        };
        let is_known = self.directory == Some(directory);
        let (mut objects, mut replaced) = match is_known {
            true => (std::mem::take(&mut self.objects), Vec::new()),
            false => (BTreeMap::new(), Vec::new()),
        };
        let taken = Self::take_new(pins, &mut objects, &mut replaced);
        // Part of a new set, whose file system was unmounted meanwhile, takes the place of none.
        let is_whole = taken.is_ok() && file_id(pins.path()).ok() == Some(directory);
        if !is_known && !is_whole {
            return taken;
        }
        if !is_known {
            replaced.extend(std::mem::take(&mut self.objects));
        }
        let before = objects.len();
        objects.retain(|name, object| !object.is_detached(name));
        self.has_lost |= objects.len() < before;
        self.objects = objects;
        self.directory = Some(directory);
        self.adopt_orphans(replaced);
        taken
    }

    /// Takes what is pinned and not held. Objects under the same names go to `replaced`.
    fn take_new(
        pins: &PinDir,
        objects: &mut BTreeMap<String, Object>,
        replaced: &mut Vec<(String, Object)>,
    ) -> Result<()> {
        for name in pins.names()? {
            let path = pins.path().join(&name);
            let Ok(pin) = file_id(&path) else { continue };
            let is_held = objects.get(&name).is_some_and(|object| object.pin == pin);
            if !is_held && is_pin_name(&name) {
                let before = objects.insert(name.clone(), Object::open(&path)?);
                replaced.extend(before.map(|object| (name, object)));
            }
        }
        Ok(())
    }

    /// Keeps replaced links that guard: a command detaches the links that it replaces, so that
    /// another program removed the pins of these.
    fn adopt_orphans(&mut self, replaced: Vec<(String, Object)>) {
        let links = self
            .objects
            .iter()
            .filter(|(name, _)| name.starts_with(LINK));
        let ids: BTreeSet<u32> = links.filter_map(|(_, object)| object.link_id()).collect();
        let is_orphan = |(name, object): &(String, Object)| {
            name.starts_with(LINK)
                && !object.is_detached(name)
                && object.link_id().is_some_and(|id| !ids.contains(&id))
        };
        let orphans = replaced.into_iter().filter(is_orphan);
        self.orphans
            .extend(orphans.map(|(_, object)| object.descriptor));
    }

    /// Gives up links without a pin: the set in force has guards of its own.
    pub(crate) fn forget_orphans(&mut self) {
        self.orphans.clear();
    }

    /// Whether pins are older than the held set, or the same objects on another file system: an
    /// unmount shows pins from before. Ids of maps count up (kernel/bpf/syscall.c: bpf_map_alloc_id).
    ///
    /// # Errors
    /// The pins cannot be read.
    pub(crate) fn is_newer_than(&self, pins: &PinDir) -> Result<bool> {
        let what = || {
            format!(
                "failed to examine the map {STATE} in {}",
                decode_path(pins.path())
            )
        };
        let Some(own) = self.objects.get(STATE) else {
            return Ok(false);
        };
        let found = bpf::open_pin(&pins.map(STATE)).with_context(what)?;
        let found = map_info(found.as_fd()).with_context(what)?.id();
        let own = map_info(own.descriptor.as_fd()).with_context(what)?.id();
        let device = |id: FileId| id.0;
        let is_elsewhere = file_id(pins.path()).map(device).ok() != self.directory.map(device);
        Ok(found < own || (found == own && is_elsewhere))
    }

    /// Whether a link was found detached since the last call: its interface is gone, or another
    /// program took the guard off.
    pub(crate) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.has_lost)
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Returns the names of the pins that are missing in a directory and can be put back.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn missing(&self, pins: &PinDir) -> Result<Vec<&str>> {
        let present = BTreeSet::from_iter(pins.names()?);
        let missing = self
            .objects
            .iter()
            .filter(|(name, object)| !present.contains(*name) && !object.is_detached(name));
        Ok(missing.map(|(name, _)| name.as_str()).collect())
    }

    /// Pins the missing objects in a directory again. Returns the number of new pins.
    ///
    /// # Errors
    /// The kernel's refusal; some objects may be pinned then.
    pub(crate) fn put_back(&mut self, pins: &PinDir) -> Result<usize> {
        let missing: Vec<String> = self.missing(pins)?.into_iter().map(str::to_owned).collect();
        for name in &missing {
            let path = pins.path().join(name);
            let what = || format!("failed to pin {} again", decode_path(&path));
            let Some(object) = self.objects.get_mut(name) else {
                continue;
            };
            bpf::pin(object.descriptor.as_fd(), &path).with_context(what)?;
            object.pin = file_id(&path).with_context(what)?;
        }
        Ok(missing.len())
    }

    /// Whether a directory is the directory of the held set.
    pub(crate) fn is_of(&self, pins: &PinDir) -> bool {
        self.directory.is_some() && file_id(pins.path()).ok() == self.directory
    }

    /// Notes the directory that took the place of a lost directory, with the same objects.
    ///
    /// # Errors
    /// The directory cannot be examined.
    pub(crate) fn moved_to(&mut self, pins: &PinDir) -> Result<()> {
        let what = || format!("failed to examine {}", decode_path(pins.path()));
        self.directory = Some(file_id(pins.path()).with_context(what)?);
        for (name, object) in &mut self.objects {
            if let Ok(pin) = file_id(&pins.path().join(name)) {
                object.pin = pin;
            }
        }
        Ok(())
    }
}
