//! The scenarios: attacks that must fail, traffic that must go on, and the command line's promises.

mod adversary;
pub mod attack;
pub mod attacks;
mod audit;
mod cli;
mod confirm;
mod events;
mod faults;
mod force;
mod keys;
mod kills;
mod legitimate;
mod lifecycle;
mod links;
mod live;
mod neighbours;
pub mod runner;
pub mod selection;
pub mod shot;
mod upgrade;
mod wireguard;

use std::path::Path;

use libtest_mimic::Trial;

pub use legitimate::all as legitimate;

use crate::lab::Feature;
use crate::lab::session::Machine;

/// Every scenario against the enforcer at `binary`.
pub fn trials(binary: &Path) -> Vec<Trial> {
    let mut trials: Vec<Trial> = attacks::all()
        .iter()
        .flat_map(|attack| runner::attack_trials(attack, binary))
        .collect();
    trials.extend(beside_attacks(binary, Machine::Host));
    trials
}

fn beside_attacks(binary: &Path, machine: Machine) -> Vec<Trial> {
    let traffic = legitimate::all();
    let mut trials: Vec<Trial> = traffic
        .iter()
        .map(|traffic| runner::legitimate_trial(traffic, binary))
        .collect();
    trials.extend(neighbours::trials(binary));
    trials.extend(wireguard::trials(binary));
    trials.extend(links::trials(binary));
    trials.extend(lifecycle::trials(binary));
    trials.extend(cli::trials(binary));
    trials.extend(audit::trials(binary, machine));
    trials.extend(keys::trials(binary));
    trials.extend(events::trials(binary));
    trials.extend(adversary::trials(binary));
    trials.extend(kills::trials(binary));
    trials.extend(confirm::trials(binary));
    trials.extend(force::trials(binary));
    trials.extend(live::trials(binary));
    trials.extend(faults::trials_as_shipped(binary));
    trials
}

/// What a guest runs: the part that depends on its kernel, and the kernel itself.
pub fn guest_trials(binary: &Path) -> Vec<Trial> {
    let mut trials = vec![Trial::test("guest::has_every_feature", || {
        Feature::expect(&Feature::OF_EVERY_GUEST).map_err(|error| format!("{error:#}").into())
    })];
    for attack in attacks::all() {
        if !selection::is_for_guests(attack.name) {
            continue;
        }
        // Where a guard may be missing, that is one trial left out and not a silent part of one.
        if attack.wire_needs.is_some() {
            trials.extend(runner::attack_trials(&attack, binary));
        } else {
            trials.push(runner::attack_trial(&attack, binary));
        }
    }
    let others = beside_attacks(binary, Machine::Guest);
    trials.extend(
        others
            .into_iter()
            .filter(|trial| selection::is_for_guests(trial.name())),
    );
    trials.sort_by_key(|trial| selection::order(trial.name()));
    trials
}

/// Scenarios with the build that has failpoints, which are many: for the host's kernel alone.
pub fn faulty_trials(binary: &Path) -> Vec<Trial> {
    let mut trials = faults::trials(binary);
    trials.extend(upgrade::trials(binary));
    trials.extend(cli::faulty_trials(binary));
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
