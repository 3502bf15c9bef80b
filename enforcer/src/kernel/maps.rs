//! The open maps of a pin directory, as typed handles.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::Result;
use aya::maps::{Map, MapData, PerCpuArray, PerCpuHashMap};
use enforcer_ebpf::{
    PeerSet,
    layout::{
        BANKS, BankEntry, Cells, INTERFACE_ENTRIES, InterfaceEntry, NETWORK_FILTERS, NetworkEntry,
        NetworkFilter, OnKey, OriginEntry, PEER_ENTRIES, PORT_ENTRIES, PeerEntry, PendingConfirm,
        PortEntry, PrefixKey, RULE_ENTRIES, RuleEntry, SERVICE_ENTRIES, ServiceEntry, State, bank,
    },
};

pub(crate) use super::reserved_ports::Reserved;
use super::{
    array::MmapArray,
    batch::{BatchHashMap, BatchPerCpuArray},
    entries::{TrieKey, provenance},
    pinned_map::{self, Found},
    pins::PinDir,
    plain::Raw,
};
use crate::{
    failpoint::{self, Call, layout},
    printable::decode_path,
    registry::Provenance,
};

/// The failure to open the maps of a directory.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Another version made the pins, or a pin is missing.
    OtherLayout(OtherLayout),
    /// The kernel's refusal.
    Failed(anyhow::Error),
}

impl OpenError {
    fn other_layout(path: &Path, why: String) -> Self {
        Self::OtherLayout(OtherLayout {
            path: path.to_owned(),
            why: Difference::Layout(why),
        })
    }
}

impl From<anyhow::Error> for OpenError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<OpenError> for anyhow::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::OtherLayout(pins) => pins.into(),
            OpenError::Failed(error) => error,
        }
    }
}

/// Pins of another version, or an incomplete set of pins.
#[derive(Debug)]
pub(crate) struct OtherLayout {
    path: PathBuf,
    why: Difference,
}

/// The difference between pins and a whole set of this version.
#[derive(Debug)]
enum Difference {
    /// The pins of these maps are missing.
    Missing(Vec<&'static str>),
    /// A map has another shape, or the whole set another layout, in words.
    Layout(String),
    /// The directory holds this entry too, which is no pin of enforcer.
    Beside(String),
}

impl OtherLayout {
    /// Pins among which is an entry that is no pin of enforcer.
    pub(crate) fn beside(pins: &PinDir, entry: String) -> Self {
        Self {
            path: pins.path().to_owned(),
            why: Difference::Beside(entry),
        }
    }

    /// Returns the fact that the pins were replaced, in words.
    pub(crate) fn replaced(&self) -> String {
        let were = match &self.why {
            Difference::Missing(_) => "incomplete",
            Difference::Layout(_) => "of another layout",
            Difference::Beside(_) => "not alone in their directory",
        };
        format!("the pins were {were} and are replaced; counters start at 0 ({self})")
    }
}

impl fmt::Display for OtherLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = decode_path(&self.path);
        match &self.why {
            Difference::Missing(maps) => write!(
                f,
                "the pins in {path} are incomplete: the pin of the map {} is missing: run \
                 `enforcer up` to replace them",
                maps.join(", ")
            ),
            Difference::Layout(why) => write!(
                f,
                "the pins in {path} are not of this version's layout ({}): {why}: run `enforcer \
                 up` to replace them",
                layout()
            ),
            Difference::Beside(entry) => write!(
                f,
                "the pins in {path} are not alone: {entry} is no pin of enforcer: run `enforcer \
                 up` to replace them"
            ),
        }
    }
}

impl std::error::Error for OtherLayout {}

/// The open maps of a pin directory.
pub(crate) struct Maps {
    pub(super) state: MmapArray<State>,
    pub(super) banks: MmapArray<BankEntry>,
    pub(super) ports: MmapArray<PortEntry>,
    pub(super) services: MmapArray<ServiceEntry>,
    pub(super) peers: MmapArray<PeerEntry>,
    pub(super) rules: MmapArray<RuleEntry>,
    pub(super) interfaces: MmapArray<InterfaceEntry>,
    pub(super) origins: MmapArray<OriginEntry>,
    pub(super) pending: MmapArray<PendingConfirm>,
    pub(super) prefixes: BatchHashMap<PrefixKey, PeerSet>,
    pub(super) on: BatchHashMap<OnKey, u32>,
    pub(super) macs: BatchHashMap<u64, u32>,
    pub(super) local: BatchHashMap<TrieKey, u32>,
    pub(super) networks: BatchHashMap<TrieKey, NetworkEntry>,
    pub(super) network_filters: MmapArray<NetworkFilter>,
    pub(super) sources: BatchHashMap<TrieKey, u32>,
    /// The ports that enforcer added to `ip_local_reserved_ports`.
    pub(crate) reserved: Reserved,
    pub(super) counters: PerCpuArray<MapData, Raw<Cells>>,
    /// The map of `counters`, for zeros in many slots at once.
    pub(super) slots: BatchPerCpuArray,
    pub(super) bypassed: PerCpuHashMap<MapData, u32, u64>,
}

impl Maps {
    /// Opens the maps of a directory.
    ///
    /// # Errors
    /// A map is missing or has another layout than this version's, or the kernel's refusal.
    pub(crate) fn open(pins: &PinDir) -> Result<Self, OpenError> {
        let missing = pins.missing_maps()?;
        if !missing.is_empty() {
            return Err(OpenError::OtherLayout(OtherLayout {
                path: pins.path().to_owned(),
                why: Difference::Missing(missing),
            }));
        }
        let foreign = |why| OpenError::other_layout(pins.path(), why);
        let data = |name| match pinned_map::find(pins, name)? {
            Found::Map(map) => Ok(map),
            Found::Foreign(why) => Err(foreign(why)),
        };
        let map = |name| match pinned_map::find_descriptor(pins, name)? {
            Found::Map(map) => Ok(map),
            Found::Foreign(why) => Err(foreign(why)),
        };
        let state = MmapArray::new(map("STATE")?, "STATE", 1)?;
        let counters = data("COUNTERS")?;
        let maps = Self {
            state,
            banks: MmapArray::new(map("BANK")?, "BANK", BANKS)?,
            ports: MmapArray::new(map("PORTS")?, "PORTS", PORT_ENTRIES)?,
            services: MmapArray::new(map("SERVICES")?, "SERVICES", SERVICE_ENTRIES)?,
            peers: MmapArray::new(map("PEERS")?, "PEERS", PEER_ENTRIES)?,
            rules: MmapArray::new(map("RULES")?, "RULES", RULE_ENTRIES)?,
            interfaces: MmapArray::new(map("INTERFACES")?, "INTERFACES", INTERFACE_ENTRIES)?,
            origins: MmapArray::new(map("ORIGIN")?, "ORIGIN", BANKS)?,
            pending: MmapArray::new(map("TRIAL")?, "TRIAL", 1)?,
            reserved: Reserved::new(&map("RESERVED")?)?,
            prefixes: BatchHashMap::new(map("PREFIXES")?, "PREFIXES")?,
            on: BatchHashMap::new(map("ON")?, "ON")?,
            macs: BatchHashMap::new(map("MACS")?, "MACS")?,
            local: BatchHashMap::new(map("LOCAL")?, "LOCAL")?,
            networks: BatchHashMap::new(map("NETWORKS")?, "NETWORKS")?,
            network_filters: MmapArray::new(
                map("NETWORK_FILTERS")?,
                "NETWORK_FILTERS",
                NETWORK_FILTERS,
            )?,
            sources: BatchHashMap::new(map("SOURCES")?, "SOURCES")?,
            slots: BatchPerCpuArray::new(&counters, "COUNTERS", size_of::<Cells>())?,
            counters: PerCpuArray::try_from(Map::PerCpuArray(counters))
                .map_err(anyhow::Error::from)?,
            bypassed: PerCpuHashMap::try_from(Map::PerCpuHashMap(data("BYPASSED")?))
                .map_err(anyhow::Error::from)?,
        };
        // The programs use these maps, and other commands open them: a whole set has them all.
        for name in ["EVENTS", "BUDGET", "EPOCH"] {
            map(name)?;
        }
        // A new map holds 0, before the first policy.
        let pinned = maps.state().layout;
        if pinned != layout() && pinned != 0 {
            let why = format!("their layout is {pinned}");
            return Err(OpenError::other_layout(pins.path(), why));
        }
        Ok(maps)
    }

    /// Returns the state of the directory: layout, generation, network namespace and flags.
    pub(crate) fn state(&self) -> State {
        self.state.get(0)
    }

    /// Writes the layout, the network namespace and the flags of the directory; the generation
    /// stays.
    pub(crate) fn describe(&self, netns_cookie: u64, flags: u32) {
        self.state.set(
            0,
            State {
                layout: layout(),
                generation: self.state().generation,
                netns_cookie,
                flags,
                zero: 0,
            },
        );
        failpoint::stored(Call::Describe);
    }
}

/// Returns the cookie of the network namespace that pins of any layout guard; `None` if the map
/// `STATE` is missing or has another shape than today's.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn pinned_netns_cookie(pins: &PinDir) -> Result<Option<u64>> {
    Ok(pinned_state(pins)?.map(|state| state.netns_cookie))
}

fn pinned_state(pins: &PinDir) -> Result<Option<State>> {
    let Found::Map(map) = pinned_map::find_descriptor(pins, "STATE")? else {
        return Ok(None);
    };
    Ok(Some(MmapArray::new(map, "STATE", 1)?.get(0)))
}

/// What pins of any layout tell of the registry behind their policy.
pub(crate) struct PinnedOrigin {
    /// The cookie of the network namespace that the pins guard.
    pub(crate) netns_cookie: u64,
    /// Whether the registry is the embedded one, as there was no file.
    pub(crate) is_embedded: bool,
    /// The registry's files; `None` under another layout.
    pub(crate) provenance: Option<Provenance>,
}

/// Returns what pins of any layout tell of the registry, with two maps opened; `None` if the map
/// `STATE` is missing or has another shape than today's.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn pinned_origin(pins: &PinDir) -> Result<Option<PinnedOrigin>> {
    let Some(state) = pinned_state(pins)? else {
        return Ok(None);
    };
    let mut origin = PinnedOrigin {
        netns_cookie: state.netns_cookie,
        is_embedded: state.flags & State::EMBEDDED != 0,
        provenance: None,
    };
    if state.layout == layout()
        && let Found::Map(map) = pinned_map::find_descriptor(pins, "ORIGIN")?
    {
        let origins = MmapArray::<OriginEntry>::new(map, "ORIGIN", BANKS)?;
        origin.provenance = Some(provenance(&origins.get(bank(state.generation) as usize)));
    }
    Ok(Some(origin))
}
