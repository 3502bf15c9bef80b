//! Cost of `run` while nothing happens.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::lab::command::Daemon;
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::process::{MOST_RESIDENT, most_resident, resident, sleeps};
use super::timing::{figure, service_of, within};

/// Duration of the quiet.
const QUIET: Duration = Duration::from_secs(10);

/// A key that no device has: RFC 7748, section 6.1, Bob's.
const NOBODY: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::sleeps_when_nothing_happens", |rig| {
            let run = rig.enforcer.run(&[])?;
            begin();
            // Work after the start may take longer here; recurring work does not leave a single
            // quiet period out.
            for _ in 0..3 {
                if quiet(&run)? == 0 {
                    return wakes(rig, &run);
                }
            }
            bail!("woken in each {QUIET:?} of silence")
        })
        .host_only(LOADER)
        // Events of other scenarios' interfaces wake every listener.
        .alone(),
        Scenario::new("live::looks_once_a_second_for_keys", |rig| {
            let by_key = format!(
                "{REGISTRY}\n[peers.laptop]\ninterface = \"wg0\"\npublic-key = \"{NOBODY}\"\n"
            );
            rig.enforcer.registry(&by_key)?;
            let run = rig.enforcer.run(&[])?;
            begin();
            let woken = quiet(&run)?;
            // No look at all would be no following; a look a second is allowed.
            let looks = QUIET.as_secs();
            ensure!(
                (looks / 2..=looks * 3).contains(&woken),
                "woken {woken} times in {QUIET:?} with a peer by key"
            );
            wakes(rig, &run)
        })
        .host_only(LOADER)
        // Events of other scenarios' interfaces wake every listener.
        .alone(),
    ]
}

/// Number of wake-ups of `run` in a quiet period; the memory also must be small.
fn quiet(run: &Daemon) -> Result<u64> {
    let mut counts = vec![sleeps(run)?];
    for _ in 0..QUIET.as_secs() {
        sleep(Duration::from_secs(1));
        counts.push(sleeps(run)?);
    }
    let by_second: Vec<u64> = counts
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .collect();
    let woken: u64 = by_second.iter().sum();
    let (now, most) = (resident(run)?, most_resident(run)?);
    figure(
        "sleeps_when_nothing_happens",
        &format!(
            "woken {woken} times in {QUIET:?} {by_second:?}, {now} KiB resident, {most} KiB at most"
        ),
    );
    ensure!(now < MOST_RESIDENT, "{now} KiB are resident");
    Ok(woken)
}

/// Waits for the work after the start: the interfaces' own news, programs that are preloaded, and
/// the end of the preloading thread.
fn begin() {
    sleep(SETTLE * 3);
}

/// The control: `run` is awake where something happens, and the measure shows that.
fn wakes(rig: &Rig<'_>, run: &Daemon) -> Result<()> {
    let before = sleeps(run)?;
    let registry = std::fs::read_to_string(rig.enforcer.config_path()?)?;
    rig.enforcer
        .registry(&format!("{registry}\n[services.mark]\nports = [15000]\n"))?;
    within(SETTLE, "an edit in force", || {
        Ok(service_of(rig, 15_000)?.is_some())
    })?;
    ensure!(sleeps(run)? > before, "an edit woke nobody");
    Ok(())
}
