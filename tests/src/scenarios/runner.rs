//! Scenarios of attacks and of legitimate traffic: without the enforcer, with the guards, and
//! without them again.

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Verdict};

use crate::evidence::record::{self, Answer, Tried};
use crate::lab::command::eventually;
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::{Guards, Lab, Outcome, Patience};
use crate::scenario::{LeftOut, Rig, Scenario};

use super::attack::{Attack, Attempt, Control, Legitimate};

/// A scenario for each set of guards that must hold the attack.
pub fn attack_scenarios(attack: &Attack) -> Vec<Scenario> {
    attack
        .held_by()
        .into_iter()
        .map(|guards| {
            let attack = attack.clone();
            let name = format!("{}::{}", attack.name, guards.name());
            let mut needs = attack.needs.clone();
            if guards == Guards::Wire {
                needs.extend(attack.wire_needs);
            }
            let host_only = attack.host_only;
            Scenario::new(name, move |rig| hold(&attack, guards, rig))
                .needs_all(needs)
                .host_only_if(host_only)
        })
        .collect()
}

/// The control of an attack by itself, without an enforcer.
pub fn attack_control(attack: &Attack) -> Scenario {
    let attack = attack.clone();
    let name = format!("control::{}", attack.name);
    let needs = attack.needs.clone();
    Scenario::plain(name, move || {
        let lab = Lab::new()?;
        let outcome = (attack.stage)(&lab)?(attack.control.patience())?;
        attack.control.expect(&outcome)
    })
    .needs_all(needs)
}

/// The same guard sets in a single scenario and lab: for guests, where a lab is dear.
///
/// Both guards together are left to the scenarios of legitimate traffic: here each stands alone.
pub fn attack_in_one_lab(attack: &Attack) -> Scenario {
    let attack = attack.clone();
    let name = format!("{}::each_guard_alone", attack.name);
    let needs = attack.needs.clone();
    let host_only = attack.host_only;
    Scenario::new(name, move |rig| {
        let alone = [Guards::Wire, Guards::Socket];
        let able = attack.held_by();
        let sets = alone.into_iter().filter(|one| able.contains(one));
        hold_with(&attack, sets, true, rig)
    })
    .needs_all(needs)
    .host_only_if(host_only)
}

/// Runs the control, the guards, and the control again.
pub fn hold(attack: &Attack, guards: Guards, rig: &Rig<'_>) -> Result<()> {
    hold_with(attack, [guards], guards == Guards::Both, rig)
}

/// Runs the control, and then each set of guards with another control after each; a recorded run
/// tries the other guards too, where `others` says so.
fn hold_with(
    attack: &Attack,
    sets: impl IntoIterator<Item = Guards>,
    others: bool,
    rig: &Rig<'_>,
) -> Result<()> {
    let mut attempt = (attack.stage)(rig.lab).context("failed to stage the attack")?;
    let patience = attack.control.patience();
    let control = attempt(patience)?;
    attack
        .control
        .expect(&control)
        .context("before the enforcer was up")?;
    if !attack.policy.is_empty() {
        rig.enforcer.registry(&attack.registry())?;
    }
    for guards in sets {
        if let Control::UpToTheKernel(what) = attack.control
            && !control.reached()
            && !guards.include(Guard::Wire)
        {
            // Nothing is left for the socket guard to hold, which must not look like the guard's
            // merit.
            return Err(LeftOut(format!("this kernel refuses it by itself: {what}")).into());
        }
        hold_once(attack, guards, &mut attempt, &control, rig)?;
        attack
            .control
            .expect(&attempt(patience)?)
            .with_context(|| format!("after {guards:?} was taken down"))?;
    }
    match others && record::is_wanted() {
        true => try_the_others(attack, &mut attempt, &control, rig),
        false => Ok(()),
    }
}

fn hold_once(
    attack: &Attack,
    guards: Guards,
    attempt: &mut Attempt<'_>,
    control: &Outcome,
    rig: &Rig<'_>,
) -> Result<()> {
    up_against(attack, guards, rig)?;
    let outcome = attempt(Patience::Brief)?;
    let held = expect_held(attack, guards, &outcome, rig);
    let tried = tried(attack, guards, control, &outcome);
    record::attempt(tried, attack.port, rig)?;
    held?;
    rig.enforcer.down()
}

/// Insists on silence or a refusal, and on a counted drop.
fn expect_held(attack: &Attack, guards: Guards, outcome: &Outcome, rig: &Rig<'_>) -> Result<()> {
    ensure!(
        !outcome.reached(),
        "expected the {} guard(s) to hold {}, but the attack was {outcome}",
        guards.name(),
        attack.port
    );
    match attack.counted_by(guards) {
        Some((guard, reason)) => rig.enforcer.expect_counted(guard, reason, attack.port, 1),
        None => Ok(()),
    }
}

/// Tries, for the record, each guard alone that need not hold the attack: every outcome is right,
/// and the control must succeed again.
fn try_the_others(
    attack: &Attack,
    attempt: &mut Attempt<'_>,
    control: &Outcome,
    rig: &Rig<'_>,
) -> Result<()> {
    let able = attack.held_by();
    let patience = attack.control.patience();
    for guards in [Guards::Wire, Guards::Socket] {
        if able.contains(&guards) {
            continue;
        }
        up_against(attack, guards, rig)?;
        let outcome = attempt(patience)?;
        let tried = tried(attack, guards, control, &outcome);
        record::attempt(tried, attack.port, rig)?;
        rig.enforcer.down()?;
        attack
            .control
            .expect(&attempt(patience)?)
            .with_context(|| format!("after {guards:?}, tried for the record, was taken down"))?;
    }
    Ok(())
}

fn tried(attack: &Attack, guards: Guards, control: &Outcome, outcome: &Outcome) -> Tried {
    Tried {
        attack: attack.name.to_owned(),
        guards,
        demanded: attack.held_by().contains(&guards),
        control: Answer::from(control),
        outcome: Answer::from(outcome),
        drops: Vec::new(),
    }
}

/// Runs `up`, which leaves uncovered exactly the interfaces that the attack's own devices imply.
pub(super) fn up_against(attack: &Attack, guards: Guards, rig: &Rig<'_>) -> Result<()> {
    let in_company = attack.without_a_wire_guard().map(|_| "eth0");
    match attack.uncovered.or(in_company) {
        None => rig.enforcer.up(guards),
        Some(interface) => rig.enforcer.up_uncovered(guards, interface),
    }
}

impl Control {
    /// The patience of the control.
    pub fn patience(self) -> Patience {
        match self {
            Self::Reached => Patience::Long,
            Self::RefusedByTheStack(_) | Self::UpToTheKernel(_) => Patience::Brief,
        }
    }

    /// Insists on the outcome of the control.
    pub fn expect(self, outcome: &Outcome) -> Result<()> {
        match self {
            Self::Reached => ensure!(
                outcome.reached(),
                "expected the service to be reached without the enforcer, but saw {outcome}"
            ),
            Self::RefusedByTheStack(why) => ensure!(
                !outcome.reached(),
                "expected the stack to refuse this ({why}), but it was {outcome}"
            ),
            Self::UpToTheKernel(_) => {}
        }
        Ok(())
    }
}

/// The scenario of traffic that must go on working, under both guards.
pub fn legitimate_scenario(traffic: &Legitimate) -> Scenario {
    let traffic = traffic.clone();
    let name = format!("goes_on::{}", traffic.name);
    let needs = traffic.needs.clone();
    let host_only = traffic.host_only;
    Scenario::new(name, move |rig| go_on(&traffic, rig))
        .needs_all(needs)
        .host_only_if(host_only)
}

/// The control of legitimate traffic by itself.
pub fn legitimate_control(traffic: &Legitimate) -> Scenario {
    let traffic = traffic.clone();
    let name = format!("control::goes_on::{}", traffic.name);
    let needs = traffic.needs.clone();
    Scenario::plain(name, move || {
        let lab = Lab::new()?;
        answered((traffic.stage)(&lab)?(Patience::Long)?)
    })
    .needs_all(needs)
}

fn go_on(traffic: &Legitimate, rig: &Rig<'_>) -> Result<()> {
    let mut attempt = (traffic.stage)(rig.lab).context("failed to stage the traffic")?;
    answered(attempt(Patience::Long)?).context("before the enforcer was up")?;
    if !traffic.policy.is_empty() {
        let registry = format!("{REGISTRY}\n{}", traffic.policy);
        rig.enforcer.registry(&registry)?;
    }
    match traffic.uncovered {
        None => rig.enforcer.up(Guards::Both)?,
        Some(interface) => rig.enforcer.up_uncovered(Guards::Both, interface)?,
    }
    answered(attempt(Patience::Long)?).context("with both guards up")?;
    for &(guard, reason, port) in &traffic.counted {
        rig.enforcer.expect_counted(guard, reason, port, 1)?;
    }
    if traffic.audited {
        expect_audited_drops(rig)?;
    } else {
        expect_no_drops(rig)?;
    }
    rig.enforcer.down()?;
    answered(attempt(Patience::Long)?).context("after the enforcer was taken down")
}

/// Insists on an answer.
pub fn answered(outcome: Outcome) -> Result<()> {
    ensure!(outcome.reached(), "expected an answer, but saw {outcome}");
    Ok(())
}

/// Insists on silence or a refusal.
pub fn unanswered(outcome: Outcome) -> Result<()> {
    ensure!(
        !outcome.reached(),
        "expected no answer, but it was {outcome}"
    );
    Ok(())
}

/// Insists that no guard has dropped a packet so far.
pub fn expect_no_drops(rig: &Rig<'_>) -> Result<()> {
    let counters = rig.enforcer.counters()?;
    for guard in Guard::ALL {
        ensure!(
            counters.total(guard, Verdict::Drop) == 0,
            "expected no drop by the {guard} guard, but the counters are\n{counters}"
        );
    }
    Ok(())
}

/// Insists that a guard counted a drop, and that every counted drop was a pass in audit mode.
fn expect_audited_drops(rig: &Rig<'_>) -> Result<()> {
    let counters = rig.enforcer.counters()?;
    let mut drops = counters.0.iter().filter(|row| row.verdict == "drop");
    let would_drop = drops.clone().any(|row| row.packets > 0);
    ensure!(
        would_drop && drops.all(|row| row.audited),
        "expected drops in audit mode alone, but the counters are\n{counters}"
    );
    Ok(())
}

/// Insists that `down` has left no pins, also of interrupted set-ups.
pub fn expect_nothing_pinned(rig: &Rig<'_>) -> Result<()> {
    let pins = rig.lab.pin_dir();
    let around = pins.parent().context("the pin directory has no parent")?;
    let left: Vec<_> = std::fs::read_dir(around)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    ensure!(left.is_empty(), "`down` left {left:?}");
    Ok(())
}

/// Waits for a state of the enforcer.
pub fn expect_state(rig: &Rig<'_>, code: i32, state: &str) -> Result<()> {
    let mut seen = String::new();
    eventually(SETTLE, || match rig.enforcer.status() {
        Ok((ended, status)) if ended == Some(code) && status.state == state => Some(()),
        other => {
            seen = format!("{other:?}");
            None
        }
    })
    .with_context(|| format!("expected state `{state}` with exit code {code}, but saw {seen}"))
}
