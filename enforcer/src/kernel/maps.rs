//! The maps of a pin directory, behind types: policies go in and come out as [`PolicyTables`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    maps::{Map, MapData, PerCpuArray, PerCpuHashMap, PerCpuValues},
    util::nr_cpus,
};
use enforcer_ebpf::{
    NO_SLOT, PeerSet, Protocol,
    layout::{
        BANKS, BankEntry, Binding, CELLS, Cell, Cells, Count, INTERFACE_ENTRIES, InterfaceEntry,
        MAX_SERVICES, OriginEntry, PEER_ENTRIES, PORT_ENTRIES, PeerEntry, PendingConfirm,
        PortEntry, PrefixKey, RULE_ENTRIES, RuleEntry, SERVICE_ENTRIES, ServiceEntry, State, bank,
        port_index,
    },
};

pub(crate) use super::reserved_map::Reserved;
use super::{
    array::MmapArray,
    bank,
    batch::{Hash, PerCpu},
    object::{check_shape, misshapen},
    pins::PinDir,
};
use crate::{
    decisions::pending::{PendingState, next_generation},
    failpoint::{self, Call, layout, through},
    policy::{PolicyTables, Slots},
    registry::Provenance,
};

/// A value of `layout` as aya moves it: aya's marker may not be put on another crate's type.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Raw<T>(pub(super) T);

// SAFETY: arrays of integers.
unsafe impl aya::Pod for Raw<Cells> {}

/// The failure to open the maps of a directory.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Another version made the pins, or a pin is missing.
    OtherLayout(OtherLayout),
    /// The kernel's refusal.
    Failed(anyhow::Error),
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

/// Pins that another version made, or that are not whole.
#[derive(Debug)]
pub(crate) struct OtherLayout {
    path: PathBuf,
    why: String,
}

impl fmt::Display for OtherLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, why) = (self.path.display(), &self.why);
        write!(
            f,
            "the pins in {path} are not of this version's layout ({}): {why}: run `enforcer up` to \
             replace them",
            layout()
        )
    }
}

impl std::error::Error for OtherLayout {}

/// The maps that are pinned in a directory.
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
    pub(super) prefixes: Hash<PrefixKey, PeerSet>,
    /// The ports that were added to `ip_local_reserved_ports`.
    pub(crate) reserved: Reserved,
    counters: PerCpuArray<MapData, Raw<Cells>>,
    slots: PerCpu,
    bypassed: PerCpuHashMap<MapData, u32, u64>,
}

impl Maps {
    /// Opens the maps of a directory.
    ///
    /// # Errors
    /// A map is missing or is not as this version makes it, or the kernel's refusal.
    pub(crate) fn open(pins: &PinDir) -> Result<Self, OpenError> {
        let foreign = |why: String| {
            OpenError::OtherLayout(OtherLayout {
                path: pins.path().to_owned(),
                why,
            })
        };
        let map = |name| -> Result<MapData, OpenError> {
            let pin = pins.map(name);
            if !pin.try_exists().map_err(anyhow::Error::from)? {
                return Err(foreign(format!("there is no map {name}")));
            }
            let map = open(&pin)
                .with_context(|| format!("failed to open the map {name} (CAP_BPF is needed)"))?;
            match misshapen(name, &map)? {
                None => Ok(map),
                Some(why) => Err(foreign(why)),
            }
        };
        let state = mapped(&map("STATE")?, "STATE", 1)?;
        let counters = map("COUNTERS")?;
        let maps = Self {
            state,
            banks: mapped(&map("BANK")?, "BANK", BANKS)?,
            ports: mapped(&map("PORTS")?, "PORTS", PORT_ENTRIES)?,
            services: mapped(&map("SERVICES")?, "SERVICES", SERVICE_ENTRIES)?,
            peers: mapped(&map("PEERS")?, "PEERS", PEER_ENTRIES)?,
            rules: mapped(&map("RULES")?, "RULES", RULE_ENTRIES)?,
            interfaces: mapped(&map("INTERFACES")?, "INTERFACES", INTERFACE_ENTRIES)?,
            origins: mapped(&map("ORIGIN")?, "ORIGIN", BANKS)?,
            pending: mapped(&map("TRIAL")?, "TRIAL", 1)?,
            reserved: Reserved::new(&map("RESERVED")?)?,
            prefixes: Hash::new(&map("PREFIXES")?, "PREFIXES")?,
            slots: PerCpu::new(&counters, "COUNTERS", size_of::<Cells>())?,
            counters: PerCpuArray::try_from(Map::PerCpuArray(counters))
                .map_err(anyhow::Error::from)?,
            bypassed: PerCpuHashMap::try_from(Map::PerCpuHashMap(map("BYPASSED")?))
                .map_err(anyhow::Error::from)?,
        };
        // 0 is what a new map holds, before its first policy.
        let pinned = maps.state().layout;
        if pinned != layout() && pinned != 0 {
            return Err(foreign(format!("their layout is {pinned}")));
        }
        Ok(maps)
    }

    /// What the directory is.
    pub(crate) fn state(&self) -> State {
        self.state.get(0)
    }

    /// Says what the directory is; the generation is left alone.
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

    /// The policy in force.
    ///
    /// # Errors
    /// The maps cannot be read or make no sense.
    pub(crate) fn tables(&self) -> Result<PolicyTables> {
        loop {
            let generation = self.state().generation;
            let tables = bank::read(self, bank(generation))?;
            // A reload in the meantime may have begun to fill what was just read.
            if self.state().generation == generation {
                return Ok(tables);
            }
        }
    }

    /// The registry that the policy in force was made from.
    pub(crate) fn provenance(&self) -> Provenance {
        bank::provenance(&self.origins.get(bank(self.state().generation) as usize))
    }

    /// The service that a port belongs to under the policy in force.
    pub(crate) fn service_of(&self, protocol: Protocol, port: u16) -> Option<String> {
        let bank = bank(self.state().generation);
        let binding = self.binding(bank, protocol, port)?;
        let number = bank * MAX_SERVICES + u32::from(binding.service);
        Some(text(&self.services.get(number as usize).name))
    }

    /// The slots of the policy in force.
    pub(crate) fn slots(&self) -> Slots {
        bank::bindings(self, bank(self.state().generation))
            .map(|(port, binding)| (port, binding.slot))
            .collect()
    }

    /// Makes a policy the one in force: fills the idle bank and switches with one write.
    ///
    /// Whoever reads at that moment sees the old policy or the new one, whole.
    ///
    /// # Errors
    /// A map refuses an entry, or a policy awaits confirmation: the policy in force stays.
    pub(crate) fn switch_to(&mut self, tables: &PolicyTables) -> Result<u32> {
        let next = self.fill_idle(tables)?;
        // A record whose reload was interrupted would match this generation.
        if self.pending.get(0).state == PendingConfirm::ARMED {
            self.end_pending(false);
        }
        self.switch(next);
        Ok(next)
    }

    /// Fills the idle bank; returns the generation that will read it.
    ///
    /// # Errors
    /// A map refuses an entry, or a policy awaits confirmation: the idle bank holds its way back.
    pub(super) fn fill_idle(&mut self, tables: &PolicyTables) -> Result<u32> {
        ensure!(
            !matches!(self.pending(), PendingState::Awaiting(_)),
            "a policy awaits confirmation: run `enforcer confirm` to keep it, or wait until it is \
             rolled back"
        );
        let generation = self.state().generation;
        // Slots are reused, and programs that began under the generation before this one may
        // still read the idle bank.
        if generation != 0 {
            super::sys::wait_for_readers()?;
        }
        let used: BTreeSet<u16> = self.slots().into_values().collect();
        let new = tables.ports.values().map(|binding| binding.slot);
        let new: Vec<u32> = new
            .filter(|slot| !used.contains(slot))
            .map(u32::from)
            .collect();
        self.slots
            .clear(&new)
            .context("failed to clear the counters of new ports")?;
        let next = next_generation(generation);
        ensure!(
            bank(next) != bank(generation),
            "generations ran out: run `enforcer down`"
        );
        bank::write(self, bank(next), tables)?;
        Ok(next)
    }

    /// Switches to a generation, whose bank is filled.
    pub(super) fn switch(&self, next: u32) {
        let offset = std::mem::offset_of!(State, generation);
        self.state.word(0, offset).store(next, Ordering::SeqCst);
        failpoint::stored(Call::Switch);
    }

    /// The counts of a slot, over all CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(crate) fn counts(&self, slot: u16) -> Result<Vec<(Cell, Count)>> {
        let cpus = self
            .counters
            .get(&slot.into(), 0)
            .with_context(|| format!("failed to read the counters of slot {slot}"))?;
        let mut sums = [Count::default(); CELLS];
        for cells in cpus.iter() {
            for (sum, count) in sums.iter_mut().zip(&cells.0) {
                sum.packets += count.packets;
                sum.bytes += count.bytes;
            }
        }
        Ok(Cell::of_slot(slot)
            .filter_map(|cell| Some((cell, sums[cell.index()?])))
            .collect())
    }

    /// Counts drops of the socket guard on exactly these interfaces from now on, by ifindex.
    ///
    /// # Errors
    /// The map cannot be written.
    pub(crate) fn watch_bypasses(&mut self, ifindexes: &BTreeSet<u32>) -> Result<()> {
        let what = "failed to write the map BYPASSED";
        let known: BTreeSet<u32> = self.bypassed.keys().filter_map(Result::ok).collect();
        for gone in known.difference(ifindexes) {
            through(Call::Bypassed, || self.bypassed.remove(gone).context(what))?;
        }
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        for new in ifindexes.difference(&known) {
            let zeros = PerCpuValues::try_from(vec![0u64; cpus])?;
            through(Call::Bypassed, || {
                self.bypassed.insert(*new, zeros, 0).context(what)
            })?;
        }
        Ok(())
    }

    /// The drops of the socket guard on interfaces that have a wire guard, by ifindex.
    pub(crate) fn bypasses(&self) -> BTreeMap<u32, u64> {
        self.bypassed
            .iter()
            .filter_map(Result::ok)
            .map(|(ifindex, cpus)| (ifindex, cpus.iter().sum()))
            .collect()
    }

    /// The registered ports whose binding a bank holds.
    pub(super) fn binding(&self, bank: u32, protocol: Protocol, port: u16) -> Option<Binding> {
        let entry = self.ports.get(port_index(protocol, port) as usize);
        let binding = Binding::from_bits(entry[bank as usize]);
        (binding.slot != NO_SLOT).then_some(binding)
    }
}

/// The network namespace that pins of any layout guard, if their `STATE` has today's shape.
///
/// # Errors
/// It has another, or is not there.
pub(crate) fn pinned_netns_cookie(pins: &PinDir) -> Result<u64> {
    let map = open(&pins.map("STATE"))?;
    check_shape("STATE", &map)?;
    Ok(mapped::<State>(&map, "STATE", 1)?.get(0).netns_cookie)
}

/// Opens a pinned map.
///
/// # Errors
/// Nothing is pinned there, or the kernel's refusal.
pub(super) fn open(path: &Path) -> Result<MapData> {
    through(Call::OpenMap, || Ok(MapData::from_pin(path)?))
}

pub(super) fn mapped<T: super::array::Plain>(
    map: &MapData,
    name: &str,
    entries: u32,
) -> Result<MmapArray<T>> {
    MmapArray::new(map.fd(), name, entries)
}

/// Text in a fixed field, padded with zeros.
pub(super) fn field<const N: usize>(text: &[u8]) -> Result<[u8; N]> {
    let mut field = [0; N];
    match field.get_mut(..text.len()) {
        Some(front) => front.copy_from_slice(text),
        None => bail!(
            "`{}` is longer than {N} bytes",
            String::from_utf8_lossy(text)
        ),
    }
    Ok(field)
}

/// The text of a fixed field.
pub(super) fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&field[..end.unwrap_or(field.len())]).into_owned()
}
