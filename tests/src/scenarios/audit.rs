//! Audit mode never drops: every attack comes out as if no guard were there, and each guard that
//! would have held the attack has counted the packets. A12 and A21, which are no single packet,
//! have separate scenarios.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Mode, Reason};

use crate::lab::command::{Daemon, finish};
use crate::lab::enforcer::REGISTRY;
use crate::lab::topology::{HOST_LAN, STRANGER};
use crate::lab::{Ask, Feature, Guards, Patience, Port, Server, Transport};

use super::attack::{Attack, Control};
use super::attacks;
use super::keys::{self, Hub, Kernel, Userspace, Who};
use super::runner::{answered, expect_state, unanswered, up_against};
use crate::scenario::host_only::{AUDIT, COMMAND_LINE, LOADER, TUNNELLED};
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut tried = Vec::new();
    let mut scenarios: Vec<Scenario> = attacks::all()
        .into_iter()
        .map(|attack| {
            let name = format!("audit::{}", attack.name);
            let needs = attack.needs.clone();
            // Audit mode asks the same of every attack, so a single attack is enough for each need
            // of a guest.
            let is_for_guests = !needs.is_empty() && !tried.contains(&needs);
            tried.push(needs.clone());
            Scenario::new(name, move |rig| everywhere(&attack, rig))
                .needs_all(needs)
                .host_only_if((!is_for_guests).then_some(AUDIT))
        })
        .collect();
    scenarios.extend([
        Scenario::new("audit::a21_a_hole_in_a_granted_prefix::kernel", |rig| {
            hole(rig, &Kernel::hub(rig.lab)?)
        })
        .needs(Feature::WireGuard),
        Scenario::new("audit::a21_a_hole_in_a_granted_prefix::userspace", |rig| {
            hole(rig, &Userspace::hub(rig.lab)?)
        })
        .host_only(TUNNELLED),
        Scenario::new("audit::a12_reload_and_crash", crash).host_only(LOADER),
        Scenario::new("audit::of_one_service", of_one_service).host_only(COMMAND_LINE),
    ]);
    scenarios
}

/// The registry in audit mode.
fn audited(registry: &str) -> String {
    format!("mode = \"{}\"\n{registry}", Mode::Audit)
}

/// Tries an attack under the global mode and both guards, in a single lab.
fn everywhere(attack: &Attack, rig: &Rig<'_>) -> Result<()> {
    let mut attempt = (attack.stage)(rig.lab).context("failed to stage the attack")?;
    let patience = match attack.control {
        Control::RefusedByTheStack(_) => Patience::Brief,
        // A kernel that delivers the packet must deliver again.
        Control::Reached | Control::UpToTheKernel(_) => Patience::Long,
    };
    let control = attempt(patience)?;
    attack
        .control
        .expect(&control)
        .context("before the enforcer was up")?;
    rig.enforcer.registry(&audited(&attack.registry()))?;
    up_against(attack, Guards::Both, rig)?;
    if attack.uncovered.is_none() && attack.without_a_wire_guard().is_none() {
        expect_state(rig, 0, "audit")?;
    }
    let outcome = attempt(patience)?;
    ensure!(
        outcome.reached() == control.reached(),
        "audit mode changed what becomes of it: it was {control}, and is {outcome}"
    );
    for guard in counting(attack, control.reached()) {
        // Packets past the wire guard must be counted again where they arrive.
        if let Some((guard, reason)) = attack.counted_by(alone(guard)) {
            rig.enforcer.expect_counted(guard, reason, attack.port, 1)?;
        }
    }
    expect_no_real_drop(rig)?;
    rig.enforcer.down()
}

/// The guards on the path of an attack that no guard ends.
fn counting(attack: &Attack, reached: bool) -> impl Iterator<Item = Guard> {
    let ends_in_the_stack = matches!(attack.control, Control::UpToTheKernel(_)) && !reached;
    let meets = move |guard: &Guard| *guard == Guard::Wire || !ends_in_the_stack;
    Guard::ALL.into_iter().filter(meets)
}

const fn alone(guard: Guard) -> Guards {
    match guard {
        Guard::Wire => Guards::Wire,
        Guard::Socket => Guards::Socket,
    }
}

/// Insists that audit mode let every counted drop pass.
fn expect_no_real_drop(rig: &Rig<'_>) -> Result<()> {
    let counters = rig.enforcer.counters()?;
    let mut drops = counters.0.iter().filter(|row| row.verdict == "drop");
    ensure!(
        drops.all(|row| row.audited),
        "a guard in audit mode dropped something:\n{counters}"
    );
    Ok(())
}

/// A12, whose attack is a moment: around reloads, upgrades and crashes everything is let in.
fn crash(rig: &Rig<'_>) -> Result<()> {
    let port = Port("tcp", 9200);
    let _server = Server::start(&rig.lab.host, Transport::Tcp, "0.0.0.0:9200", "service")?;
    let ask = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:9200"));
    let is_open = || answered(ask.ask(&rig.lab.lan, Patience::Long)?);
    is_open().context("before the enforcer was up")?;
    rig.enforcer.registry(&audited(REGISTRY))?;
    rig.enforcer.up(Guards::Both)?;
    for command in ["reload", "up"] {
        let start = Instant::now();
        rig.enforcer.expect(&[command], 0)?;
        let whole = start.elapsed();
        for percent in [10, 40, 70, 95] {
            // Another policy each time, so each reload switches.
            let extra = format!("\n[services.extra]\nports = [{}]\n", 15_000 + percent);
            rig.enforcer
                .registry(&audited(&format!("{REGISTRY}{extra}")))?;
            let mut victim = rig.enforcer.command(&[command])?;
            victim.stdin(Stdio::null());
            victim.stdout(Stdio::null()).stderr(Stdio::null());
            let mut victim = Daemon::spawn(victim)?;
            victim.wait(whole * percent / 100)?;
            drop(victim);
            is_open().with_context(|| format!("`{command}` killed at {percent} %"))?;
        }
        rig.enforcer.expect(&["up"], 0)?;
        is_open().with_context(|| format!("after `{command}` was killed"))?;
    }
    for guard in Guard::ALL {
        let reason = Reason::UntrustedInterface;
        rig.enforcer.expect_counted(guard, reason, port, 1)?;
    }
    expect_no_real_drop(rig)
}

/// A21, whose attack takes peers by key: a stranger in the laptop's prefix is let in.
fn hole(rig: &Rig<'_>, hub: &dyn Hub) -> Result<()> {
    let port = Port("tcp", 9100);
    let _server = Server::start(&rig.lab.host, Transport::Tcp, "0.0.0.0:9100", "metrics")?;
    hub.allow(&["10.10.0.0/24", "fd00:10::/64"], &["10.10.0.99/32"])?;
    let stranger = || answered(hub.ask(Who::Stranger, STRANGER, Patience::Long)?);
    stranger().context("before the enforcer was up")?;
    rig.enforcer
        .registry(&audited(&keys::registry(hub.laptop())))?;
    let mut up = rig.enforcer.command(&["up", "--static-peers"])?;
    hub.guide(&mut up);
    finish(up, "")?.ok()?;
    stranger().context("in audit mode")?;
    for guard in Guard::ALL {
        let reason = Reason::UnknownPeer;
        rig.enforcer.expect_counted(guard, reason, port, 1)?;
    }
    expect_no_real_drop(rig)
}

/// A service's own mode lets pass the drops for the service's sake, and no others.
fn of_one_service(rig: &Rig<'_>) -> Result<()> {
    let audited = named("a06_accidental_publish::redis_on_0.0.0.0")?;
    let enforced = named("a06_accidental_publish::on_[::]")?;
    // Rule 2 of the decision table knows no service, and so follows the global mode.
    let by_rule_2 = named("a01_route_localnet::tcp")?;
    let mut text = REGISTRY.to_owned();
    for attack in [&audited, &by_rule_2] {
        let ports = format!("ports = [{}]\n", attack.port.1);
        ensure!(text.contains(&ports), "no service has `{ports}`");
        text = text.replace(&ports, &format!("{ports}mode = \"audit\"\n"));
    }
    rig.enforcer.registry(&text)?;
    let mut on_audited = (audited.stage)(rig.lab)?;
    let mut on_enforced = (enforced.stage)(rig.lab)?;
    let mut on_rule_2 = (by_rule_2.stage)(rig.lab)?;
    for attempt in [&mut on_audited, &mut on_enforced, &mut on_rule_2] {
        answered(attempt(Patience::Long)?).context("before the enforcer was up")?;
    }
    rig.enforcer.up(Guards::Both)?;
    answered(on_audited(Patience::Long)?).context("the service in audit mode")?;
    unanswered(on_enforced(Patience::Brief)?).context("another service")?;
    unanswered(on_rule_2(Patience::Brief)?).context("a loopback address on the wire")?;
    for (guard, attack) in [
        (Guard::Wire, &audited),
        (Guard::Socket, &audited),
        (Guard::Wire, &enforced),
        (Guard::Wire, &by_rule_2),
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
