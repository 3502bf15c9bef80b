//! An `up` that ends a pending policy, and fails or dies on the way.

use anyhow::{Context, Result, ensure};

use crate::lab::Enforcer;
use crate::lab::command::{Finished, eventually, finish};
use crate::lab::enforcer::SETTLE;

use super::world::{MOST, Policy, World, faulty};
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    let name = "faults::up_over_a_pending_policy_confirms_nothing";
    vec![Scenario::new(name, never_confirmed).takes_long()]
}

/// Whatever becomes of the `up`, the unconfirmed policy is in force only while it is pending.
fn never_confirmed(rig: &Rig<'_>) -> Result<()> {
    let world = World::new(rig)?;
    let file = rig.lab.scratch().join("candidate.toml");
    let candidate = Enforcer::at(rig.enforcer.binary(), rig.lab, file)?;
    candidate.registry(&Policy::New.registry())?;
    world.registry(Policy::Old)?;
    // Some process has to wait for the deadline.
    let _run = rig.enforcer.run(&[])?;
    let faulty = faulty(rig)?;
    let strike = |word: &str| strike(&world, &candidate, &faulty, word);
    // A fill of the idle bank begins with a wait for its readers. Stores count in the list alone.
    let (_, listed) = strike("list")?;
    let waits = listed.stderr.lines().filter_map(|line| {
        let (number, call) = line.strip_prefix("failpoint ")?.split_once(' ')?;
        (call == "WaitForReaders").then(|| number.parse().ok())?
    });
    let wait: usize = waits.max().context("no bank was filled")?;
    let mut struck = Vec::new();
    for number in wait.saturating_sub(4)..wait + 4 {
        let (_, said) = strike(&format!("{number}:fail"))?;
        struck.extend(said.stderr.lines().map(str::to_owned));
    }
    ensure!(
        struck.iter().any(|line| line.contains(" WaitForReaders")),
        "the fill did not fail: {struck:?}"
    );
    // The change that ends the pending state, by bisection, and the changes after it.
    let (mut before, mut end) = (0, MOST);
    while end - before > 1 {
        let number = usize::midpoint(before, end);
        match strike(&format!("{number}:abort"))? {
            (true, _) => before = number,
            (false, _) => end = number,
        }
    }
    ensure!(before > 5, "there are but {before} changes before the end");
    for number in end + 1..end + 6 {
        strike(&format!("{number}:abort"))?;
    }
    world.set_up(Policy::Off)
}

/// Runs `up` over a pending policy, with failpoints as `word` says. Returns whether the policy is
/// still pending.
fn strike(
    world: &World<'_>,
    candidate: &Enforcer<'_>,
    faulty: &Enforcer<'_>,
    word: &str,
) -> Result<(bool, Finished)> {
    world.set_up(Policy::Old)?;
    candidate.expect(&["reload", "--confirm", "60"], 0)?;
    let mut up = faulty.command(&["up"])?;
    up.env("ENFORCER_FAILPOINT", word);
    let said = finish(up, "")?;
    let holds = || {
        let policy = world.policy().ok()?;
        let (_, status) = world.rig.enforcer.status().ok()?;
        let fits = match status.confirm {
            Some(_) => policy == Policy::New,
            None => policy == Policy::Old,
        };
        fits.then_some(status.confirm.is_some())
    };
    let is_pending = eventually(SETTLE, holds);
    let is_pending =
        is_pending.with_context(|| format!("{word} left an unconfirmed policy\n{said}"))?;
    Ok((is_pending, said))
}
