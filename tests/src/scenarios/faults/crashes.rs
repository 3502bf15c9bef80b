//! Moments during a crash that an adversary with a single packet would wait for.

use anyhow::{Context, Result, bail, ensure};

use crate::lab::Enforcer;
use crate::lab::command::{Finished, eventually, finish};
use crate::lab::enforcer::SETTLE;

use super::world::{self, MOST, Policy, World, another_layout, faulty};
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "faults::a_guard_goes_after_the_policy_that_wants_it",
            last_guard,
        ),
        Scenario::new("faults::maps_that_nobody_owns_are_cleared_away", unowned),
        Scenario::new(
            "faults::a_reload_does_not_pass_by_guards_of_another_set",
            passed_by,
        ),
        Scenario::new(
            "faults::wire_guards_hold_where_no_socket_guard_is_to_be_had",
            without_socket,
        ),
    ]
}

/// Attaching the socket guard fails, as on a kernel that refuses the attachment: the wire guards
/// hold all the same, the command says so, and the next `reload` repairs. An existing socket guard
/// is not given up for the sake of another.
fn without_socket(rig: &Rig<'_>) -> Result<()> {
    let world = World::new(rig)?;
    let faulty = faulty(rig)?;
    world.registry(Policy::New)?;
    let said = first_link_failed(&world, &faulty, &["up"])?;
    ensure!(
        said.code == Some(3) && said.stderr.contains("there is no socket guard"),
        "expected `up` to go on, degraded: {said}"
    );
    let (code, status) = rig.enforcer.status()?;
    let has = |guard: &str| status.guards.iter().any(|line| line.guard == guard);
    ensure!(
        code == Some(3) && has("wire") && !has("socket"),
        "expected wire guards alone: {status:?}"
    );
    world.expect_one_of(&[Policy::New])?;
    rig.enforcer.reload()?;
    world.expect_whole(Policy::New)?;
    // New maps want a new socket guard; after a failure the old guard stays.
    let mut number = shortly_before_a_link(&faulty, &["up"], &another_layout())?;
    world.set_up(Policy::New)?;
    let refused = loop {
        let said = failed_at(&faulty, &["up"], &another_layout(), number)?;
        if said.stderr.contains("bpf LinkCreate") {
            break said;
        }
        ensure!(
            said.stderr.contains("failpoint"),
            "no link was made: {said}"
        );
        world.set_up(Policy::New)?;
        number += 1;
    };
    ensure!(refused.code == Some(1), "expected a failure: {refused}");
    world.expect_whole(Policy::New)?;
    // Asked for alone, the socket guard fails, and nothing is left.
    world.set_up(Policy::Off)?;
    let refused = first_link_failed(&world, &faulty, &["up", "--guards", "socket"])?;
    ensure!(refused.code == Some(1), "expected a failure: {refused}");
    world.expect_whole(Policy::Off)
}

/// Runs a command under a layout, with the change of this number failing.
fn failed_at(
    faulty: &Enforcer<'_>,
    arguments: &[&str],
    layout: &str,
    number: usize,
) -> Result<Finished> {
    armed(faulty, arguments, layout, &format!("{number}:fail"))
}

/// Runs a command under a layout, with failpoints as `word` says.
fn armed(faulty: &Enforcer<'_>, arguments: &[&str], layout: &str, word: &str) -> Result<Finished> {
    let mut command = faulty.command(arguments)?;
    command.env("ENFORCER_FAILPOINT", word);
    if !layout.is_empty() {
        command.env("ENFORCER_LAYOUT", layout);
    }
    finish(command, "")
}

/// Runs a command to its end, and returns the number of a change some calls before the first link:
/// the order of calls differs a little from run to run.
fn shortly_before_a_link(faulty: &Enforcer<'_>, arguments: &[&str], layout: &str) -> Result<usize> {
    let said = armed(faulty, arguments, layout, "list")?;
    let numbers = said.stderr.lines().filter_map(|line| {
        let (number, call) = line.strip_prefix("failpoint ")?.split_once(' ')?;
        call.contains("bpf LinkCreate")
            .then(|| number.parse().ok())?
    });
    let first: usize = numbers.min().context("no link was made")?;
    Ok(first.saturating_sub(5).max(1))
}

/// Returns the output of a command whose first link fails, from nothing pinned; the socket guard
/// is the first link to be made.
fn first_link_failed(
    world: &World<'_>,
    faulty: &Enforcer<'_>,
    arguments: &[&str],
) -> Result<Finished> {
    let first = shortly_before_a_link(faulty, arguments, "")?;
    world.set_up(Policy::Off)?;
    world.registry(Policy::New)?;
    for number in first..MOST {
        let said = failed_at(faulty, arguments, "", number)?;
        if said.stderr.contains("bpf LinkCreate") {
            return Ok(said);
        }
        ensure!(
            said.stderr.contains("failpoint"),
            "no link was made: {said}"
        );
        world.set_up(Policy::Off)?;
        world.registry(Policy::New)?;
    }
    bail!("`up` has no end")
}

/// A reload takes a guard off only once the old policy, which wants the guard, is out of force.
fn last_guard(rig: &Rig<'_>) -> Result<()> {
    let world = World::new(rig)?;
    let faulty = faulty(rig)?;
    world.set_up(Policy::Old)?;
    let without = format!(
        "{}[interfaces.eth0]\nside = \"inside\"\n",
        Policy::Old.registry()
    );
    for number in 1..MOST {
        let (_, before) = rig.enforcer.status()?;
        rig.enforcer.registry(&without)?;
        let mut reload = faulty.command(&["reload"])?;
        reload.env("ENFORCER_FAILPOINT", format!("{number}:abort"));
        let said = finish(reload, "")?;
        let (_, after) = rig.enforcer.status()?;
        let guarded = after
            .guards
            .iter()
            .any(|guard| guard.interface.as_deref() == Some("eth0"));
        ensure!(
            guarded || after.generation > before.generation,
            "the guard went before the policy: {after:?}\n{said}"
        );
        // The socket guard holds all the while.
        let policy = world.policy()?;
        ensure!(policy == Policy::Old, "{policy:?} is in force\n{said}");
        if !said.stderr.contains("failpoint") {
            ensure!(!guarded && number > 5, "{number} changes, and {after:?}");
            return Ok(());
        }
        world.set_up(Policy::Old)?;
    }
    bail!("`reload` has no end")
}

/// Killed while making maps, an `up` leaves some without an owner's name; and a killed `down`
/// leaves some of an incomplete set.
fn unowned(rig: &Rig<'_>) -> Result<()> {
    let world = World::new(rig)?;
    let cases = ["STATE", "EPOCH", "PORTS"].map(|gone| [(gone, "up"), (gone, "down")]);
    for (gone, then) in cases.into_iter().flatten() {
        world.set_up(Policy::New)?;
        let (pins, beside) = (rig.lab.pin_dir(), world.staging()?);
        std::fs::rename(&pins, &beside)?;
        for entry in std::fs::read_dir(&beside)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("link_") || name == gone {
                std::fs::remove_file(&path)?;
            }
        }
        rig.lab.host.sysctl(world::RESERVED, world::ADMINS)?;
        // The kernel releases an unpinned link after a moment.
        eventually(SETTLE, || {
            (world.policy().ok()? == Policy::Off).then_some(())
        })
        .context("the guards are gone with their pins")?;
        rig.enforcer
            .expect(&[then], 0)
            .with_context(|| format!("without {gone}"))?;
        world.set_up(Policy::Off)?;
    }
    Ok(())
}

/// Interrupted after taking the wire guards over, an `up` to another layout leaves them with maps
/// that the old build's `reload` does not fill: the reload must not claim that its policy is in
/// force.
fn passed_by(rig: &Rig<'_>) -> Result<()> {
    let world = World::new(rig)?;
    let faulty = faulty(rig)?;
    for number in 1..MOST {
        world.set_up(Policy::Old)?;
        world.registry(Policy::Old)?;
        let mut up = faulty.command(&["up"])?;
        up.env("ENFORCER_LAYOUT", another_layout())
            .env("ENFORCER_FAILPOINT", format!("{number}:abort"));
        let said = finish(up, "")?.stderr;
        if !said.contains(" bpf LinkUpdate") {
            ensure!(said.contains("failpoint"), "no link was updated: {said}");
            continue;
        }
        world.registry(Policy::New)?;
        let (code, status) = rig.enforcer.status()?;
        ensure!(code == Some(3), "guards of two sets judge, but {status:?}");
        rig.enforcer.expect(&["reload"], 1)?;
        world.expect_one_of(&[Policy::Old])?;
        rig.enforcer.expect(&["up"], 0)?;
        world.expect_whole(Policy::New)?;
        return world.set_up(Policy::Off);
    }
    bail!("`up` has no end")
}
