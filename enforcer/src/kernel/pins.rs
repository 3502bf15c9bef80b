//! The pin directory: all that the kernel keeps of enforcer is pinned there, and nowhere else.
//!
//! Maps, programs and links are pinned under names without dots (bpffs refuses dots). A new set is
//! built in a directory beside the pins and renamed into place; the lock of `runtime` lets one
//! writer in at a time. A link is named by the ifindex, since names of interfaces change.

mod folder;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fs, io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) use folder::Content;

use super::{bpf, mounts};
use crate::{
    failpoint::{Call, through},
    interfaces::Hook,
    printable::decode_path,
};

/// The names of the pinned maps, which are the names in the object. `STATE` is the first.
pub(crate) const MAPS: [&str; 23] = [
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
    "ON",
    "LOCAL",
    "MACS",
    "NETWORKS",
    "NETWORK_FILTERS",
    "SOURCES",
    "SENT",
    "BYPASSED",
    "EVENTS",
    "BUDGET",
    "EPOCH",
    "ORIGIN",
    "TRIAL",
];

/// The name of the map that tells whether the guarded network namespace lives; the programs have no
/// use for the map, and sets of earlier versions lack the map.
pub(crate) const NAMESPACE: &str = "NAMESPACE";

/// The suffix of a directory in which a set is built.
const STAGING: &str = "_enforcer_tmp";
/// The suffix of a directory in which a set is built without the lock.
const RESCUE: &str = "_enforcer_rescue";
/// The suffix of a directory of maps without guards, which exists for a moment.
const SCRATCH: &str = "_enforcer_scratch";
/// The prefix of every program's name.
const PROGRAM: &str = "prog_";
/// The prefix of every link's name.
pub(super) const LINK: &str = "link_";
/// The name of the socket guard's link.
pub(super) const SOCKET_LINK: &str = "link_socket";
/// The prefix of a wire guard's link: `link_wire_IFINDEX_HOOK`.
const WIRE_LINK: &str = "link_wire_";
/// The prefix of the link of a guard on an interface that is not up yet: `link_early_IFINDEX`.
const EARLY_LINK: &str = "link_early_";

/// A directory of pins, which need not exist.
#[derive(Clone, Debug)]
pub(crate) struct PinDir {
    path: PathBuf,
}

impl PinDir {
    /// Returns the pin directory of an absolute path.
    ///
    /// # Errors
    /// The path has no parent, or a name that a pin directory cannot have.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let taken = |name: &str| {
            [STAGING, RESCUE, SCRATCH]
                .iter()
                .any(|part| name.contains(part))
        };
        let usable =
            name.is_some_and(|name| !name.contains('.') && !taken(name)) && path.parent().is_some();
        ensure!(
            usable && path.is_absolute() && !path.as_os_str().as_encoded_bytes().contains(&0),
            "{} cannot be a pin directory: give an absolute path to a folder of a bpffs whose name \
             has no dots, and no {STAGING}, {RESCUE} or {SCRATCH} in it",
            decode_path(path)
        );
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the parent directory.
    pub(crate) fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Returns the directories beside the pins in which a new set is built. The second one is for
    /// the network namespace of this cookie alone, because another namespace's command may have
    /// left guards in the first.
    pub(crate) fn staging(&self, cookie: u64) -> [Self; 2] {
        self.pair(STAGING, cookie)
    }

    /// Returns the directories beside the pins in which a new set is built without the lock, as for
    /// [`Self::staging`].
    pub(crate) fn rescue(&self, cookie: u64) -> [Self; 2] {
        self.pair(RESCUE, cookie)
    }

    fn pair(&self, suffix: &str, cookie: u64) -> [Self; 2] {
        let own = format!("{suffix}_{cookie:x}");
        [self.beside(suffix), self.beside(&own)]
    }

    /// Returns the directory beside the pins in which maps without guards are pinned for a moment.
    pub(crate) fn scratch(&self) -> Self {
        self.beside(SCRATCH)
    }

    fn beside(&self, suffix: &str) -> Self {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        Self {
            path: self.path.with_file_name(name),
        }
    }

    /// Returns the path of a pinned map.
    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns the path of a pinned program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.path.join(format!("{PROGRAM}{name}"))
    }

    /// Returns the path of the socket guard's link.
    pub(crate) fn socket_link(&self) -> PathBuf {
        self.path.join(SOCKET_LINK)
    }

    /// Returns the path of the link of a program that stands at one place of the host, by the
    /// program's name.
    pub(crate) fn link_of(&self, program: &str) -> PathBuf {
        self.path.join(format!("{LINK}{program}"))
    }

    /// Returns the path of a wire guard's link.
    pub(crate) fn wire_link(&self, ifindex: u32, hook: Hook) -> PathBuf {
        self.path.join(wire_link_name(ifindex, hook))
    }

    /// Returns the wire guards' links, by ifindex.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn wire_links(&self) -> Result<Vec<(u32, Hook, PathBuf)>> {
        let names = self.names()?;
        let link = |name: String| {
            let (ifindex, hook) = parse_wire_link(&name)?;
            Some((ifindex, hook, self.path.join(name)))
        };
        let mut links: Vec<_> = names.into_iter().filter_map(link).collect();
        links.sort();
        Ok(links)
    }

    /// Returns the path of the link of an interface that is not up yet.
    pub(crate) fn early_link(&self, ifindex: u32) -> PathBuf {
        self.path.join(format!("{EARLY_LINK}{ifindex}"))
    }

    /// Returns the links of interfaces that were not up yet, by ifindex.
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

    /// Returns the paths of all links.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn links(&self) -> Result<Vec<PathBuf>> {
        let mut names = self.names()?;
        names.retain(|name| name.starts_with(LINK));
        Ok(names.iter().map(|name| self.path.join(name)).collect())
    }

    /// Whether a link is pinned in the directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn has_links(&self) -> Result<bool> {
        Ok(self.names()?.iter().any(|name| name.starts_with(LINK)))
    }

    /// Whether every map is pinned in the directory. If not, a removal had begun: guards go before
    /// maps, and the ports that were reserved for them are free again.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn has_all_maps(&self) -> Result<bool> {
        Ok(self.missing_maps()?.is_empty())
    }

    /// Returns the names of the maps without a pin in the directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn missing_maps(&self) -> Result<Vec<&'static str>> {
        let names = self.names()?;
        let is_missing = |map: &&str| !names.iter().any(|name| name == map);
        Ok(MAPS.into_iter().filter(is_missing).collect())
    }

    /// Whether the directory belongs to the user of this process: root.
    ///
    /// # Errors
    /// The directory cannot be examined.
    pub(crate) fn is_roots(&self) -> Result<bool> {
        let found = fs::symlink_metadata(&self.path)
            .with_context(|| format!("failed to examine {}", decode_path(&self.path)))?;
        Ok(found.is_dir() && found.uid() == rustix::process::geteuid().as_raw())
    }

    pub(super) fn names(&self) -> Result<Vec<String>> {
        let what = || {
            format!(
                "failed to read the pin directory {}",
                decode_path(&self.path)
            )
        };
        let entries = match fs::read_dir(&self.path) {
            // Another process renamed or removed the directory a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(what)?,
        };
        entries
            .map(|entry| {
                let name = entry.with_context(what)?.file_name();
                Ok(decode_path(name.as_ref()))
            })
            .collect()
    }

    /// Checks that the directory holds pins of enforcer and nothing else.
    ///
    /// # Errors
    /// The directory holds something else, or cannot be read.
    pub(crate) fn check(&self) -> Result<()> {
        let other = match self.content()? {
            Content::Nothing | Content::Empty => return Ok(()),
            Content::Pins(None) => return self.own_names().map(drop),
            Content::Pins(other) => other,
            Content::Foreign(foreign) => foreign.entry,
        };
        let path = decode_path(&self.path);
        match other {
            Some(other) => bail!(
                "{path} is not a directory of enforcer's pins alone: it holds {other}: move {other} \
                 away, and run the command again"
            ),
            None => bail!("{path} is not a folder"),
        }
    }

    /// Detaches every guard that is pinned here, and removes the pins; a guard that is pinned in
    /// `other` too stays attached.
    ///
    /// # Errors
    /// The directory is on no bpffs, and nothing is removed; or a link cannot be removed.
    pub(crate) fn remove_links(&self, other: Option<&Self>) -> Result<()> {
        let mut names = self.own_names()?;
        let shared = match other {
            Some(other) => other.link_ids()?,
            None => BTreeSet::new(),
        };
        // The socket guard goes last: alone, the guard holds on every interface.
        names.sort_by_key(|name| name == SOCKET_LINK);
        for name in names.iter().filter(|name| name.starts_with(LINK)) {
            let path = self.path.join(name);
            let is_shared = !shared.is_empty() && shared.contains(&link_id(&path)?);
            let removed = match is_shared {
                true => bpf::unpin(&path),
                false => bpf::detach(&path),
            };
            removed.with_context(|| format!("failed to unpin {}", decode_path(&path)))?;
        }
        Ok(())
    }

    /// Returns the ids of the links that are pinned here; none without the directory.
    fn link_ids(&self) -> Result<BTreeSet<u32>> {
        self.links()?.iter().map(|path| link_id(path)).collect()
    }

    /// Removes every pin of a directory without links. `STATE` goes last.
    fn remove_maps(&self) -> Result<()> {
        let mut names = self.own_names()?;
        names.sort_by_key(|name| name == MAPS[0]);
        for name in names {
            let path = self.path.join(&name);
            through(Call::Unpin, || fs::remove_file(&path))
                .with_context(|| format!("failed to unpin {}", decode_path(&path)))?;
        }
        Ok(())
    }

    /// Returns the names of enforcer's pins in the directory, which is on a bpffs.
    fn own_names(&self) -> Result<Vec<String>> {
        let mut names = self.names()?;
        ensure!(
            mounts::is_bpffs(&self.path)?,
            "{} is not on a bpffs",
            decode_path(&self.path)
        );
        names.retain(|name| is_pin_name(name));
        Ok(names)
    }
}

/// Returns the id of a pinned link.
pub(super) fn link_id(pin: &Path) -> Result<u32> {
    let link = bpf::open_pin(pin).and_then(|link| bpf::link_info(link.as_fd()));
    let link = link.with_context(|| format!("failed to examine {}", decode_path(pin)))?;
    Ok(link.id)
}

pub(super) fn is_pin_name(name: &str) -> bool {
    name.starts_with(LINK) || name.starts_with(PROGRAM) || MAPS.contains(&name) || name == NAMESPACE
}

/// Returns the name of a wire guard's link, with underscores for the dashes of the hook.
fn wire_link_name(ifindex: u32, hook: Hook) -> String {
    format!("{WIRE_LINK}{ifindex}_{}", hook.name().replace('-', "_"))
}

fn parse_wire_link(name: &str) -> Option<(u32, Hook)> {
    let (ifindex, hook) = name.strip_prefix(WIRE_LINK)?.split_once('_')?;
    let hook = hook.replace('_', "-");
    let mut hooks = [Hook::XdpNative, Hook::XdpGeneric, Hook::Tcx].into_iter();
    let hook = hooks.find(|known| known.name() == hook)?;
    Some((ifindex.parse().ok()?, hook))
}
