//! A day in a few minutes: ten thousand interfaces come and leave, a peer's addresses change a
//! thousand times. At the end `run` and the maps hold as much as at the beginning.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::command::Daemon;
use crate::lab::enforcer::SETTLE;
use crate::lab::entries::entries;
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};
use crate::scenarios::keys::{Hub, Pretender, registry};
use crate::scenarios::kills::is_long_run;

use super::plug::{is_guarded, wire_pins};
use super::process::{MOST_RESIDENT, anonymous, descriptors, most_resident, resident};
use super::timing::{figure, within};

/// Interfaces that come and leave together.
const BATCH: usize = 50;
/// Steps in which a batch comes; keys change between them.
const STEPS: usize = 5;
/// Tolerated growth of the process's own memory, in KiB: reserves of an allocator.
const TOLERATED: u64 = 512;

pub(super) fn scenarios() -> Vec<Scenario> {
    let (events, changes) = match is_long_run() {
        true => (10_000, 1_000),
        false => (4_000, 400),
    };
    vec![
        Scenario::new("live::a_day_compressed", move |rig| {
            day(rig, events, changes)
        })
        .host_only(LOADER)
        // The kernel's lock of interfaces would keep other scenarios waiting for seconds.
        .alone(),
    ]
}

/// Quantities that must not grow.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    /// Entries of each map.
    entries: BTreeMap<&'static str, usize>,
    pins: usize,
    wire_guards: usize,
    descriptors: usize,
}

impl Holdings {
    fn of(rig: &Rig<'_>, run: &Daemon) -> Result<Self> {
        let pins = rig.lab.pin_dir();
        let maps = ["PREFIXES", "INTERFACES", "BYPASSED", "PEERS"];
        let count = |map: &'static str| -> Result<_> {
            let entries = entries(&pins.join(map)).with_context(|| format!("the map {map}"))?;
            Ok((map, entries))
        };
        Ok(Self {
            entries: maps.into_iter().map(count).collect::<Result<_>>()?,
            pins: std::fs::read_dir(&pins).context("no pins")?.count(),
            wire_guards: wire_pins(rig.lab)?.len(),
            descriptors: descriptors(run)?,
        })
    }
}

fn day(rig: &Rig<'_>, events: usize, changes: usize) -> Result<()> {
    // wireguard-go itself gives up after missing an event among so many.
    let hub = Pretender::hub(rig.lab)?;
    at_home(&hub)?;
    rig.enforcer.registry(&registry(hub.laptop()))?;
    let run = rig.enforcer.run_guided(&[], |command| hub.guide(command))?;
    first_round(rig, &hub, &run)?;
    let before = Holdings::of(rig, &run)?;
    let (own_before, resident_before) = (anonymous(&run)?, resident(&run)?);
    let first = generation(rig)?;

    let start = Instant::now();
    let batches = events / (2 * BATCH);
    come_and_change(rig, &hub, batches, changes)?;
    let took = start.elapsed();
    settle(rig, &hub, &run)?;
    let after = Holdings::of(rig, &run)?;
    let (own_after, resident_after) = (anonymous(&run)?, resident(&run)?);
    let generations = generation(rig)? - first;
    figure(
        "a_day_compressed",
        &format!(
            "{} interface events and {changes} changes of keys in {took:.0?}, {generations} \
             generations; resident {resident_before} -> {resident_after} KiB ({own_before} -> \
             {own_after} its own), at most {} KiB; {after:?}",
            batches * 2 * BATCH,
            most_resident(&run)?
        ),
    );
    ensure!(
        generations >= u64::try_from(batches * 3 / 4)?,
        "{changes} changes of keys in {batches} batches made {generations} generations"
    );
    ensure!(
        before == after,
        "it began with {before:?} and ends with {after:?}"
    );
    ensure!(
        own_after <= own_before + TOLERATED,
        "it had {own_before} KiB of its own, and has {own_after} now"
    );
    ensure!(
        resident_before.max(resident_after) < MOST_RESIDENT,
        "{resident_before} KiB were resident, and {resident_after} are now"
    );
    Ok(())
}

/// A batch and some other keys, for lasting allocations before the day begins.
fn first_round(rig: &Rig<'_>, hub: &dyn Hub, run: &Daemon) -> Result<()> {
    let mut change = 0;
    come_and_leave(rig, 0, || {
        change += 1;
        away(hub, change)
    })?;
    settle(rig, hub, run)?;
    // Programs that are loaded ahead take tens of megabytes for a moment.
    within(SETTLE * 5, "little memory", || {
        Ok(resident(run)? < MOST_RESIDENT)
    })
    .map(drop)
}

/// Batches of interfaces, with the changes of keys spread evenly over their steps.
fn come_and_change(rig: &Rig<'_>, hub: &dyn Hub, batches: usize, changes: usize) -> Result<()> {
    let (mut step, steps) = (0, batches * STEPS);
    for batch in 1..=batches {
        let before = generation(rig)?;
        come_and_leave(rig, batch, || {
            let mut due = changes * step / steps..changes * (step + 1) / steps;
            step += 1;
            due.try_for_each(|change| away(hub, change))
        })
        .with_context(|| format!("batch {batch}"))?;
        // A userspace device is asked once a second at most, and while nothing else happens.
        if waits_for_guards(batch) {
            within(SETTLE, "other keys in force", || {
                Ok(generation(rig)? > before)
            })
            .with_context(|| format!("after batch {batch}"))?;
        }
    }
    Ok(())
}

fn generation(rig: &Rig<'_>) -> Result<u64> {
    Ok(rig.enforcer.status()?.1.generation)
}

/// Half of a batch are the near ends of veth pairs, half the far ends: all in this namespace.
fn come_and_leave(
    rig: &Rig<'_>,
    batch: usize,
    mut after_each_step: impl FnMut() -> Result<()>,
) -> Result<()> {
    let host = &rig.lab.host;
    let pairs: Vec<String> = (0..BATCH / 2)
        .map(|pair| format!("link add day{pair}a group 77 type veth peer name day{pair}b group 77"))
        .collect();
    for pairs in pairs.chunks(pairs.len() / STEPS) {
        host.ip(&format!("{}\nlink set group 77 up", pairs.join("\n")))?;
        after_each_step()?;
    }
    let last = host.ifindex(&format!("day{}b", BATCH / 2 - 1))?;
    if waits_for_guards(batch) {
        within(SETTLE, "the last one's guard", || is_guarded(rig.lab, last))?;
    }
    host.ip("link del group 77")
}

/// Most of the batches leave when their guards are on, some in the middle of the attaching.
fn waits_for_guards(batch: usize) -> bool {
    !batch.is_multiple_of(4)
}

fn at_home(hub: &dyn Hub) -> Result<()> {
    hub.allow(&["10.10.0.5/32", "fd00:10::5/128"], &["10.10.0.99/32"])
}

/// More addresses, fewer, and others each time.
fn away(hub: &dyn Hub, change: usize) -> Result<()> {
    let many: Vec<String> = (0..=change % 7)
        .map(|other| format!("10.10.{}.{other}/32", change % 200))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    hub.allow(&many, &["10.10.0.99/32"])
}

/// The first state again, with both banks filled since.
fn settle(rig: &Rig<'_>, hub: &dyn Hub, run: &Daemon) -> Result<()> {
    at_home(hub)?;
    within(
        SETTLE,
        "the laptop at home, and no pin of what left",
        || {
            let (_, status) = rig.enforcer.status()?;
            let home = status.peers.iter().any(|peer| peer.state == "active");
            let wire = status.guards.iter().filter(|guard| guard.guard == "wire");
            Ok(home && wire.count() == wire_pins(rig.lab)?.len())
        },
    )
    .with_context(|| rig.enforcer.run_log())?;
    // `reload` finds WireGuard's socket where `run` does.
    for _ in 0..2 {
        let mut command = rig.enforcer.command(&["reload"])?;
        hub.guide(&mut command);
        let finished = crate::lab::command::finish(command, "")?;
        if finished.code != Some(0) {
            bail!("{finished}");
        }
    }
    // Time for the consequences of the last change.
    std::thread::sleep(Duration::from_secs(3));
    ensure!(
        resident(run)? > 0 && run_lives(run),
        "`run` has ended:\n{}",
        rig.enforcer.run_log()
    );
    Ok(())
}

fn run_lives(run: &Daemon) -> bool {
    Path::new(&format!("/proc/{}", run.id())).exists()
}
