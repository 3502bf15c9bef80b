//! `reload --confirm`: an unconfirmed policy is rolled back, whichever process is killed meanwhile.

mod killed;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::command::{Finished, eventually, finish};
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::report::Status;
use crate::lab::topology::HOST_LAN;
use crate::lab::{Ask, Guards, Outcome, Patience, Server, Transport};

use super::lifecycle::{Flood, PORT, flooded_service};
use super::runner::{answered, expect_state, unanswered};
use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Rig, Scenario, all_host_only};

/// The shortest time for a confirmation.
const SHORT: Duration = Duration::from_secs(5);
/// A port that only the pending policy knows.
const ADDED: u16 = 15_000;

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

/// The registry of the scenarios, and a service more.
fn candidate() -> String {
    format!("{REGISTRY}\n[services.added]\nports = [{ADDED}]\n")
}

/// `reload --confirm`, of a separate file: the registry that `run` watches stays unchanged.
fn try_out_command(rig: &Rig<'_>, text: &str, time: &str) -> Result<Command> {
    let path = rig.lab.scratch().join("candidate.toml");
    std::fs::write(&path, text)?;
    let mut command = rig.lab.host.command(rig.enforcer.binary());
    command
        .arg("--pin-dir")
        .arg(rig.lab.pin_dir())
        .arg("--config")
        .arg(path)
        .args(["reload", "--confirm", time])
        .env("NO_COLOR", "1");
    Ok(command)
}

fn try_out(rig: &Rig<'_>, text: &str, time: &str) -> Result<Finished> {
    finish(try_out_command(rig, text, time)?, "")
}

fn arm(rig: &Rig<'_>, text: &str, time: &str) -> Result<()> {
    try_out(rig, text, time)?.ok().map(drop)
}

fn at(rig: &Rig<'_>, port: u16, patience: Patience) -> Result<Outcome> {
    Ask::new(Transport::Tcp, &format!("{HOST_LAN}:{port}")).ask(&rig.lab.lan, patience)
}

fn serve(rig: &Rig<'_>, port: u16) -> Result<Server> {
    let address = format!("0.0.0.0:{port}");
    let server = Server::start(&rig.lab.host, Transport::Tcp, &address, "service")?;
    answered(at(rig, port, Patience::Long)?).context("before the enforcer was up")?;
    Ok(server)
}

fn seconds_left(status: &Status) -> Option<u64> {
    status.confirm.as_ref().map(|confirm| confirm.seconds_left)
}

fn status(rig: &Rig<'_>) -> Result<Status> {
    Ok(rig.enforcer.status()?.1)
}

fn expect_armed(rig: &Rig<'_>, most: u64) -> Result<()> {
    let status = status(rig)?;
    let left = seconds_left(&status);
    ensure!(
        left.is_some_and(|left| left > 0 && left <= most) && !status.rolled_back,
        "expected a trial of at most {most} s, but saw {status:?}"
    );
    Ok(())
}

/// Waits until the port that only the pending policy forbids is open again.
fn expect_open_again(rig: &Rig<'_>) -> Result<()> {
    let opens = || at(rig, ADDED, Patience::Brief).is_ok_and(|it| it.reached());
    eventually(SETTLE, || opens().then_some(()))
        .context("the policy on trial was not taken back in time")
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
    unanswered(at(rig, ADDED, Patience::Brief)?).context("on trial")?;
    expect_armed(rig, 5)?;
    let human = rig.enforcer.expect(&["status"], 0)?;
    ensure!(
        human.stdout.contains("enforcer confirm"),
        "`status` should say what to do: {human}"
    );
    rig.enforcer.expect(&["confirm"], 0)?;
    ensure!(
        seconds_left(&status(rig)?).is_none(),
        "a confirmed policy is on trial"
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
        unanswered(at(rig, ADDED, Patience::Brief)?).context("on trial")?;
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
    ensure!(refused.code == Some(1), "a second trial began: {refused}");
    rig.enforcer.expect(&["reload", "--dry-run"], 0)?;
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
    ensure!(before.confirm.is_none(), "`up` left a trial: {before:?}");
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
    ensure!(status(rig)?.confirm.is_none(), "the trial survived `down`");
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
