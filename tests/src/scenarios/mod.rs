//! The scenarios: attacks that must fail, traffic that must go on, and the command line's promises.
//!
//! Guests run the scenarios whose outcome depends on the kernel. A guest without hardware
//! virtualisation is ten times slower than the host, and there are several, so every scenario there
//! has to earn its seconds. Two things need no second kernel: the command line's output, and the
//! guards' reading of headers, which is the same code under every verifier and is tried frame by
//! frame on the host. Of variants that differ in such bytes alone, the telling ones stand for the
//! rest. Every other scenario bears the mark `host_only`, with the reason, where the scenario is
//! defined. Every attack keeps a scenario, each guard alone, in a single lab for the two; so does
//! every attack that needs a feature of the kernel, as guests are all that try such an attack where
//! the host lacks the feature.

mod adversary;
pub mod attack;
pub mod attacks;
mod audit;
mod cells;
mod cli;
mod coexistence;
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
pub mod obstacles;
pub mod part;
mod pins;
mod privileges;
pub mod raw_packet;
mod registry_files;
pub mod runner;
mod threads;
mod upgrade;
mod whole_host;
mod wireguard;

use anyhow::Result;

pub use legitimate::all as legitimate;

use crate::lab::Feature;
use crate::scenario::Scenario;

/// Every scenario for the host, with the enforcer as shipped.
pub fn all() -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = attacks::all()
        .iter()
        .flat_map(runner::attack_scenarios)
        .collect();
    scenarios.extend(beside_attacks());
    scenarios
}

fn beside_attacks() -> Vec<Scenario> {
    let mut traffic = legitimate::all();
    traffic.extend(whole_host::once_more_closed(&traffic));
    let mut scenarios: Vec<Scenario> = traffic.iter().map(runner::legitimate_scenario).collect();
    scenarios.extend(coexistence::scenarios());
    scenarios.extend(wireguard::scenarios());
    scenarios.extend(links::scenarios());
    scenarios.extend(lifecycle::scenarios());
    scenarios.extend(threads::scenarios());
    scenarios.extend(cli::scenarios());
    scenarios.extend(audit::scenarios());
    scenarios.extend(keys::scenarios());
    scenarios.extend(events::scenarios());
    scenarios.extend(adversary::scenarios());
    scenarios.extend(kills::scenarios());
    scenarios.extend(confirm::scenarios());
    scenarios.extend(force::scenarios());
    scenarios.extend(live::scenarios());
    scenarios.extend(privileges::scenarios());
    scenarios.extend(obstacles::scenarios());
    scenarios.extend(pins::scenarios());
    scenarios.extend(registry_files::scenarios());
    scenarios.extend(whole_host::scenarios());
    scenarios.extend(cells::scenarios());
    scenarios.extend(faults::as_shipped());
    scenarios
}

/// The scenarios for guests, long ones first.
pub fn for_guests() -> Vec<Scenario> {
    let features = Scenario::plain("guest::has_every_feature", || -> Result<()> {
        Feature::expect(&Feature::OF_EVERY_GUEST)
    });
    let mut scenarios = vec![features];
    for attack in attacks::all() {
        // A kernel that may lack a guard leaves out a whole scenario, and never a silent part.
        if attack.wire_needs.is_some() {
            scenarios.extend(runner::attack_scenarios(&attack));
        } else {
            scenarios.push(runner::attack_in_one_lab(&attack));
        }
    }
    scenarios.extend(beside_attacks());
    scenarios.retain(Scenario::is_for_guests);
    scenarios.sort_by_key(|scenario| !scenario.is_long());
    scenarios
}

/// Scenarios with the build that has failpoints, which are many: for the host's kernel alone.
pub fn with_failpoints() -> Vec<Scenario> {
    let mut scenarios = faults::scenarios();
    scenarios.extend(upgrade::scenarios());
    scenarios.extend(cli::with_failpoints());
    scenarios
}

/// The controls by themselves, for a machine without any built enforcer.
pub fn controls() -> Vec<Scenario> {
    let attacks = attacks::all();
    let traffic = legitimate::all();
    let attacks = attacks.iter().map(runner::attack_control);
    attacks
        .chain(traffic.iter().map(runner::legitimate_control))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use attack::attack_of;

    fn names(scenarios: &[Scenario]) -> Vec<String> {
        let names = scenarios.iter().map(|scenario| scenario.name().to_owned());
        names.collect()
    }

    #[test]
    fn no_two_scenarios_share_a_name() {
        let mut everything = all();
        everything.extend(with_failpoints());
        for list in [everything, for_guests(), controls()] {
            let names = names(&list);
            let distinct: BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len());
        }
    }

    #[test]
    fn every_attack_keeps_its_scenarios_in_guests() {
        let attacks = |scenarios: Vec<Scenario>| -> BTreeSet<u8> {
            let mut names = names(&scenarios);
            // Audit mode holds nothing, so scenarios of audit mode do not stand for an attack.
            names.retain(|name| !name.starts_with("audit::"));
            names.iter().filter_map(|name| attack_of(name)).collect()
        };
        assert_eq!(attacks(all()), attacks(for_guests()));
    }

    #[test]
    fn every_feature_that_the_host_may_lack_is_tried_in_guests() {
        for attack in attacks::all() {
            let is_tried = attack.needs.is_empty() || attack.host_only.is_none();
            assert!(is_tried, "{} needs {:?}", attack.name, attack.needs);
        }
        let tried = names(&for_guests());
        for feature in Feature::ALL {
            let is_audited = attacks::all().iter().any(|attack| {
                let name = format!("audit::{}", attack.name);
                attack.needs.contains(&feature) && tried.contains(&name)
            });
            assert!(is_audited, "audit mode with {}", feature.name());
        }
    }

    #[test]
    fn long_scenarios_begin_a_guests_run() {
        let longs: Vec<bool> = for_guests().iter().map(Scenario::is_long).collect();
        assert!(longs.first() == Some(&true) && longs.is_sorted_by(|one, next| one >= next));
    }
}
