//! The policy follows the host, for as long as `run` lives.
//!
//! What the issue sets a time for is polled until then. Figures are printed: what was measured on
//! this machine, at this moment, beside whatever else it did.

mod beside;
mod edits;
mod hotplug;
mod interfaces;
mod masters;
mod mixed;
mod plug;
mod process;
mod reloads;
mod reserved;
mod sleep;
mod soak;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::command::eventually;
use crate::lab::session::is_guest;

use crate::scenario::{Rig, Scenario};

pub(super) use plug::look_again;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = interfaces::scenarios();
    scenarios.extend(masters::scenarios());
    scenarios.extend(hotplug::scenarios());
    scenarios.extend(edits::scenarios());
    scenarios.extend(beside::scenarios());
    scenarios.extend(reserved::scenarios());
    scenarios.extend(reloads::scenarios());
    scenarios.extend(mixed::scenarios());
    scenarios.extend(sleep::scenarios());
    scenarios.extend(soak::scenarios());
    scenarios
}

/// Prints a figure of a scenario.
fn figure(scenario: &str, text: &str) {
    println!("live::{scenario}: {text}");
}

/// Median and worst of some durations, in words.
fn spread(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |index: usize| took.get(index).copied().unwrap_or_default();
    format!(
        "median {:.1?}, worst {:.1?}",
        at(took.len() / 2),
        at(took.len().saturating_sub(1))
    )
}

/// Waits for something within a time, and says how long it took. In a guest the time is longer: it
/// is no promise, but what is waited for before something is said to have failed.
fn within(
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let limit = if is_guest() { limit * 5 } else { limit };
    let start = Instant::now();
    let mut error = None;
    eventually(limit, || match holds() {
        Ok(true) => Some(()),
        Ok(false) => None,
        Err(why) => {
            error = Some(why);
            None
        }
    })
    .with_context(|| match &error {
        Some(why) => format!("{what}: not within {limit:?} ({why:#})"),
        None => format!("{what}: not within {limit:?}"),
    })?;
    Ok(start.elapsed())
}

/// The service that a packet to a TCP port of the host belongs to under the policy in force.
fn service_of(rig: &Rig<'_>, port: u16) -> Result<Option<String>> {
    let port = port.to_string();
    let packet = [
        "--interface",
        "eth0",
        "--source",
        "192.168.77.2",
        "--port",
        &port,
    ];
    Ok(rig.enforcer.explain(&packet)?.service)
}

/// Insists that the policy in force is of one generation.
fn expect_generation(rig: &Rig<'_>, generation: u64) -> Result<()> {
    let (_, status) = rig.enforcer.status()?;
    ensure!(
        status.generation == generation,
        "expected generation {generation} to be in force still, but saw {status:?}"
    );
    Ok(())
}
