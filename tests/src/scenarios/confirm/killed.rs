//! A pending policy is rolled back, whichever process is killed meanwhile.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::lab::Patience;
use crate::lab::command::{Daemon, eventually};
use crate::lab::enforcer::SETTLE;

use super::super::runner::{answered, unanswered};
use super::pending::{
    ADDED, SHORT, arm, at, candidate, expect_armed, expect_open_again, serve, status,
    try_out_command,
};
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "confirm::a_command_takes_back_what_a_killed_run_left",
            killed_run,
        ),
        Scenario::new("confirm::a_new_run_takes_over_what_is_armed", new_run),
        Scenario::new("confirm::a_killed_reload_is_taken_back", killed_reload),
    ]
}

fn killed_run(rig: &Rig<'_>) -> Result<()> {
    let _added = serve(rig, ADDED)?;
    for command in ["status", "reload", "confirm"] {
        let run = rig.enforcer.run(&[])?;
        arm(rig, &candidate(), "5")?;
        let end = Instant::now() + SHORT;
        let generation = status(rig)?.generation;
        run.signal(Signal::KILL)?;
        drop(run);
        while Instant::now() < end + SHORT / 5 {
            // systemd is no help here: its timer is none of this network namespace.
            unanswered(at(rig, ADDED, Patience::Brief)?).context("with nobody there")?;
        }
        let code = i32::from(command == "confirm");
        let said = rig.enforcer.expect(&[command], code)?;
        ensure!(
            said.stderr.contains("the pending policy was rolled back"),
            "`{command}` should say what it found: {said}"
        );
        expect_open_again(rig).with_context(|| format!("after `{command}`"))?;
        let after = status(rig)?;
        ensure!(
            after.generation > generation && after.confirm.is_none(),
            "`{command}` left {after:?}"
        );
        rig.enforcer.down()?;
    }
    Ok(())
}

/// systemd starts `run` again a second after a kill: the new `run` must not keep a pending policy.
fn new_run(rig: &Rig<'_>) -> Result<()> {
    let _added = serve(rig, ADDED)?;
    let first = rig.enforcer.run(&[])?;
    let before = status(rig)?;
    arm(rig, &candidate(), "20")?;
    let armed = status(rig)?.generation;
    first.signal(Signal::KILL)?;
    drop(first);
    let _second = rig.enforcer.run(&[])?;
    expect_armed(rig, 20)?;
    ensure!(
        status(rig)?.generation == armed,
        "a new `run` switched the pending policy"
    );
    unanswered(at(rig, ADDED, Patience::Brief)?).context("under the pending policy")?;
    // No command asks for the status.
    let opens = || at(rig, ADDED, Patience::Brief).is_ok_and(|it| it.reached());
    eventually(Duration::from_secs(20) + SETTLE, || opens().then_some(()))
        .context("the new `run` did not take it back")?;
    let after = status(rig)?;
    ensure!(
        after.rolled_back && after.registered_ports == before.registered_ports,
        "expected the policy from before: {before:?} -> {after:?}"
    );
    Ok(())
}

/// Whatever the moment of the kill, the pending change is gone in the end.
fn killed_reload(rig: &Rig<'_>) -> Result<()> {
    let _added = serve(rig, ADDED)?;
    let _run = rig.enforcer.run(&[])?;
    let start = Instant::now();
    arm(rig, &candidate(), "60")?;
    let whole = start.elapsed();
    rig.enforcer.expect(&["confirm"], 0)?;
    rig.enforcer.reload()?;
    answered(at(rig, ADDED, Patience::Long)?)?;
    let is_armed = || status(rig).is_ok_and(|status| status.confirm.is_some());
    for percent in [Some(50), Some(80), Some(100), None] {
        let mut command = try_out_command(rig, &candidate(), "5")?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut victim = Daemon::spawn(command)?;
        match percent {
            Some(percent) => drop(victim.wait(whole * percent / 100)?),
            // As soon as a rollback is armed.
            None => eventually(SETTLE, || is_armed().then_some(())).context("nothing was armed")?,
        }
        drop(victim);
        let end = Instant::now() + SHORT + SETTLE;
        while is_armed() {
            ensure!(Instant::now() < end, "the policy is pending for ever");
            std::thread::sleep(Duration::from_millis(100));
        }
        expect_open_again(rig).with_context(|| format!("killed at {percent:?} %"))?;
    }
    Ok(())
}
