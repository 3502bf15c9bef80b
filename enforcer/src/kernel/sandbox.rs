//! The real object with a real policy in its maps, and no guard attached to anything: for
//! `explain --live`, tests and measurements, which run the programs by BPF_PROG_TEST_RUN.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{Ebpf, programs::Program};
use enforcer_ebpf::layout::{Cell, Count};

use super::{
    load::{self, Options},
    maps::Maps,
    pins::{MAPS, PinDir},
};
use crate::policy::PolicyTables;

/// An object and its maps. Everything goes when this value goes.
pub struct Sandbox {
    object: Ebpf,
    maps: Maps,
}

impl Sandbox {
    /// Creates the maps. They are pinned in `scratch`, a folder of a bpffs that is made and removed
    /// again, since the loader opens maps by their pins.
    ///
    /// # Errors
    /// The kernel refuses a map, or `scratch` cannot be made or removed.
    pub fn new(options: Options, scratch: &Path) -> Result<Self> {
        Self::in_folder(options, &PinDir::new(scratch)?)
    }

    /// The same, in a folder of any name.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub(crate) fn in_folder(options: Options, pins: &PinDir) -> Result<Self> {
        pins.create()?;
        let paths = MAPS.map(|name| pins.map(name));
        let maps: Vec<(&str, &Path)> = MAPS
            .into_iter()
            .zip(paths.iter().map(AsRef::as_ref))
            .collect();
        let built =
            load::load_object(options, &maps).and_then(|object| Ok((object, Maps::open(pins)?)));
        let removed = pins.remove();
        let (object, maps) = built?;
        removed?;
        maps.describe(options.netns_cookie, 0);
        Ok(Self { object, maps })
    }

    /// Puts a policy in force as a reload does: in the idle bank, with one write to switch. Returns
    /// the generation.
    ///
    /// # Errors
    /// A map refuses an entry.
    pub fn switch_to(&mut self, tables: &PolicyTables) -> Result<u32> {
        self.maps.switch_to(tables)
    }

    /// Makes the policy of pinned maps the one in force here, bit for bit.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub(crate) fn copy_policy(&self, from: &Maps) -> Result<()> {
        self.maps.copy_policy(from)
    }

    /// The policy in force.
    ///
    /// # Errors
    /// The maps make no sense.
    pub(crate) fn tables(&self) -> Result<PolicyTables> {
        self.maps.tables()
    }

    /// The counts of a slot, over all CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counts(&self, slot: u16) -> Result<Vec<(Cell, Count)>> {
        self.maps.counts(slot)
    }

    /// Loads a program; the maps are those of this object.
    ///
    /// # Errors
    /// The verifier's refusal, with its whole log.
    pub fn load(&mut self, name: &str) -> Result<()> {
        load::load_program(&mut self.object, name)
    }

    /// A program of the object.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn program(&self, name: &str) -> Result<&Program> {
        self.object
            .program(name)
            .with_context(|| format!("the object has no program {name}"))
    }

    /// The object, for what only it can tell.
    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.object
    }
}
