//! `reload --confirm`: an unconfirmed policy is rolled back, whichever process is killed meanwhile.

mod killed;
pub(super) mod pending;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::command::eventually;
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::{Guards, Patience};

use super::lifecycle::{Flood, PORT, flooded_service};
use super::runner::{answered, expect_state, unanswered};
use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Rig, Scenario, all_host_only};

use pending::{
    ADDED, SHORT, arm, at, candidate, expect_armed, seconds_left, serve, status, try_out,
};

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        Scenario::new("confirm::keeps_what_was_armed", keep),
        Scenario::new("confirm::silence_takes_it_back", silence),
        Scenario::new("confirm::wants_somebody_who_would_take_it_back", nobody),
        Scenario::new("confirm::nothing_changes_meanwhile", meanwhile),
        Scenario::new("confirm::up_and_down_end_it", ends),
        Scenario::new("confirm::the_guards_of_the_old_policy_stay_on", guards_stay),
        Scenario::new("confirm::the_fallback_comes_back_too", fallback_comes_back),
    ];
    scenarios.extend(killed::scenarios());
    all_host_only(scenarios, COMMAND_LINE)
}

fn keep(rig: &Rig<'_>) -> Result<()> {
    let _service = serve(rig, ADDED)?;
    let _run = rig.enforcer.run(&[])?;
    rig.enforcer
        .expect(&["confirm"], 1)
        .context("nothing armed")?;
    answered(at(rig, ADDED, Patience::Long)?).context("a port that nobody registered")?;
    arm(rig, &candidate(), "5s")?;
    let end = Instant::now() + SHORT;
    unanswered(at(rig, ADDED, Patience::Brief)?).context("under the pending policy")?;
    expect_armed(rig, 5)?;
    let human = rig.enforcer.expect(&["status"], 0)?;
    ensure!(
        human.stdout.contains("enforcer confirm"),
        "`status` should say what to do: {human}"
    );
    rig.enforcer.expect(&["confirm"], 0)?;
    ensure!(
        seconds_left(&status(rig)?).is_none(),
        "a confirmed policy is pending"
    );
    let before = status(rig)?;
    // The time for the confirmation, and some more.
    while Instant::now() < end + SHORT / 5 {
        unanswered(at(rig, ADDED, Patience::Brief)?).context("after the confirmation")?;
    }
    let after = status(rig)?;
    ensure!(
        after.generation == before.generation && !after.rolled_back,
        "a confirmed policy was changed: {before:?} -> {after:?}"
    );
    rig.enforcer
        .expect(&["confirm"], 1)
        .context("a second time")
        .map(drop)
}

fn silence(rig: &Rig<'_>) -> Result<()> {
    let service = flooded_service(rig)?;
    let _added = serve(rig, ADDED)?;
    let _run = rig.enforcer.run(&[])?;
    let reason = Reason::UntrustedInterface;
    Flood::during(rig.lab, |flood| {
        flood.go_on_for(50)?;
        rig.enforcer.expect_counted(Guard::Wire, reason, PORT, 1)?;
        let counted =
            || -> Result<u64> { Ok(rig.enforcer.counters()?.count(Guard::Wire, reason, PORT)) };
        let (before, counts) = (status(rig)?, counted()?);
        let mut last = counts;
        arm(rig, &candidate(), "5")?;
        unanswered(at(rig, ADDED, Patience::Brief)?).context("under the pending policy")?;
        expect_armed(rig, 5)?;
        let deadline = Instant::now() + SHORT + SETTLE;
        loop {
            let now = counted()?;
            ensure!(now >= last, "counters went from {last} to {now}");
            last = now;
            // A `status` would roll an overdue policy back, so no command asks.
            if at(rig, ADDED, Patience::Brief)?.reached() {
                break;
            }
            ensure!(Instant::now() < deadline, "nobody took it back");
        }
        flood.go_on_for(50)?;
        let after = status(rig)?;
        ensure!(
            after.rolled_back
                && after.confirm.is_none()
                && after.generation == before.generation + 2
                && after.registered_ports == before.registered_ports,
            "expected the policy from before: {before:?} -> {after:?}"
        );
        let late = rig.enforcer.expect(&["confirm"], 1)?;
        ensure!(
            late.stderr.contains("too late"),
            "a late confirmation should be told so: {late}"
        );
        ensure!(last > counts, "the flood was not counted");
        Ok(())
    })?;
    ensure!(
        service.accepted() == 0,
        "{} connections were accepted",
        service.accepted()
    );
    // A reload supersedes the pending policy.
    rig.enforcer.reload()?;
    ensure!(!status(rig)?.rolled_back, "the old news stays");
    expect_state(rig, 0, "enforcing")
}

fn nobody(rig: &Rig<'_>) -> Result<()> {
    let _added = serve(rig, ADDED)?;
    rig.enforcer.up(Guards::Both)?;
    let before = status(rig)?;
    let refused = try_out(rig, &candidate(), "5")?;
    ensure!(
        refused.code == Some(1) && refused.stderr.contains("nothing was changed"),
        "expected a refusal: {refused}"
    );
    let after = status(rig)?;
    ensure!(
        after.generation == before.generation && after.confirm.is_none(),
        "a refusal changed the policy: {before:?} -> {after:?}"
    );
    answered(at(rig, ADDED, Patience::Long)?)?;
    for bad in ["4", "3601", "1m", "-5", "soon"] {
        rig.enforcer.expect(&["reload", "--confirm", bad], 2)?;
    }
    rig.enforcer
        .expect(&["reload", "--dry-run", "--confirm", "60"], 2)?;
    Ok(())
}

fn meanwhile(rig: &Rig<'_>) -> Result<()> {
    let _run = rig.enforcer.run(&[])?;
    arm(rig, &candidate(), "60")?;
    let before = status(rig)?;
    for again in [&["reload"][..], &["reload", "--force"]] {
        let refused = rig.enforcer.expect(again, 1)?;
        ensure!(
            refused.stderr.contains("enforcer confirm") && refused.stderr.contains(" s more"),
            "expected a refusal that says how long, and what to do: {refused}"
        );
    }
    let refused = try_out(rig, REGISTRY, "60")?;
    ensure!(
        refused.code == Some(1),
        "a second policy became pending: {refused}"
    );
    rig.enforcer.expect(&["reload", "--dry-run"], 5)?;
    let after = status(rig)?;
    ensure!(
        after.generation == before.generation && after.confirm.is_some(),
        "a refusal changed the policy: {before:?} -> {after:?}"
    );
    rig.enforcer.expect(&["confirm"], 0)?;
    rig.enforcer.reload().context("after the confirmation")
}

fn ends(rig: &Rig<'_>) -> Result<()> {
    let _added = serve(rig, ADDED)?;
    let run = rig.enforcer.run(&[])?;
    arm(rig, &candidate(), "5")?;
    let end = Instant::now() + SHORT;
    rig.enforcer.registry(&candidate())?;
    rig.enforcer.up(Guards::Both)?;
    let before = status(rig)?;
    ensure!(
        before.confirm.is_none(),
        "`up` left a pending policy: {before:?}"
    );
    while Instant::now() < end + SHORT / 5 {
        unanswered(at(rig, ADDED, Patience::Brief)?).context("after `up`")?;
    }
    let after = status(rig)?;
    ensure!(
        !after.rolled_back && after.registered_ports == before.registered_ports,
        "what `up` put in force was taken back: {before:?} -> {after:?}"
    );
    arm(rig, REGISTRY, "60")?;
    rig.enforcer.down()?;
    drop(run);
    expect_state(rig, 4, "off")?;
    rig.enforcer.expect(&["confirm"], 4)?;
    rig.enforcer.up(Guards::Both)?;
    ensure!(
        status(rig)?.confirm.is_none(),
        "the pending policy survived `down`"
    );
    Ok(())
}

fn guards_stay(rig: &Rig<'_>) -> Result<()> {
    let _run = rig.enforcer.run(&[])?;
    let eth0_is_guarded = || -> Result<bool> {
        let status = status(rig)?;
        let mut guards = status.guards.iter();
        Ok(guards.any(|line| line.interface.as_deref() == Some("eth0")))
    };
    ensure!(eth0_is_guarded()?, "eth0 has no guard to begin with");
    let inside = format!("{REGISTRY}\n[interfaces.eth0]\nside = \"inside\"\n");
    arm(rig, &inside, "5")?;
    ensure!(eth0_is_guarded()?, "the old policy's guard went too early");
    let back = || status(rig).is_ok_and(|status| status.rolled_back);
    eventually(SHORT + SETTLE, || back().then_some(())).context("nobody took it back")?;
    ensure!(
        eth0_is_guarded()?,
        "the old policy came back without its guard"
    );
    expect_state(rig, 0, "enforcing")?;
    arm(rig, &inside, "60")?;
    rig.enforcer.expect(&["confirm"], 0)?;
    ensure!(!eth0_is_guarded()?, "nobody wants this guard any more");
    Ok(())
}

fn fallback_comes_back(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer
        .registry("[services.elasticsearch]\nports = [0]\n")?;
    let _run = rig.enforcer.run(&[])?;
    expect_state(rig, 3, "degraded").context("the embedded default in a bad one's place")?;
    arm(rig, REGISTRY, "5")?;
    expect_state(rig, 0, "enforcing")?;
    let back = || status(rig).is_ok_and(|status| status.rolled_back);
    eventually(SHORT + SETTLE, || back().then_some(())).context("nobody took it back")?;
    expect_state(rig, 3, "degraded")
}
