//! The demo: a throwaway host, the same attacks without and with the enforcer, in a table.

use std::path::Path;
use std::thread;

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};

use crate::lab::{Enforcer, Guards, Lab, Outcome, Patience};
use crate::scenarios::attack::{Attack, Attempt, Legitimate};
use crate::scenarios::{attacks, legitimate};

/// The registry embedded in the enforcer, for machines with another in /etc.
const DEFAULT_REGISTRY: &str = include_str!("../../enforcer/src/registry/default.toml");

/// The question of the demo: Redis, from the LAN.
const EXPLAIN: [&str; 7] = [
    "explain",
    "--interface",
    "eth0",
    "--source",
    "192.168.77.2",
    "--port",
    "6379",
];

/// Runs the demo; an error if an outcome is not as promised.
pub fn run(binary: &Path) -> Result<()> {
    println!(
        "A throwaway host: network namespaces of process {}, with real services in them.\n",
        std::process::id()
    );
    let lab = Lab::new()?;
    let enforcer = with_the_default_registry(binary, &lab)?;

    let attacks = shown_attacks();
    let traffic = shown_traffic();
    let mut attempts = attacks
        .iter()
        .map(|attack| (attack.stage)(&lab).with_context(|| format!("staging {}", attack.name)))
        .collect::<Result<Vec<_>>>()?;
    let mut visits = traffic
        .iter()
        .map(|traffic| (traffic.stage)(&lab).with_context(|| format!("staging {}", traffic.name)))
        .collect::<Result<Vec<_>>>()?;

    let before = at_once(&mut attempts, Patience::Long)?;
    let visits_before = at_once(&mut visits, Patience::Long)?;
    shown(&enforcer, &["up"])?;
    let after = at_once(&mut attempts, Patience::Brief)?;
    let visits_after = at_once(&mut visits, Patience::Long)?;

    println!("{}", attack_table(&attacks, &before, &after));
    println!("{}", traffic_table(&traffic, &visits_before, &visits_after));
    shown(&enforcer, &["status"])?;
    shown(&enforcer, &["counters"])?;
    shown(&enforcer, &EXPLAIN)?;

    expect_blocked(&enforcer, &attacks, &before, &after)?;
    expect_untouched(&traffic, &visits_before, &visits_after)?;
    shown(&enforcer, &["down"])?;
    println!(
        "\n{} kinds of attack blocked, {} kinds of legitimate traffic untouched.",
        attacks.len(),
        traffic.len()
    );
    Ok(())
}

/// The attacks of the demo that this kernel can make.
fn shown_attacks() -> Vec<Attack> {
    attacks::all()
        .into_iter()
        .filter(|attack| attack.title.is_some())
        .filter(|attack| attack.needs.iter().all(|feature| feature.is_here()))
        .collect()
}

/// The legitimate traffic of the demo that this kernel can make.
fn shown_traffic() -> Vec<Legitimate> {
    legitimate()
        .into_iter()
        .filter(|traffic| traffic.title.is_some())
        .filter(|traffic| traffic.needs.iter().all(|feature| feature.is_here()))
        .collect()
}

/// Insists on attacks that reach their service without the enforcer alone, and that are counted.
fn expect_blocked(
    enforcer: &Enforcer<'_>,
    attacks: &[Attack],
    before: &[Outcome],
    after: &[Outcome],
) -> Result<()> {
    for (attack, (before, after)) in attacks.iter().zip(before.iter().zip(after)) {
        ensure!(
            before.reached(),
            "{}: without the enforcer, {before}",
            attack.name
        );
        ensure!(
            !after.reached(),
            "{}: with the enforcer, {after}",
            attack.name
        );
        if let Some((guard, reason)) = attack.counted_by(Guards::Both) {
            enforcer.expect_counted(guard, reason, attack.port, 1)?;
        }
    }
    Ok(())
}

/// Insists on traffic that reaches its service without the enforcer and with.
fn expect_untouched(traffic: &[Legitimate], before: &[Outcome], after: &[Outcome]) -> Result<()> {
    for (traffic, (before, after)) in traffic.iter().zip(before.iter().zip(after)) {
        ensure!(
            before.reached(),
            "{}: without the enforcer, {before}",
            traffic.name
        );
        ensure!(
            after.reached(),
            "{}: with the enforcer, {after}",
            traffic.name
        );
    }
    Ok(())
}

fn with_the_default_registry<'lab>(binary: &Path, lab: &'lab Lab) -> Result<Enforcer<'lab>> {
    if !Path::new("/etc/enforcer").exists() {
        return Ok(Enforcer::with_default_registry(binary, lab));
    }
    println!(
        "This machine has a registry of its own, /etc/enforcer: the demo uses a copy of the default.\n"
    );
    let enforcer = Enforcer::new(binary, lab)?;
    enforcer.registry(DEFAULT_REGISTRY)?;
    Ok(enforcer)
}

/// Makes all attempts at the same time: each waits, none depends on another.
fn at_once(attempts: &mut [Attempt<'_>], patience: Patience) -> Result<Vec<Outcome>> {
    thread::scope(|scope| {
        let running: Vec<_> = attempts
            .iter_mut()
            .map(|attempt| scope.spawn(move || attempt(patience)))
            .collect();
        running
            .into_iter()
            .map(|attempt| {
                attempt
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

/// Runs the enforcer and shows the output.
fn shown(enforcer: &Enforcer<'_>, arguments: &[&str]) -> Result<()> {
    println!("$ enforcer {}", arguments.join(" "));
    let finished = enforcer.expect(arguments, 0)?;
    for text in [&finished.stdout, &finished.stderr] {
        if !text.trim().is_empty() {
            println!("{}", text.trim_end());
        }
    }
    println!();
    Ok(())
}

fn attack_table(attacks: &[Attack], before: &[Outcome], after: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "attack",
        "without: answered by",
        "with",
        "dropped by: reason",
    ]);
    for (attack, (before, after)) in attacks.iter().zip(before.iter().zip(after)) {
        let reason = attack
            .counted_by(Guards::Both)
            .map(|(guard, reason)| format!("{guard}: {reason}"));
        table.add_row([
            attack.title.unwrap_or(attack.name).to_owned(),
            answer(before),
            if after.reached() {
                "NOT BLOCKED"
            } else {
                "blocked"
            }
            .to_owned(),
            reason.unwrap_or_default(),
        ]);
    }
    table
}

fn traffic_table(traffic: &[Legitimate], before: &[Outcome], after: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "legitimate traffic",
        "without: answered by",
        "with: answered by",
    ]);
    for (traffic, (before, after)) in traffic.iter().zip(before.iter().zip(after)) {
        table.add_row([
            traffic.title.unwrap_or(&traffic.name).to_owned(),
            answer(before),
            answer(after),
        ]);
    }
    table
}

fn answer(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered(token) => token.clone(),
        nobody => format!("NOBODY ({nobody})"),
    }
}
