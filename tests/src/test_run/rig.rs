//! The programs of the real object on one side, the host's build of the decision on the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use aya::maps::Array;
use enforcer::kernel::load::Options;
use enforcer::kernel::sandbox::Sandbox;
use enforcer_ebpf::layout::Count;
use enforcer_ebpf::{FIRST_PORT_SLOT, Link};

use super::network::{self, On};
use super::packet::Frame;
use super::run::{Arrival, Hook, passes};
use super::world::{Expected, World};
use crate::lab::Netns;
use crate::lab::cleanup::{self, Directory};
use crate::scenario::Scenario;
use crate::scenario::host_only::SAME_PATH;

/// Counts by slot and cell, without zeros.
type Counts = BTreeMap<(u16, usize), (u64, u64)>;

/// Loaded programs over a policy, in the namespace of the calling thread.
pub(super) struct Rig<'a> {
    /// The namespace.
    pub(super) network: &'a Netns,
    bench: Sandbox,
    /// The policy in force.
    pub(super) world: World,
    /// The expected counters.
    counted: Counts,
    /// Number of compared runs.
    pub(super) runs: u64,
}

/// A scenario of the rig.
pub(super) fn scenario(name: &str, body: impl FnOnce() -> Result<()> + Send + 'static) -> Scenario {
    Scenario::plain(format!("test_run::{name}"), body).host_only(SAME_PATH)
}

/// Loads these programs over a policy in a fresh namespace and runs `work`, then prints the report.
pub(super) fn with_rig(
    registry: &str,
    programs: &[(Hook, Link)],
    work: impl FnOnce(&mut Rig<'_>) -> Result<()> + Send,
) -> Result<()> {
    let network = network::build()?;
    network.run(|| {
        let mut bench = unattached()?;
        for (hook, link) in programs {
            bench.load(hook.program(*link))?;
        }
        let world = World::new(registry, &BTreeMap::new())?;
        bench.switch_to(&world.tables)?;
        let mut rig = Rig {
            network: &network,
            bench,
            world,
            counted: Counts::new(),
            runs: 0,
        };
        work(&mut rig)?;
        ensure!(rig.runs > 0, "no program was run");
        if std::env::var_os("ENFORCER_TEST_RUNS").is_some() {
            println!("{} runs compared", rig.runs);
        }
        Ok(())
    })?
}

/// The object with its maps, before any program is loaded.
pub(crate) fn unattached() -> Result<Sandbox> {
    // Far from the numbers of labs, for directories in the same folder.
    static NUMBER: AtomicU32 = AtomicU32::new(1_000_000);
    let options = Options {
        netns_cookie: 0,
        log: false,
    };
    cleanup::ensure_bpffs()?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let parent = Directory::create(Path::new(cleanup::BPFFS), number)?;
    Sandbox::new(options, &parent.path().join("pins"))
}

impl Rig<'_> {
    /// Puts another registry in force, as a reload does.
    pub(super) fn reload(&mut self, registry: &str) -> Result<u32> {
        let world = World::new(registry, &self.world.slots())?;
        let generation = self.bench.switch_to(&world.tables)?;
        self.world = world;
        // Ports keep their slots, and slots their counts.
        self.counted = self.counts()?;
        Ok(generation)
    }

    /// Writes the generation alone: the named bank decides from then on.
    pub(super) fn set_generation(&mut self, generation: u32, world: World) -> Result<()> {
        let map = self.bench.object().map_mut("STATE").context("no STATE")?;
        let mut state: Array<_, [u32; 6]> = Array::try_from(map)?;
        let mut words = state.get(&0, 0)?;
        words[1] = generation;
        state.set(0, words, 0)?;
        self.world = world;
        self.counted = self.counts()?;
        Ok(())
    }

    /// Gives a frame to a guard, and compares verdict and counters with the host's opinion.
    pub(super) fn check(&mut self, hook: Hook, on: On, frame: &Frame) -> Result<Expected> {
        self.check_in_parts(hook, on, frame, frame.bytes.len())
    }

    /// Gives a frame to a guard in a buffer whose linear part ends after so many bytes.
    pub(super) fn check_in_parts(
        &mut self,
        hook: Hook,
        on: On,
        frame: &Frame,
        linear: usize,
    ) -> Result<Expected> {
        let expected = self.world.judge(on, frame);
        let arrival = Arrival {
            linear,
            ..Arrival::new(&frame.bytes, on.ifindex())
        };
        let compared = self.compare(hook, frame, arrival, &expected);
        compared.with_context(|| {
            format!(
                "{} on {} ({} bytes, {linear} of them linear): {}",
                hook.program(frame.link),
                on.name(),
                frame.bytes.len(),
                frame.hex()
            )
        })?;
        Ok(expected)
    }

    fn compare(
        &mut self,
        hook: Hook,
        frame: &Frame,
        arrival: Arrival<'_>,
        expected: &Expected,
    ) -> Result<()> {
        let passed = passes(&self.bench, hook, frame.link, arrival)?;
        self.runs += 1;
        if let Some(cell) = expected.counted {
            let (packets, bytes) = self.counted.entry(cell).or_default();
            *packets += 1;
            *bytes += u64::try_from(frame.bytes.len())?;
        }
        let counts = self.counts()?;
        ensure!(
            passed == expected.passes,
            "the kernel {} the frame, and the host says {expected:?}",
            if passed { "passes" } else { "drops" },
        );
        ensure!(
            counts == self.counted,
            "the host says {expected:?}, and the counters (slot and cell: packets, bytes)\n   are \
             {counts:?}\nnot {:?}",
            self.counted
        );
        Ok(())
    }

    fn counts(&self) -> Result<Counts> {
        let mut found = Counts::new();
        let slots = self.world.slots();
        for slot in slots.values().copied().chain(0..FIRST_PORT_SLOT) {
            for (cell, Count { packets, bytes }) in self.bench.counts(slot)? {
                if packets > 0 || bytes > 0 {
                    let index = cell.index().context("a cell that counts nothing")?;
                    found.insert((slot, index), (packets, bytes));
                }
            }
        }
        Ok(found)
    }
}
