//! Every call of every changing command fails, or is the last of its process: the policy is the old
//! one or the new one, never open, and the next command repairs. A run strikes
//! half of the calls, by its seed, and a long run strikes each call both ways.

mod calls;
mod crashes;
mod ended;
mod world;

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::Enforcer;
use crate::lab::command::{Daemon, finish};

use super::kills::{is_long_run, seed};
use crate::scenario::{Rig, Scenario};
pub(super) use world::{Policy, World, another_layout, faulty};

use world::MOST;

/// Scenarios of the shipped binary, on every kernel: each kernel has calls of its own.
pub(super) fn as_shipped() -> Vec<Scenario> {
    // Commands look at every link of the kernel: those of other scenarios would count too.
    let few = Scenario::new(
        "faults::every_command_makes_few_bpf_calls",
        calls::few_calls,
    );
    vec![few.alone()]
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let case = |name: &str, case: Case| Scenario::new(name, move |rig| enumerate(rig, &case));
    let mut scenarios = vec![
        case(
            "faults::up_from_nothing",
            Case {
                base: Policy::Off,
                fine: &[Policy::Off, Policy::New],
                ..Case::of("up")
            },
        ),
        case("faults::up_over_an_older_set", Case::of("up")),
        case(
            "faults::up_over_another_layout",
            Case {
                another_layout: true,
                fine: &[Policy::Old, Policy::New, Policy::Both],
                ..Case::of("up")
            },
        ),
        case("faults::reload", Case::of("reload")),
        case(
            "faults::down",
            Case {
                fine: &[Policy::Old, Policy::Off],
                ..Case::of("down")
            },
        ),
        case(
            "faults::run_from_nothing",
            Case {
                base: Policy::Off,
                fine: &[Policy::Off, Policy::New, Policy::Embedded],
                ..Case::of("run")
            },
        ),
        case("faults::run_over_an_older_set", Case::of("run")),
        Scenario::new("faults::reload_pending", pending),
    ];
    scenarios.extend(crashes::scenarios());
    scenarios.extend(ended::scenarios());
    scenarios
}

/// A command, and its starting point.
#[derive(Clone, Copy, Debug)]
struct Case {
    command: &'static str,
    /// The policy in force before; the registry file says [`Policy::New`].
    base: Policy,
    /// Whether the pins in force before have another layout than today's.
    another_layout: bool,
    /// The policies that may be in force afterwards.
    fine: &'static [Policy],
}

impl Case {
    /// A command over pins of today's layout.
    const fn of(command: &'static str) -> Self {
        Self {
            command,
            base: Policy::Old,
            another_layout: false,
            fine: &[Policy::Old, Policy::New],
        }
    }

    fn set_base(&self, world: &World<'_>, faulty: &Enforcer<'_>) -> Result<()> {
        if !self.another_layout {
            return world.set_up(self.base);
        }
        world.registry(self.base)?;
        let mut command = faulty.command(&["up"])?;
        command.env("ENFORCER_LAYOUT", another_layout());
        let finished = finish(command, "")?;
        ensure!(finished.code == Some(0), "{finished}");
        let seen = world.policy()?;
        ensure!(
            seen == self.base,
            "expected {:?}, but saw {seen:?}",
            self.base
        );
        Ok(())
    }
}

fn enumerate(rig: &Rig<'_>, case: &Case) -> Result<()> {
    let world = World::new(rig)?;
    let faulty = faulty(rig)?;
    case.set_base(&world, &faulty)?;
    let (firsts, step) = turns()?;
    for (way, first) in ["fail", "abort"].into_iter().zip(firsts) {
        let mut struck = Vec::new();
        for number in (first..).step_by(step) {
            let with_up = struck.len() % 2 == 1;
            let fault = Fault {
                number,
                way,
                with_up,
            };
            let Some(call) = attempt(&world, &faulty, case, fault)? else {
                break;
            };
            struck.push(call);
            ensure!(struck.len() < MOST, "`{}` has no end", case.command);
        }
        let calls = struck.len() * step;
        ensure!(
            calls >= 5,
            "`{}` has but {calls} failpoints or fewer: {struck:?}",
            case.command
        );
        case.set_base(&world, &faulty)?;
        eprintln!(
            "`{}` over {:?}: {} to {way}",
            case.command,
            case.base,
            struck.len()
        );
    }
    Ok(())
}

/// The first calls to fail and to abort, and the step from call to call. A long run strikes each call
/// both ways; another run, by its seed, every fourth one each way.
fn turns() -> Result<([usize; 2], usize)> {
    if is_long_run() {
        return Ok(([1, 1], 1));
    }
    let seed = seed()?;
    let turn = usize::try_from(seed % 4)?;
    eprintln!("ENFORCER_SEED={seed} strikes the same calls again");
    Ok(([1 + turn, 1 + (turn + 2) % 4], 4))
}

/// A fault at a call, and the repair.
#[derive(Clone, Copy, Debug)]
struct Fault {
    /// The number of the call, from 1.
    number: usize,
    /// `fail` or `abort`.
    way: &'static str,
    /// `up` repairs, and not `down`.
    with_up: bool,
}

/// Injects a fault. Returns the failed call, with the base in force again; or `None` if the command
/// made fewer calls and succeeded.
fn attempt(
    world: &World<'_>,
    faulty: &Enforcer<'_>,
    case: &Case,
    fault: Fault,
) -> Result<Option<String>> {
    let Fault {
        number,
        way,
        with_up,
    } = fault;
    let before = world.snapshot()?;
    world.registry(Policy::New)?;
    let mut command = faulty.command(&[case.command])?;
    command.env("ENFORCER_FAILPOINT", format!("{number}:{way}"));
    let (succeeded, said) = match case.command {
        "run" => start(world, command)?,
        _ => {
            let finished = finish(command, "")?;
            (finished.code == Some(0), finished.to_string())
        }
    };
    let marker = format!("failpoint {number} ");
    let Some(call) = said.lines().find_map(|line| {
        let (_, call) = line.split_once(&marker)?;
        Some(call.trim().to_owned())
    }) else {
        ensure!(
            succeeded,
            "`{}` failed before {number} was struck to {way}:\n{said}",
            case.command
        );
        return Ok(None);
    };
    // `up` and `reload` can do without some of their calls; opening a host needs each.
    ensure!(
        case.command != "down" || !succeeded,
        "`down` made nothing of the failure of {number} ({call}):\n{said}"
    );
    settle(world, faulty, case, &before, with_up)
        .with_context(|| format!("`{}`, {way} {number} ({call}):\n{said}", case.command))?;
    Ok(Some(call))
}

/// The policy after a fault, and the base again.
fn settle(
    world: &World<'_>,
    faulty: &Enforcer<'_>,
    case: &Case,
    before: &world::Snapshot,
    with_up: bool,
) -> Result<()> {
    let policy = world.expect_one_of(case.fine)?;
    if world.snapshot()? == *before {
        // As if the command had never run.
        ensure!(
            policy == case.base,
            "nothing changed, but {policy:?} is in force"
        );
        return Ok(());
    }
    if policy == Policy::New && world.expect_whole(policy).is_ok() {
        // There is nothing to repair.
        return match case.another_layout {
            false => world.change_to(case.base),
            true => case.set_base(world, faulty),
        };
    }
    let repaired = match (with_up, case.base) {
        (true, Policy::Off) => world.set_up(Policy::New),
        (true, base) => world.set_up(base),
        (false, _) => world.set_up(Policy::Off),
    };
    repaired.context("the next command did not repair it")?;
    match (with_up, case.another_layout) {
        (true, false) if case.base != Policy::Off => Ok(()),
        _ => case.set_base(world, faulty),
    }
}

/// Starts `run` and waits until READY or the end; returns whether READY came, and the output.
fn start(world: &World<'_>, mut command: Command) -> Result<(bool, String)> {
    let path = world.rig.lab.scratch().join("notify-faults");
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).context("failed to make the notify socket")?;
    socket.set_read_timeout(Some(Duration::from_millis(10)))?;
    let log = world.rig.lab.scratch().join("run-faults.log");
    let file = std::fs::File::create(&log)?;
    command
        .env("NOTIFY_SOCKET", &path)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let mut run = Daemon::spawn(command)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut message = [0; 4096];
    let ready = loop {
        let length = socket.recv(&mut message).unwrap_or(0);
        let mut lines = message[..length].split(|&byte| byte == b'\n');
        if lines.any(|line| line == b"READY=1") {
            break true;
        }
        if run.wait(Duration::ZERO)?.is_some() {
            break false;
        }
        if Instant::now() > deadline {
            bail!("`run` neither ended nor said READY");
        }
    };
    // A life without a fault ends here: the guards outlive the process.
    drop(run);
    Ok((ready, std::fs::read_to_string(&log)?))
}

/// A `reload --confirm` beside a living `run`: the policy in force, but for the pending one, is the
/// old policy.
fn pending(rig: &Rig<'_>) -> Result<()> {
    let world = World::new(rig)?;
    // Another file: an edit of the watched registry would be for `run` to apply.
    let file = rig.lab.scratch().join("candidate.toml");
    let candidate = Enforcer::at(faulty(rig)?.binary(), rig.lab, file)?;
    candidate.registry(&Policy::New.registry())?;
    world.registry(Policy::Old)?;
    let _run = rig.enforcer.run(&[])?;
    world.expect_whole(Policy::Old)?;
    for way in ["fail", "abort"] {
        let mut number = 1;
        loop {
            let mut reload = candidate.command(&["reload", "--confirm", "60"])?;
            reload.env("ENFORCER_FAILPOINT", format!("{number}:{way}"));
            let said = finish(reload, "")?;
            let policy = world.expect_one_of(&[Policy::Old, Policy::New])?;
            let (_, status) = rig.enforcer.status()?;
            ensure!(
                (policy == Policy::New) == status.confirm.is_some(),
                "{way} {number} left {policy:?} with {status:?}\n{said}"
            );
            world
                .set_up(Policy::Old)
                .with_context(|| format!("`up` after {way} {number}\n{said}"))?;
            if !said.stderr.contains(&format!("failpoint {number} ")) {
                let went_through = said.code == Some(0) && policy == Policy::New;
                ensure!(went_through, "{number} was not struck to {way}\n{said}");
                break;
            }
            number += 1;
            ensure!(number < MOST, "`reload --confirm` has no end");
        }
        ensure!(number > 5, "there are but {number} failpoints to {way}");
    }
    Ok(())
}
