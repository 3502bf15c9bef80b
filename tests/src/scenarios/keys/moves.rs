//! A key whose AllowedIPs change under a living `run`, without any reload.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use super::hub::{Hub, METRICS, NOBODY, Who, laptop, metrics, registry};
use super::kernel::Kernel;
use super::userspace::Userspace;
use crate::lab::command::{eventually, finish};
use crate::lab::topology::{PEER, STRANGER};
use crate::lab::{Feature, Patience};
use crate::scenario::host_only::TUNNELLED;
use crate::scenario::{Rig, Scenario};
use crate::scenarios::runner::{answered, unanswered};

/// Longest time until a change of a key is in force.
const PROMISED: Duration = Duration::from_secs(2);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::keys_move::kernel", |rig| {
            moves(rig, &Kernel::hub(rig.lab)?)
        })
        .needs(Feature::WireGuard)
        .alone(),
        Scenario::new("live::keys_move::userspace", |rig| {
            moves(rig, &Userspace::hub(rig.lab)?)
        })
        .host_only(TUNNELLED)
        .alone(),
        Scenario::new("live::no_command_refuses_a_key::kernel", |rig| {
            commands(rig, &Kernel::hub(rig.lab)?)
        })
        .needs(Feature::WireGuard),
        Scenario::new("live::no_command_refuses_a_key::userspace", |rig| {
            commands(rig, &Userspace::hub(rig.lab)?)
        })
        .host_only(TUNNELLED),
    ]
}

/// Every command reads a device's AllowedIPs again, and the peers go on meanwhile.
fn commands(rig: &Rig<'_>, hub: &dyn Hub) -> Result<()> {
    let _server = metrics(rig)?;
    hub.allow(&["10.10.0.5/32"], &["10.10.0.99/32"])?;
    rig.enforcer.registry(&registry(hub.laptop()))?;
    let mut run = rig.enforcer.run_guided(&[], |command| hub.guide(command))?;
    for number in 0..12 {
        if number % 4 == 3 {
            drop(run);
            run = rig.enforcer.run_guided(&[], |command| hub.guide(command))?;
        } else {
            let arguments = [&["reload"][..], &["up", "--static-peers"]][number % 2];
            let mut command = rig.enforcer.command(arguments)?;
            hub.guide(&mut command);
            finish(command, "")?.ok()?;
        }
        // `run` notices the change a moment later.
        for _ in 0..10 {
            answered(hub.ask(Who::Laptop, PEER, Patience::Long)?)
                .with_context(|| format!("after command {number}"))?;
        }
    }
    let counters = rig.enforcer.counters()?;
    for reason in [Reason::UnknownPeer, Reason::UntrustedInterface] {
        let drops = counters.count(Guard::Wire, reason, METRICS);
        ensure!(drops == 0, "the laptop was refused {drops} times: {reason}");
    }
    // Nor does the older knowledge of `run` come back after a command that knows more.
    hub.allow(&["10.10.0.7/32"], &["10.10.0.99/32"])?;
    let mut reload = rig.enforcer.command(&["reload"])?;
    hub.guide(&mut reload);
    finish(reload, "")?.ok()?;
    let end = Instant::now() + PROMISED;
    while Instant::now() < end {
        let would = would_pass(rig, PEER)?;
        ensure!(!would, "what was taken from the laptop came back");
    }
    // The control: the stranger is refused, and the drop is counted.
    unanswered(hub.ask(Who::Stranger, STRANGER, Patience::Brief)?).context("the stranger")?;
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UnknownPeer, METRICS, 1)
}

/// The laptop's key moves to the stranger's address and the stranger to the laptop's, the key is
/// removed, and comes back.
fn moves(rig: &Rig<'_>, hub: &dyn Hub) -> Result<()> {
    let _server = metrics(rig)?;
    let at_home = || hub.allow(&["10.10.0.5/32"], &["10.10.0.99/32"]);
    let asks = |from, patience| hub.ask(Who::Laptop, from, patience);
    let poses = |from, patience| hub.ask(Who::Stranger, from, patience);
    at_home()?;
    answered(asks(PEER, Patience::Long)?).context("the laptop, unguarded")?;
    answered(poses(STRANGER, Patience::Long)?).context("the stranger, unguarded")?;
    rig.enforcer.registry(&registry(hub.laptop()))?;
    let _run = rig.enforcer.run_guided(&[], |command| hub.guide(command))?;
    answered(asks(PEER, Patience::Long)?).context("the laptop at home")?;
    unanswered(poses(STRANGER, Patience::Brief)?).context("the stranger at home")?;

    for round in 1..=2 {
        let mut took = Vec::new();
        hub.allow(&["10.10.0.99/32"], &["10.10.0.5/32"])?;
        took.push(in_time(rig, &[(STRANGER, true), (PEER, false)])?);
        answered(asks(STRANGER, Patience::Long)?).context("the laptop at its new address")?;
        unanswered(poses(PEER, Patience::Brief)?)
            .context("the stranger at the laptop's old one")?;
        rig.enforcer
            .expect_counted(Guard::Wire, Reason::UnknownPeer, METRICS, 1)?;

        hub.forget_laptop()?;
        took.push(in_time(rig, &[(STRANGER, false), (PEER, false)])?);
        laptop(rig, hub, 0, "waiting: wg0 has no peer with its key")?;
        // The laptop's addresses are free for others, who may do nothing with them.
        hub.allow_stranger(&["10.10.0.5/32", "10.10.0.99/32"])?;
        unanswered(poses(STRANGER, Patience::Brief)?).context("the stranger at a free address")?;
        unanswered(poses(PEER, Patience::Brief)?).context("the stranger at another")?;

        hub.come_back(&["10.10.0.5/32"])?;
        hub.allow_stranger(&["10.10.0.99/32"])?;
        took.push(in_time(rig, &[(PEER, true), (STRANGER, false)])?);
        laptop(rig, hub, 0, "active")?;
        answered(asks(PEER, Patience::Long)?).context("the laptop, back at home")?;
        unanswered(poses(STRANGER, Patience::Brief)?).context("the stranger, back at home")?;
        println!("live::keys_move: round {round}: right after {took:.0?} (moved, removed, back)");
    }

    overlap(rig, hub)?;

    // Another key in the registry, which no device has: the peer waits, and gets no grant.
    rig.enforcer.registry(&registry(NOBODY))?;
    in_time(rig, &[(PEER, false)])?;
    laptop(rig, hub, 0, "waiting: wg0 has no peer with its key")?;
    unanswered(asks(PEER, Patience::Brief)?).context("the laptop, whose key is not asked for")
}

/// The laptop's key has the whole subnet, of which the stranger's takes an address, and gives the
/// address back.
fn overlap(rig: &Rig<'_>, hub: &dyn Hub) -> Result<()> {
    let refused = || -> Result<u64> {
        let counters = rig.enforcer.counters()?;
        Ok(counters.count(Guard::Wire, Reason::UnknownPeer, METRICS))
    };
    hub.allow(&["10.10.0.0/24"], &[])?;
    let mut took = vec![in_time(rig, &[(PEER, true), (STRANGER, true)])?];
    answered(hub.ask(Who::Laptop, STRANGER, Patience::Long)?)
        .context("the laptop, somewhere in its prefix")?;

    let before = refused()?;
    hub.allow_stranger(&["10.10.0.99/32"])?;
    took.push(in_time(rig, &[(STRANGER, false), (PEER, true)])?);
    unanswered(hub.ask(Who::Stranger, STRANGER, Patience::Brief)?)
        .context("the stranger in the laptop's prefix")?;
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UnknownPeer, METRICS, before + 1)?;
    answered(hub.ask(Who::Laptop, PEER, Patience::Long)?).context("the laptop beside the hole")?;

    hub.allow_stranger(&[])?;
    took.push(in_time(rig, &[(STRANGER, true), (PEER, true)])?);
    answered(hub.ask(Who::Laptop, STRANGER, Patience::Long)?)
        .context("the laptop where the hole was")?;
    println!("live::keys_move: right after {took:.0?} (a wide prefix, a hole in it, none)");
    Ok(())
}

/// Waits until the policy in force judges these sources as wanted, in the time that is promised for
/// all of them.
pub(super) fn in_time(rig: &Rig<'_>, wanted: &[(Ipv4Addr, bool)]) -> Result<Duration> {
    let start = Instant::now();
    for (source, passes) in wanted {
        let left = PROMISED.saturating_sub(start.elapsed());
        let mut last = None;
        let right = eventually(left, || {
            let said = would_pass(rig, *source);
            let right = matches!(&said, Ok(would) if would == passes);
            last = Some(said);
            right.then_some(())
        });
        ensure!(
            right.is_some(),
            "{source} is not judged right after {:?}: {last:?}\n`run` said\n{}",
            start.elapsed(),
            rig.enforcer.run_log()
        );
    }
    Ok(start.elapsed())
}

/// The decision of the policy in force about a source at the metrics.
pub(super) fn would_pass(rig: &Rig<'_>, source: Ipv4Addr) -> Result<bool> {
    let source = source.to_string();
    let packet = ["--interface", "wg0", "--port", "9100", "--source", &source];
    Ok(rig.enforcer.explain(&packet)?.verdict == "pass")
}
