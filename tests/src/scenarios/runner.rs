//! How a row of a table becomes a trial: without the enforcer, with it, and without it again.

use std::path::Path;
use std::sync::RwLock;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Verdict};
use libtest_mimic::{Completion, Failed, Trial};

use crate::lab::command::eventually;
use crate::lab::enforcer::SETTLE;
use crate::lab::{Enforcer, Feature, Guards, Lab, Outcome, Patience};

use super::attack::{Alone, Attack, Legitimate, Strike};

/// What every trial gets: a lab of its own and an enforcer that is not up yet.
#[derive(Debug)]
pub struct Rig<'lab> {
    /// The lab.
    pub lab: &'lab Lab,
    /// The enforcer on its host.
    pub enforcer: &'lab Enforcer<'lab>,
}

/// A trial with a fresh lab; what it leaves, the lab takes away.
pub fn trial(
    name: impl Into<String>,
    binary: &Path,
    body: impl FnOnce(&Rig<'_>) -> Result<()> + Send + 'static,
) -> Trial {
    trial_with(name, &[], binary, body)
}

/// The same, listed as ignored on a kernel that lacks one of these features.
pub fn trial_with(
    name: impl Into<String>,
    needs: &[Feature],
    binary: &Path,
    body: impl FnOnce(&Rig<'_>) -> Result<()> + Send + 'static,
) -> Trial {
    in_a_lab(name, needs, binary, Turn::BesideOthers, body)
}

/// The same, with no other trial beside it: it holds the enforcer to a time, and the machine may be
/// an emulated processor.
pub fn trial_alone(
    name: impl Into<String>,
    needs: &[Feature],
    binary: &Path,
    body: impl FnOnce(&Rig<'_>) -> Result<()> + Send + 'static,
) -> Trial {
    in_a_lab(name, needs, binary, Turn::Alone, body)
}

/// What a trial shares its time with.
#[derive(Clone, Copy, Debug)]
enum Turn {
    BesideOthers,
    Alone,
}

impl Turn {
    fn give<T>(self, body: impl FnOnce() -> T) -> T {
        static TURNS: RwLock<()> = RwLock::new(());
        match self {
            Self::BesideOthers => {
                let _shared = TURNS.read();
                body()
            }
            Self::Alone => {
                let _whole = TURNS.write();
                body()
            }
        }
    }
}

fn in_a_lab(
    name: impl Into<String>,
    needs: &[Feature],
    binary: &Path,
    turn: Turn,
    body: impl FnOnce(&Rig<'_>) -> Result<()> + Send + 'static,
) -> Trial {
    let binary = binary.to_path_buf();
    where_possible(name, needs, move || {
        turn.give(|| {
            let lab = Lab::new()?;
            let enforcer = Enforcer::new(&binary, &lab)?;
            let rig = Rig {
                lab: &lab,
                enforcer: &enforcer,
            };
            body(&rig).map_err(|error| error.context(enforcer.diagnosis()))
        })
    })
}

/// A trial that is ignored, with the reason, on a kernel that lacks one of these features.
fn where_possible(
    name: impl Into<String>,
    needs: &[Feature],
    body: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    let needs = needs.to_vec();
    Trial::ignorable_test(name, move || {
        // Asked now and not when trials are listed, which needs no root.
        if let Some(missing) = needs.iter().find(|feature| !feature.is_here()) {
            let reason = format!("this kernel has no {}", missing.name());
            return Ok(Completion::ignored_with(reason));
        }
        match body() {
            Ok(()) => Ok(Completion::Completed),
            Err(error) => match error.downcast_ref::<LeftOut>() {
                Some(LeftOut(reason)) => Ok(Completion::ignored_with(reason)),
                None => Err(failed(&error)),
            },
        }
    })
}

/// What a trial finds out only on its way: this kernel has nothing for it to try.
#[derive(Debug)]
struct LeftOut(String);

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LeftOut {}

/// The whole chain of causes, the innermost first: what was expected and seen, then where, then
/// what the enforcer said.
fn failed(error: &anyhow::Error) -> Failed {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    Failed::from(causes.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

/// One trial for each set of guards that must hold the attack.
pub fn attack_trials(attack: &Attack, binary: &Path) -> Vec<Trial> {
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
            trial_with(name, &needs, binary, move |rig| hold(&attack, guards, rig))
        })
        .collect()
}

/// The control of an attack by itself, which needs no enforcer.
pub fn control_trial(attack: &Attack) -> Trial {
    let attack = attack.clone();
    let name = format!("control::{}", attack.name);
    where_possible(name, &attack.needs.clone(), move || {
        let lab = Lab::new()?;
        let outcome = (attack.stage)(&lab)?(attack.alone.patience())?;
        attack.alone.expect(&outcome)
    })
}

/// The same guard sets in one trial and one lab: for guests, where a lab is dear.
///
/// Both guards together are left to the trials of what must go on: here each stands alone.
pub fn attack_trial(attack: &Attack, binary: &Path) -> Trial {
    let attack = attack.clone();
    let name = format!("{}::each_guard_alone", attack.name);
    let needs = attack.needs.clone();
    trial_with(name, &needs, binary, move |rig| {
        let alone = [Guards::Wire, Guards::Socket];
        let able = attack.held_by();
        hold_with(&attack, alone.iter().filter(|one| able.contains(one)), rig)
    })
}

/// The control, the guards, and the control again.
pub fn hold(attack: &Attack, guards: Guards, rig: &Rig<'_>) -> Result<()> {
    hold_with(attack, [&guards], rig)
}

/// The control, and then each set of guards with another control after it.
fn hold_with<'a>(
    attack: &Attack,
    sets: impl IntoIterator<Item = &'a Guards>,
    rig: &Rig<'_>,
) -> Result<()> {
    let mut strike = (attack.stage)(rig.lab).context("failed to stage the attack")?;
    let alone = attack.alone.patience();
    let control = strike(alone)?;
    attack
        .alone
        .expect(&control)
        .context("before the enforcer was up")?;
    for &guards in sets {
        if let Alone::UpToTheKernel(what) = attack.alone
            && !control.reached()
            && !guards.include(Guard::Wire)
        {
            // Nothing is left for the socket guard to hold, which must not look like its merit.
            return Err(LeftOut(format!("this kernel refuses it by itself: {what}")).into());
        }
        hold_once(attack, guards, &mut strike, rig)?;
        attack
            .alone
            .expect(&strike(alone)?)
            .with_context(|| format!("after {guards:?} was taken down"))?;
    }
    Ok(())
}

fn hold_once(
    attack: &Attack,
    guards: Guards,
    strike: &mut Strike<'_>,
    rig: &Rig<'_>,
) -> Result<()> {
    up_against(attack, guards, rig)?;
    let outcome = strike(Patience::Brief)?;
    ensure!(
        !outcome.reached(),
        "expected the {} guard(s) to hold {}, but the attack was {outcome}",
        guards.name(),
        attack.port
    );
    if let Some((guard, reason)) = attack.counted_by(guards) {
        rig.enforcer.expect_counted(guard, reason, attack.port, 1)?;
    }
    rig.enforcer.down()
}

/// `up`, which leaves uncovered exactly what the attack's own devices make it leave.
pub(super) fn up_against(attack: &Attack, guards: Guards, rig: &Rig<'_>) -> Result<()> {
    let in_company = attack.without_a_wire_guard().map(|_| "eth0");
    match attack.uncovered.or(in_company) {
        None => rig.enforcer.up(guards),
        Some(interface) => rig.enforcer.up_uncovered(guards, interface),
    }
}

impl Alone {
    /// How long the control waits.
    pub fn patience(self) -> Patience {
        match self {
            Self::Reached => Patience::Long,
            Self::RefusedByTheStack(_) | Self::UpToTheKernel(_) => Patience::Brief,
        }
    }

    /// Whether the control came out as the table says.
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

/// The trial of traffic that must go on working, under both guards.
pub fn legitimate_trial(traffic: &Legitimate, binary: &Path) -> Trial {
    let traffic = traffic.clone();
    let name = format!("goes_on::{}", traffic.name);
    let needs = traffic.needs.clone();
    trial_with(name, &needs, binary, move |rig| go_on(&traffic, rig))
}

/// The control of legitimate traffic by itself.
pub fn legitimate_control(traffic: &Legitimate) -> Trial {
    let traffic = traffic.clone();
    let name = format!("control::goes_on::{}", traffic.name);
    where_possible(name, &traffic.needs.clone(), move || {
        let lab = Lab::new()?;
        answered((traffic.stage)(&lab)?(Patience::Long)?)
    })
}

fn go_on(traffic: &Legitimate, rig: &Rig<'_>) -> Result<()> {
    let mut attempt = (traffic.stage)(rig.lab).context("failed to stage the traffic")?;
    answered(attempt(Patience::Long)?).context("before the enforcer was up")?;
    rig.enforcer.up(Guards::Both)?;
    answered(attempt(Patience::Long)?).context("with both guards up")?;
    for &(guard, reason, port) in &traffic.counted {
        rig.enforcer.expect_counted(guard, reason, port, 1)?;
    }
    expect_no_drops(rig)?;
    rig.enforcer.down()?;
    answered(attempt(Patience::Long)?).context("after the enforcer was taken down")
}

/// Insists on an answer.
pub fn answered(outcome: Outcome) -> Result<()> {
    ensure!(outcome.reached(), "expected an answer, but saw {outcome}");
    Ok(())
}

/// Insists that nobody answered.
pub fn unanswered(outcome: Outcome) -> Result<()> {
    ensure!(
        !outcome.reached(),
        "expected no answer, but it was {outcome}"
    );
    Ok(())
}

/// Insists that no guard dropped anything so far.
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

/// Insists that `down` has left nothing, also of set-ups that were cut short.
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
