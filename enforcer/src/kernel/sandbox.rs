//! The real object with a real policy in maps of its own, and no guard attached: for
//! `explain --live`, tests and measurements, which run the programs by BPF_PROG_TEST_RUN.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{Ebpf, programs::Program};
use enforcer_ebpf::layout::{Cell, Count};

use super::{
    load::{self, Options},
    maps::Maps,
    pins::PinDir,
};
use crate::policy::PolicyTables;

/// An object and its maps, which the kernel frees with this value.
pub struct Sandbox {
    object: Ebpf,
    maps: Maps,
}

impl Sandbox {
    /// Creates the maps. `scratch` is a directory of a bpffs for their pins, made and removed again,
    /// since maps are opened by their pins.
    ///
    /// # Errors
    /// The kernel refuses a map, or `scratch` cannot be made or removed.
    pub fn new(options: Options, scratch: &Path) -> Result<Self> {
        Self::in_folder(options, &PinDir::new(scratch)?)
    }

    /// As [`Self::new`], in a directory of any name.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub(crate) fn in_folder(options: Options, scratch: &PinDir) -> Result<Self> {
        scratch.create()?;
        let built = load::load_object(options, scratch)
            .and_then(|object| Ok((object, Maps::open(scratch)?)));
        let removed = scratch.remove(None);
        let (object, maps) = built?;
        removed?;
        maps.describe(options.netns_cookie, 0);
        Ok(Self { object, maps })
    }

    /// Puts a policy in force as a reload does, and returns the generation.
    ///
    /// # Errors
    /// A map refuses an entry.
    pub fn switch_to(&mut self, tables: &PolicyTables) -> Result<u32> {
        self.maps.switch_to(tables)
    }

    /// Copies the policy of pinned maps, bit for bit.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub(crate) fn copy_policy(&self, from: &Maps) -> Result<()> {
        self.maps.copy_policy(from)
    }

    /// Returns the policy in force.
    ///
    /// # Errors
    /// The maps hold a value of no meaning in this version.
    pub(crate) fn tables(&self) -> Result<PolicyTables> {
        self.maps.tables()
    }

    /// Returns the counts of a slot, over all CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counts(&self, slot: u16) -> Result<Vec<(Cell, Count)>> {
        self.maps.counts(slot)
    }

    /// Loads a program, on the maps of this object.
    ///
    /// # Errors
    /// The verifier's refusal, with the whole log.
    pub fn load(&mut self, name: &str) -> Result<()> {
        load::load_program(&mut self.object, name)
    }

    /// Returns a program of the object.
    ///
    /// # Errors
    /// The object has no program of this name.
    pub fn program(&self, name: &str) -> Result<&Program> {
        self.object
            .program(name)
            .with_context(|| format!("the object has no program {name}"))
    }

    /// Returns the object.
    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.object
    }
}
