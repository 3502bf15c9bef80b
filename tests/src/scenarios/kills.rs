//! SIGKILL at random moments, of the shipped binary; and `run` under signals and removals.

mod noise;
mod removals;
mod signals;

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::lab::command::Daemon;

use super::faults::{Policy, World};
use crate::scenario::{Rig, Scenario};

/// Kills of each command.
const ROUNDS: usize = 5;

/// A command over the policy in force, and the policies that may be in force after the kill.
const VICTIMS: [(&str, Policy, &[Policy]); 4] = [
    ("up", Policy::Off, &[Policy::Off, Policy::New]),
    ("up", Policy::Old, &[Policy::Old, Policy::New]),
    ("reload", Policy::Old, &[Policy::Old, Policy::New]),
    ("down", Policy::Old, &[Policy::Old, Policy::Off]),
];

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        Scenario::new(
            "kills::leave_the_old_policy_or_the_new_and_are_repaired",
            kill_all,
        )
        .takes_long(),
    ];
    scenarios.extend(signals::scenarios());
    scenarios.extend(removals::scenarios());
    scenarios.extend(noise::scenarios());
    scenarios
}

/// The environment variable with the factor for long runs: 10 is the whole.
const SCALE: &str = "ENFORCER_ENDURANCE";

/// Whether the environment asks for a long run.
pub(super) fn is_long_run() -> bool {
    std::env::var_os(SCALE).is_some()
}

/// A tenth of `whole`, times the factor of the environment.
fn share_of(whole: usize) -> Result<usize> {
    let factor: usize = match std::env::var(SCALE) {
        Ok(factor) => factor
            .parse()
            .with_context(|| format!("{SCALE} is no number"))?,
        Err(_) => 1,
    };
    Ok(whole * factor / 10)
}

/// The seed of a random scenario: of the environment, else of the clock.
pub(super) fn seed() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    match std::env::var("ENFORCER_SEED") {
        Ok(seed) => seed.parse().context("ENFORCER_SEED is no number"),
        Err(_) => Ok(u64::from(now.subsec_nanos()) | now.as_secs() << 32),
    }
}

fn kill_all(rig: &Rig<'_>) -> Result<()> {
    let seed = seed()?;
    let mut rng = Rng(seed);
    let world = World::new(rig)?;
    let mut kill_one_after_another = || -> Result<()> {
        for (command, base, fine) in VICTIMS {
            // The base of each round is the repair of the round before: now `up`, now `down`.
            world.set_up(base).context("before any kill")?;
            world.registry(Policy::New)?;
            let start = Instant::now();
            rig.enforcer.expect(&[command], 0)?;
            let whole = start.elapsed();
            for round in 0..ROUNDS {
                world.set_up(base)?;
                world.registry(Policy::New)?;
                let after = whole.mul_f64(rng.roll());
                kill(rig, command, after)?;
                world
                    .expect_one_of(fine)
                    .and_then(|_| world.set_up(base).context("the next command repairs it"))
                    .with_context(|| {
                        format!("kill {round} of `{command}` over {base:?}, {after:?} of {whole:?}")
                    })?;
            }
        }
        world.set_up(Policy::Off)
    };
    kill_one_after_another().with_context(|| format!("again with ENFORCER_SEED={seed}"))
}

/// Starts a command and kills the process a moment later, at whatever point.
fn kill(rig: &Rig<'_>, command: &str, after: Duration) -> Result<()> {
    let mut command = rig.enforcer.command(&[command])?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut victim = Daemon::spawn(command)?;
    victim.wait(after)?;
    drop(victim);
    Ok(())
}

/// A pseudorandom number generator, SplitMix, reproducible by its seed.
struct Rng(u64);

impl Rng {
    /// One of some values.
    fn pick<T: Copy>(&mut self, of: &[T]) -> Result<T> {
        let last = of.len().saturating_sub(1);
        let index = (0..last)
            .find(|&index| {
                self.roll() * f64::from(u32::try_from(of.len() - index).unwrap_or(1)) < 1.0
            })
            .unwrap_or(last);
        of.get(index).copied().context("nothing to choose from")
    }

    /// From 0 to 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let top = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(top) / f64::from(u32::MAX)
    }
}
