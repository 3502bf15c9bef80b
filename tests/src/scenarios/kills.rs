//! SIGKILL at random moments, of the shipped binary.

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
    vec![
        Scenario::new(
            "kills::leave_the_old_policy_or_the_new_and_are_repaired",
            kill_all,
        )
        .takes_long(),
    ]
}

fn kill_all(rig: &Rig<'_>) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = match std::env::var("ENFORCER_SEED") {
        Ok(seed) => seed.parse().context("ENFORCER_SEED is no number")?,
        Err(_) => u64::from(now.subsec_nanos()) | now.as_secs() << 32,
    };
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
