//! Waits with a time limit, printed figures, and questions about the policy in force.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::command::eventually;
use crate::lab::session::is_guest;
use crate::scenario::Rig;

/// Prints a figure of a scenario.
pub(super) fn figure(scenario: &str, text: &str) {
    println!("live::{scenario}: {text}");
}

/// Median and worst of some durations, in words.
pub(super) fn spread(mut took: Vec<Duration>) -> String {
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
pub(super) fn within(
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
pub(super) fn service_of(rig: &Rig<'_>, port: u16) -> Result<Option<String>> {
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
pub(super) fn expect_generation(rig: &Rig<'_>, generation: u64) -> Result<()> {
    let (_, status) = rig.enforcer.status()?;
    ensure!(
        status.generation == generation,
        "expected generation {generation} to be in force still, but saw {status:?}"
    );
    Ok(())
}
