//! Audit mode never drops: under it every attack of the table comes out as if no guard were there,
//! and each guard that would have held it has counted it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Mode};
use libtest_mimic::Trial;

use crate::lab::enforcer::REGISTRY;
use crate::lab::{Guards, Patience};

use super::attack::{Alone, Attack};
use super::attacks;
use super::runner::{Rig, answered, expect_state, trial, trial_with, unanswered, up_against};

pub(super) fn trials(binary: &Path) -> Vec<Trial> {
    let mut trials: Vec<Trial> = attacks::all()
        .into_iter()
        .map(|attack| {
            let name = format!("audit::{}", attack.name);
            let needs = attack.needs.clone();
            trial_with(name, &needs, binary, move |rig| everywhere(&attack, rig))
        })
        .collect();
    trials.push(trial("audit::of_one_service", binary, of_one_service));
    trials
}

/// The global mode, both guards, one lab: what is asked of an attack beside the trials in which it
/// must fail.
fn everywhere(attack: &Attack, rig: &Rig<'_>) -> Result<()> {
    let mut strike = (attack.stage)(rig.lab).context("failed to stage the attack")?;
    let patience = match attack.alone {
        Alone::RefusedByTheStack(_) => Patience::Brief,
        // What a kernel delivers must be delivered again.
        Alone::Reached | Alone::UpToTheKernel(_) => Patience::Long,
    };
    let control = strike(patience)?;
    attack
        .alone
        .expect(&control)
        .context("before the enforcer was up")?;
    rig.enforcer
        .registry(&format!("mode = \"{}\"\n{REGISTRY}", Mode::Audit))?;
    up_against(attack, Guards::Both, rig)?;
    if attack.uncovered.is_none() && attack.without_a_wire_guard().is_none() {
        expect_state(rig, 0, "audit")?;
    }
    let outcome = strike(patience)?;
    ensure!(
        outcome.reached() == control.reached(),
        "audit mode changed what becomes of it: it was {control}, and is {outcome}"
    );
    for guard in counting(attack, control.reached()) {
        // What passes the wire guard must be counted again where it arrives.
        if let Some((guard, reason)) = attack.counted_by(alone(guard)) {
            rig.enforcer.expect_counted(guard, reason, attack.port, 1)?;
        }
    }
    expect_no_real_drop(rig)?;
    rig.enforcer.down()
}

/// The guards that meet the attack where none of them ends it.
fn counting(attack: &Attack, reached: bool) -> impl Iterator<Item = Guard> {
    let ends_in_the_stack = matches!(attack.alone, Alone::UpToTheKernel(_)) && !reached;
    let meets = move |guard: &Guard| *guard == Guard::Wire || !ends_in_the_stack;
    Guard::ALL.into_iter().filter(meets)
}

const fn alone(guard: Guard) -> Guards {
    match guard {
        Guard::Wire => Guards::Wire,
        Guard::Socket => Guards::Socket,
    }
}

/// Insists that every drop that was counted is one that audit mode let pass.
fn expect_no_real_drop(rig: &Rig<'_>) -> Result<()> {
    let counters = rig.enforcer.counters()?;
    let mut drops = counters.0.iter().filter(|row| row.verdict == "drop");
    ensure!(
        drops.all(|row| row.audited),
        "a guard in audit mode dropped something:\n{counters}"
    );
    Ok(())
}

/// A service's own mode lets pass what is dropped for the service's sake, and nothing else.
fn of_one_service(rig: &Rig<'_>) -> Result<()> {
    let audited = named("row_06_accidental_publish::redis_on_0.0.0.0")?;
    let enforced = named("row_06_accidental_publish::on_[::]")?;
    // Row 2 of the decision table knows no service, and so follows the global mode.
    let by_row_2 = named("row_01_route_localnet::tcp")?;
    let mut text = REGISTRY.to_owned();
    for attack in [&audited, &by_row_2] {
        let ports = format!("ports = [{}]\n", attack.port.1);
        ensure!(text.contains(&ports), "no service has `{ports}`");
        text = text.replace(&ports, &format!("{ports}mode = \"audit\"\n"));
    }
    rig.enforcer.registry(&text)?;
    let mut on_audited = (audited.stage)(rig.lab)?;
    let mut on_enforced = (enforced.stage)(rig.lab)?;
    let mut on_row_2 = (by_row_2.stage)(rig.lab)?;
    for strike in [&mut on_audited, &mut on_enforced, &mut on_row_2] {
        answered(strike(Patience::Long)?).context("before the enforcer was up")?;
    }
    rig.enforcer.up(Guards::Both)?;
    answered(on_audited(Patience::Long)?).context("the service in audit mode")?;
    unanswered(on_enforced(Patience::Brief)?).context("another service")?;
    unanswered(on_row_2(Patience::Brief)?).context("a loopback address on the wire")?;
    for (guard, attack) in [
        (Guard::Wire, &audited),
        (Guard::Socket, &audited),
        (Guard::Wire, &enforced),
        (Guard::Wire, &by_row_2),
    ] {
        if let Some((guard, reason)) = attack.counted_by(alone(guard)) {
            rig.enforcer.expect_counted(guard, reason, attack.port, 1)?;
        }
    }
    let counters = rig.enforcer.counters()?;
    for row in counters.0.iter().filter(|row| row.verdict == "drop") {
        ensure!(
            row.audited == (row.port == Some(audited.port.1)),
            "one service alone is in audit mode:\n{counters}"
        );
    }
    Ok(())
}

fn named(name: &str) -> Result<Attack> {
    let mut all = attacks::all().into_iter();
    all.find(|attack| attack.name == name)
        .with_context(|| format!("there is no attack {name}"))
}
