//! The policy follows the host while `run` lives.
//!
//! Promises with a time limit are polled until the limit. Printed figures are measurements of this
//! machine at this moment, under whatever other load.

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

/// Waits for a condition within a limit, and returns the duration. In a guest the limit is longer:
/// there, the limit is no promise, but the wait before a failure.
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

/// The service of a packet to a TCP port of the host, under the policy in force.
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

/// Insists on the generation of the policy in force.
fn expect_generation(rig: &Rig<'_>, generation: u64) -> Result<()> {
    let (_, status) = rig.enforcer.status()?;
    ensure!(
        status.generation == generation,
        "expected generation {generation} to be in force still, but saw {status:?}"
    );
    Ok(())
}
