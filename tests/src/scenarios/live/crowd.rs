//! Five hundred interfaces that come up and leave at once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::Feature;
use crate::lab::bpf::{Hook, programs_on};
use crate::lab::crowd::Crowd;
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::plug::{look_again, wire_pins};
use super::timing::{figure, within};

/// The interfaces.
const CROWD: u32 = 500;
/// The wait before a failure: the kernel takes 15 ms for each interface, and many times as much on a
/// busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::five_hundred_interfaces_at_once", at_once)
            .host_only(LOADER)
            .takes_long()
            // The kernel's lock of interfaces would keep other scenarios waiting for seconds.
            .alone(),
    ]
}

fn at_once(rig: &Rig<'_>) -> Result<()> {
    let lab = rig.lab;
    let run = rig.enforcer.run(&[])?;
    let others = wire_pins(lab)?.len();
    let crowd = Crowd::new(lab, CROWD)?;
    let start = crowd.up()?;
    within(
        PATIENCE,
        "a guard on each",
        || Ok(crowd.guarded()? == CROWD),
    )
    .with_context(|| rig.enforcer.run_log())?;
    let came = start.elapsed();
    one_program_each(rig, &crowd)?;
    let (code, status) = rig.enforcer.status()?;
    let wire = status.guards.iter().filter(|guard| guard.guard == "wire");
    let (wire, expected) = (wire.count(), others + CROWD as usize);
    ensure!(
        code == Some(0) && wire == expected,
        "expected {expected} wire guards and exit code 0, but saw {wire} and {code:?}"
    );
    let start = crowd.leave()?;
    let left = let_go(rig, &crowd, others)?;
    figure(
        "five_hundred_interfaces_at_once",
        &format!(
            "all guarded after {came:.1?}; gone from the host within {:.1?}, and from the pins \
             {left:.1?} later",
            start.elapsed() - left
        ),
    );
    // In the middle of the attachments.
    let crowd = Crowd::new(lab, CROWD)?;
    crowd.up()?;
    within(PATIENCE, "some guards", || Ok(crowd.guarded()? > 20))?;
    crowd.leave_in_steps()?;
    let_go(rig, &crowd, others)?;
    // `run` follows as before.
    look_again(lab)?;
    let (code, _) = rig.enforcer.status()?;
    ensure!(code == Some(0), "`status` says {code:?}");
    drop(run);
    Ok(())
}

/// Waits for one program on each interface: no guard was attached twice. The guard of an interface
/// that was down leaves after the other one has come.
fn one_program_each(rig: &Rig<'_>, crowd: &Crowd<'_>) -> Result<()> {
    if !Feature::Tcx.is_here() {
        return Ok(());
    }
    let indexes = crowd.indexes();
    let mut seen = Vec::new();
    let alone = || {
        seen = rig.lab.host.run(|| {
            let programs = indexes.clone().map(|index| programs_on(index, Hook::Tcx));
            programs.collect::<std::io::Result<Vec<u32>>>()
        })??;
        Ok(seen.iter().all(|number| *number == 1))
    };
    within(PATIENCE, "one program on each", alone)
        .map(drop)
        .with_context(|| format!("{seen:?}"))
}

/// Waits until no pin of the crowd is left, and insists on the pins of all others.
fn let_go(rig: &Rig<'_>, crowd: &Crowd<'_>, others: usize) -> Result<Duration> {
    let took = within(
        PATIENCE,
        "no pin of what left",
        || Ok(crowd.guarded()? == 0),
    )
    .with_context(|| rig.enforcer.run_log())?;
    let pins = wire_pins(rig.lab)?.len();
    ensure!(pins == others, "{pins} pins are left, and not {others}");
    Ok(took)
}
