//! The scenarios: attacks that must fail, traffic that must go on, and the command line's promises.

mod adversary;
pub mod attack;
pub mod attacks;
mod cli;
mod faults;
mod keys;
mod kills;
mod legitimate;
mod lifecycle;
mod neighbours;
pub mod runner;
pub mod shot;
mod upgrade;
mod wireguard;

use std::path::Path;

use libtest_mimic::Trial;

pub use legitimate::all as legitimate;

/// Every scenario against the enforcer at `binary`.
pub fn trials(binary: &Path) -> Vec<Trial> {
    let mut trials: Vec<Trial> = attacks::all()
        .iter()
        .flat_map(|attack| runner::attack_trials(attack, binary))
        .collect();
    let traffic = legitimate::all();
    trials.extend(
        traffic
            .iter()
            .map(|traffic| runner::legitimate_trial(traffic, binary)),
    );
    trials.extend(neighbours::trials(binary));
    trials.extend(wireguard::trials(binary));
    trials.extend(lifecycle::trials(binary));
    trials.extend(cli::trials(binary));
    trials.extend(keys::trials(binary));
    trials.extend(adversary::trials(binary));
    trials.extend(kills::trials(binary));
    trials
}

/// Scenarios with the build that has failpoints, which are many: for the host's kernel alone.
pub fn faulty_trials(binary: &Path) -> Vec<Trial> {
    let mut trials = faults::trials(binary);
    trials.extend(upgrade::trials(binary));
    trials
}

/// The controls by themselves: what the lab does where no enforcer was ever built.
pub fn controls() -> Vec<Trial> {
    let attacks = attacks::all();
    let traffic = legitimate::all();
    let attacks = attacks.iter().map(runner::control_trial);
    attacks
        .chain(traffic.iter().map(runner::legitimate_control))
        .collect()
}
