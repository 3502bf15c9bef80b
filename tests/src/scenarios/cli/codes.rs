//! Exit codes, and commands with nothing left, or already something, to do.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::{Enforcer, Guards, Lab, Patience};

use super::super::runner::{answered, expect_nothing_pinned, expect_state, unanswered};
use super::service::{ELASTICSEARCH, from_lan, serve};
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("cli::with_nothing_pinned", nothing_pinned),
        Scenario::new("cli::bad_usage_exits_2", bad_usage),
        Scenario::new("cli::one_guard_alone_is_degraded", degraded),
        Scenario::new("cli::a_second_up_changes_nothing", idempotent),
        Scenario::new("cli::up_narrows_and_widens_the_guards", narrow_and_widen),
        Scenario::new("cli::down_leaves_nothing", down_leaves_nothing),
        Scenario::new("cli::two_hosts_do_not_disturb_each_other", two_hosts),
        Scenario::new(
            "cli::options_stand_before_or_after_the_command",
            option_order,
        ),
        Scenario::new("cli::writers_take_turns", writers_take_turns),
    ]
}

fn nothing_pinned(rig: &Rig<'_>) -> Result<()> {
    expect_state(rig, 4, "off")?;
    rig.enforcer.expect(&["counters", "--json"], 4)?;
    rig.enforcer.expect(&["reload"], 4)?;
    rig.enforcer.expect(&["down"], 0)?;
    rig.enforcer.expect(&["check"], 0)?;
    ensure!(
        !rig.lab.pin_dir().exists(),
        "reading commands left a pin directory"
    );
    Ok(())
}

fn bad_usage(rig: &Rig<'_>) -> Result<()> {
    for arguments in [
        &["nonsense"][..],
        &["up", "--guards", "none"],
        &["status", "--nonsense"],
        &["explain", "--interface", "eth0"],
        &[],
    ] {
        let finished = rig.enforcer.expect(arguments, 2)?;
        ensure!(
            !finished.stderr.is_empty(),
            "bad usage was met with silence: {finished}"
        );
    }
    expect_state(rig, 4, "off")
}

fn degraded(rig: &Rig<'_>) -> Result<()> {
    for (guards, kind) in [(Guards::Wire, "wire"), (Guards::Socket, "socket")] {
        rig.enforcer.up(guards)?;
        expect_state(rig, 3, "degraded")?;
        let (_, status) = rig.enforcer.status()?;
        ensure!(
            !status.guards.is_empty() && status.guards.iter().all(|guard| guard.guard == kind),
            "expected {kind} guards alone, but saw {status:?}"
        );
        if guards == Guards::Socket {
            let bare = |name| status.uncovered.iter().any(|line| line.interface == name);
            ensure!(
                bare("eth0") && bare("wg0"),
                "uncovered interfaces are missing: {status:?}"
            );
        }
        rig.enforcer.down()?;
    }
    Ok(())
}

fn idempotent(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 9200)?;
    rig.enforcer.up(Guards::Both)?;
    unanswered(from_lan(rig, 9200, Patience::Brief)?)?;
    let reason = Reason::UntrustedInterface;
    rig.enforcer
        .expect_counted(Guard::Wire, reason, ELASTICSEARCH, 1)?;
    let counted = rig
        .enforcer
        .counters()?
        .count(Guard::Wire, reason, ELASTICSEARCH);
    let (_, first) = rig.enforcer.status()?;
    rig.enforcer.up(Guards::Both).context("the second `up`")?;
    let (_, second) = rig.enforcer.status()?;
    ensure!(
        first.guards.len() == second.guards.len(),
        "the guards changed: {first:?} -> {second:?}"
    );
    let after = rig
        .enforcer
        .counters()?
        .count(Guard::Wire, reason, ELASTICSEARCH);
    ensure!(after >= counted, "counters were lost: {counted} -> {after}");
    unanswered(from_lan(rig, 9200, Patience::Brief)?)?;
    expect_state(rig, 0, "enforcing")
}

fn narrow_and_widen(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 9200)?;
    for guards in [Guards::Both, Guards::Socket, Guards::Wire, Guards::Both] {
        rig.enforcer.up(guards)?;
        unanswered(from_lan(rig, 9200, Patience::Brief)?)
            .with_context(|| format!("after `up --guards {}`", guards.name()))?;
    }
    Ok(())
}

fn down_leaves_nothing(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 9200)?;
    rig.enforcer.up(Guards::Both)?;
    let mode = std::fs::metadata(rig.lab.pin_dir())?.permissions().mode() & 0o777;
    ensure!(
        mode == 0o700,
        "the pin directory has mode {mode:o}, not 700"
    );
    rig.enforcer.down()?;
    expect_nothing_pinned(rig)?;
    answered(from_lan(rig, 9200, Patience::Long)?)?;
    rig.enforcer.expect(&["down"], 0).context("`down` again")?;
    expect_state(rig, 4, "off")
}

fn two_hosts(rig: &Rig<'_>) -> Result<()> {
    let lab = Lab::new()?;
    let enforcer = Enforcer::new(rig.enforcer.binary(), &lab)?;
    let other = Rig {
        lab: &lab,
        enforcer: &enforcer,
    };
    let (_ours, _theirs) = (serve(rig, 9200)?, serve(&other, 9200)?);
    rig.enforcer.up(Guards::Both)?;
    unanswered(from_lan(rig, 9200, Patience::Brief)?)?;
    answered(from_lan(&other, 9200, Patience::Long)?)
        .context("the other host, which has no guards")?;
    other.enforcer.up(Guards::Both)?;
    unanswered(from_lan(&other, 9200, Patience::Brief)?)?;
    rig.enforcer.down()?;
    answered(from_lan(rig, 9200, Patience::Long)?).context("this host, after its `down`")?;
    unanswered(from_lan(&other, 9200, Patience::Brief)?)
        .context("the other host, after our `down`")?;
    other.enforcer.down()
}

fn option_order(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    let pins = rig.lab.pin_dir();
    let pins = pins.to_str().context("the pin directory is no UTF-8")?;
    let mut outputs = Vec::new();
    for arguments in [
        ["--json", "--pin-dir", pins, "status"],
        ["status", "--json", "--pin-dir", pins],
        ["--pin-dir", pins, "status", "--json"],
    ] {
        let mut command = rig.lab.host.command(rig.enforcer.binary());
        command.args(arguments);
        outputs.push(crate::lab::command::finish(command, "")?.ok()?);
    }
    outputs.dedup();
    ensure!(
        outputs.len() == 1,
        "the order of options matters: {outputs:#?}"
    );
    Ok(())
}

fn writers_take_turns(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    let (_, before) = rig.enforcer.status()?;
    let codes = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| rig.enforcer.call(&["reload"])))
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join())
            .collect::<Vec<_>>()
    });
    for finished in codes {
        let finished = finished.map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        ensure!(
            finished.code == Some(0),
            "a reload beside others failed: {finished}"
        );
    }
    let (_, after) = rig.enforcer.status()?;
    ensure!(
        after.generation >= before.generation + 4,
        "four reloads, but generation {} -> {}",
        before.generation,
        after.generation
    );
    expect_state(rig, 0, "enforcing")
}
