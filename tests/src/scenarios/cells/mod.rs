//! Live traffic against the table: a packet for every choice of interface, family, transport,
//! headers, fragments, tags, destination, port and sender, on one host with all interfaces.
//!
//! ```text
//! cell      the dimensions, and the list of cells     addresses   addresses and MACs of a cell
//! forge     the bytes of a cell                       stage       the devices, and a frame's way
//! sinks     sockets that record arrivals              oracle      expected arrivals and counters
//! ```
//!
//! A run without guards tells what the stack delivers. Under each set of guards the second
//! implementation of the table (enforcer-ebpf/tests/reference) says what must still arrive, and
//! what the counters must be: a further arrival is a leak, a missing one is collateral damage.

mod addresses;
mod cell;
mod forge;
mod oracle;
mod sinks;
mod stage;

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::{Feature, Guards, Transport};
use crate::scenario::{Rig, Scenario, host_only};

use addresses::ends;
use cell::{Cell, Destination, Family, Fragments, Headers, Ingress, Tags};
use forge::FIRST_MARK;
use oracle::{Expected, Oracle, REGISTRY, Row, Tally};
use sinks::{Arrivals, Place, Sinks};
use stage::{Hooks, Stage};

/// The fewest cells on any kernel.
const FEWEST: usize = 400;
/// The devices with wire guards, where the kernel has the device.
const GUARDED: [&str; 8] = ["eth0", "eth0.5", "wg0", "up0", "br0", "nic1", "mv0", "tun0"];
/// Differences that a message shows in full.
const SHOWN: usize = 10;
/// The longest wait for expected packets, on an emulated processor.
const LIMIT: Duration = Duration::from_secs(30);
/// Frames between two short waits, in which the stack empties its queues.
const BURST: usize = 32;

pub(super) fn scenarios() -> Vec<Scenario> {
    let scenario = |name, hooks| {
        let name = format!("cells::{name}::every_cell_arrives_and_counts_as_the_table_says");
        Scenario::new(name, move |rig| every_cell(rig, hooks)).host_only(host_only::SAME_HOOK)
    };
    vec![
        scenario("tcx", Hooks::Tcx).needs(Feature::Tcx),
        // The choice of a kernel without tcx, for every interface of the stage.
        scenario("generic_xdp", Hooks::GenericXdp),
    ]
}

/// The registry of the cells, with a hook for every guarded interface.
fn registry(hooks: Hooks) -> String {
    let hook = match hooks {
        Hooks::Tcx => "tcx",
        Hooks::GenericXdp => "xdp-generic",
    };
    let guarded = GUARDED.map(|name| format!("\n[interfaces.\"{name}\"]\nhook = \"{hook}\"\n"));
    format!("{REGISTRY}{}", guarded.concat())
}

fn every_cell(rig: &Rig<'_>, hooks: Hooks) -> Result<()> {
    let start = Instant::now();
    let stage = Stage::new(rig.lab)?;
    let cells = cell::all(&stage.ingresses);
    ensure!(cells.len() >= FEWEST, "only {} cells", cells.len());
    let mut comparison = Comparison {
        rig,
        stage: &stage,
        cells: &cells,
        next_mark: FIRST_MARK,
    };
    let control = comparison.control()?;
    let oracle = Oracle::new(&rig.lab.host, hooks)?;
    let registry = registry(hooks);
    let mut differences = Vec::new();
    let mut held = 0;
    for guards in [Guards::Wire, Guards::Socket, Guards::Both] {
        let expected = oracle.expect(&cells, &control, guards);
        held += control.len() - expected.arrivals.len();
        differences.extend(comparison.under(guards, &registry, &expected, &expected.arrivals)?);
    }
    let again = comparison.round(&control)?;
    ensure!(
        again == control,
        "without guards: {} arrivals before, {} after",
        control.len(),
        again.len()
    );
    report(&differences, cells.len())?;
    comparison.sees_a_wrong_policy(&registry, &oracle, &control)?;
    println!(
        "{} cells, {} arrivals without guards, {held} arrivals held by the three sets of guards, 0 \
         differences, {:.1} s",
        cells.len(),
        control.values().sum::<u64>(),
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

/// A difference between the second implementation and the live guards.
#[derive(Debug)]
enum Difference {
    /// A packet reached a socket against the table.
    Leak(String),
    /// A packet did not reach a socket that the table allows.
    Collateral(String),
    Counter(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match self {
            Self::Leak(text) => ("leak", text),
            Self::Collateral(text) => ("collateral", text),
            Self::Counter(text) => ("counter", text),
        };
        write!(f, "{word}: {text}")
    }
}

/// All cells on a stage, sent once for each set of guards.
struct Comparison<'a> {
    rig: &'a Rig<'a>,
    stage: &'a Stage<'a>,
    cells: &'a [Cell],
    next_mark: u16,
}

impl Comparison<'_> {
    /// Sends every cell once, and returns the arrivals at fresh sockets.
    fn round(&mut self, expected: &Arrivals) -> Result<Arrivals> {
        // Marks of the round's own: a request outlives the listener, until the next timer.
        let marks = u16::try_from(self.cells.len())?;
        let first = self.next_mark;
        let end = first.checked_add(marks);
        self.next_mark = end.context("no source ports are left for another round")?;
        let mut sinks: Sinks<'_> = self.stage.sinks(first..self.next_mark)?;
        let mut sent = 0;
        for (mark, cell) in (first..).zip(self.cells) {
            let packets = forge::packets(cell, ends(cell), mark, mark);
            let frames = stage::frames(cell, &packets);
            self.stage.send(cell, &frames)?;
            sent += frames.len();
            if sent >= BURST {
                std::thread::sleep(Duration::from_millis(1));
                sent = 0;
            }
        }
        sinks.settled(expected, LIMIT)
    }

    /// Sends every cell without guards until the stage is ready, and returns the arrivals: those of
    /// two rounds in a row, with all plain packets.
    fn control(&mut self) -> Result<Arrivals> {
        let deadline = Instant::now() + LIMIT;
        let mut last = self.round(&Arrivals::new())?;
        loop {
            let control = self.round(&last)?;
            let outcome = delivered(&self.stage.ingresses, self.cells, &control);
            match outcome {
                Ok(()) if control == last => return Ok(control),
                Err(error) if Instant::now() >= deadline => return Err(error),
                _ => {}
            }
            ensure!(
                Instant::now() < deadline,
                "without guards, {} arrivals, then {}",
                last.len(),
                control.len()
            );
            last = control;
        }
    }

    /// Sends every cell under guards, waits for `awaited`, and returns the differences.
    fn under(
        &mut self,
        guards: Guards,
        registry: &str,
        expected: &Expected,
        awaited: &Arrivals,
    ) -> Result<Vec<Difference>> {
        self.rig.enforcer.registry(registry)?;
        self.rig.enforcer.up(guards)?;
        let arrived = self.round(awaited)?;
        let counters = self.rig.enforcer.counters()?;
        self.rig.enforcer.down()?;
        let mut found = Tally::new();
        for row in &counters.0 {
            *found.entry(Row::from(row)).or_default() += row.packets;
        }
        let mut differences = self.arrivals_apart(guards, expected, &arrived);
        differences.extend(counters_apart(guards, &expected.counters, &found));
        Ok(differences)
    }

    fn arrivals_apart(
        &self,
        guards: Guards,
        expected: &Expected,
        arrived: &Arrivals,
    ) -> Vec<Difference> {
        let keys: BTreeSet<_> = expected.arrivals.keys().chain(arrived.keys()).collect();
        let count = |arrivals: &Arrivals, key| arrivals.get(key).copied().unwrap_or_default();
        let mut differences = Vec::new();
        for key @ (number, place) in keys {
            let (wanted, found) = (count(&expected.arrivals, key), count(arrived, key));
            if wanted == found {
                continue;
            }
            let text = format!(
                "cell {number} reached {place:?} {found} times, not {wanted}, under {guards:?}: \
                 {:?}; the table says {:?}",
                self.cells.get(usize::from(*number)),
                expected.answers.get(number)
            );
            differences.push(match found > wanted {
                true => Difference::Leak(text),
                false => Difference::Collateral(text),
            });
        }
        differences
    }

    /// Insists that a policy without a service, and without the peer of another, makes a leak, a
    /// collateral damage and wrong counters.
    fn sees_a_wrong_policy(
        &mut self,
        registry: &str,
        oracle: &Oracle,
        control: &Arrivals,
    ) -> Result<()> {
        let wrong = registry
            .replace("ports = [9200]", "ports = [9201]")
            .replace("allow = [\"peer\"]", "");
        let expected = oracle.expect(self.cells, control, Guards::Both);
        let differences = self.under(Guards::Both, &wrong, &expected, &Arrivals::new())?;
        let has = |is: fn(&Difference) -> bool| differences.iter().any(is);
        ensure!(
            has(|it| matches!(it, Difference::Leak(_)))
                && has(|it| matches!(it, Difference::Collateral(_)))
                && has(|it| matches!(it, Difference::Counter(_))),
            "a wrong policy must show as a leak, a collateral and a counter, and showed as \
             {differences:?}"
        );
        Ok(())
    }
}

/// Insists that the stack delivers plain packets of every interface, family and destination.
fn delivered(ingresses: &[Ingress], cells: &[Cell], control: &Arrivals) -> Result<()> {
    let mut missing = Vec::new();
    for (number, cell) in (0_u16..).zip(cells) {
        let is_plain = cell.headers == Headers::Plain
            && cell.fragments == Fragments::Whole
            && cell.tags == Tags::Untagged
            && [Transport::Tcp, Transport::Udp].contains(&cell.transport);
        let place = match cell.destination {
            Destination::OtherMac => continue,
            Destination::Group | Destination::Broadcast if cell.transport == Transport::Tcp => {
                continue;
            }
            Destination::Container => Place::Container,
            Destination::Guest => Place::Guest,
            Destination::Foreign => Place::Foreign,
            _ => Place::Host,
        };
        if is_plain && !control.contains_key(&(number, place)) {
            missing.push(format!("{cell:?} at {place:?}"));
        }
    }
    let all = ingresses.iter().all(|ingress| {
        Family::ALL.iter().all(|family| {
            let mut reached = control
                .keys()
                .filter_map(|(it, _)| cells.get(usize::from(*it)));
            reached.any(|cell| cell.ingress == *ingress && cell.family == *family)
        })
    });
    ensure!(
        missing.is_empty() && all,
        "{} plain cells did not arrive without guards:\n{}",
        missing.len(),
        missing[..missing.len().min(SHOWN)].join("\n")
    );
    Ok(())
}

fn counters_apart(guards: Guards, expected: &Tally, found: &Tally) -> Vec<Difference> {
    let rows: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let count = |tally: &Tally, row| tally.get(row).copied().unwrap_or_default();
    rows.into_iter()
        .map(|row| (row, count(expected, row), count(found, row)))
        .filter(|(_, wanted, counted)| wanted != counted)
        .map(|(row, wanted, counted)| {
            let text = format!("{counted} packets, not {wanted}, under {guards:?}: {row:?}");
            Difference::Counter(text)
        })
        .collect()
}

fn report(differences: &[Difference], cells: usize) -> Result<()> {
    let shown: Vec<String> = differences
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    ensure!(
        differences.is_empty(),
        "{} differences in {cells} cells, the first of which are\n{}",
        differences.len(),
        shown.join("\n")
    );
    Ok(())
}
