//! A12 and the life of `run`: no fate of the enforcer opens a port.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};
use rustix::process::Signal;

use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::topology::{HOST_LAN, Lab};
use crate::lab::wire::{Reply, Wire, reply_in};
use crate::lab::{Ask, Guards, Patience, Port, Server, Transport};

use super::raw_packet::{Probe, send_probe};
use super::runner::{answered, expect_nothing_pinned, expect_state, unanswered};
use crate::scenario::host_only::{BOTH_GUARDS, COMMAND_LINE};
use crate::scenario::{Rig, Scenario};

pub(super) const PORT: Port<'static> = Port("tcp", 9200);
/// Source ports of flooding SYNs, and of no other packets.
const FLOOD_PORTS: std::ops::Range<u16> = 40_000..48_000;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        Scenario::new("a12_sigkill_of_run_under_a_syn_flood", sigkill).takes_long(),
        Scenario::new("run::is_ready_only_when_the_guards_hold", ready).host_only(COMMAND_LINE),
        Scenario::new("run::leaves_the_guards_on_at_sigterm", sigterm),
        Scenario::new("run::ephemeral_takes_the_guards_off", ephemeral),
        Scenario::new("run::exits_0_when_down_comes", down_while_it_lives).host_only(COMMAND_LINE),
        Scenario::new("run::takes_pinned_guards_over", take_over),
        Scenario::new(
            "run::keeps_what_is_pinned_under_a_bad_registry",
            bad_registry,
        )
        .host_only(COMMAND_LINE),
        Scenario::new(
            "run::falls_back_at_boot_under_a_bad_registry",
            bad_registry_at_boot,
        )
        .host_only(COMMAND_LINE),
    ];
    for guards in [Guards::Wire, Guards::Socket, Guards::Both] {
        let name = format!("a12_reload_and_crash_under_a_syn_flood::{}", guards.name());
        let flooded = Scenario::new(name, move |rig| reload_and_crash(rig, guards)).takes_long();
        let alone = (guards != Guards::Both).then_some(BOTH_GUARDS);
        scenarios.push(flooded.host_only_if(alone));
    }
    scenarios
}

/// A service, a flood of SYNs at its port, and a listener for every SYN-ACK.
pub(super) struct Flood {
    stop: AtomicBool,
    sent: AtomicU64,
    accepted: AtomicU64,
}

impl Flood {
    /// Floods while `during` runs; nothing may come through. Returns the number of SYNs.
    pub(super) fn during(lab: &Lab, during: impl FnOnce(&Self) -> Result<()>) -> Result<u64> {
        let flood = Self {
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        };
        let (out, eye) = (Wire::open(&lab.lan, "eth0")?, Wire::open(&lab.lan, "eth0")?);
        let outcome = thread::scope(|scope| {
            let sender = scope.spawn(|| flood.send(&out));
            let watcher = scope.spawn(|| flood.watch(&eye));
            let outcome = during(&flood);
            flood.stop.store(true, Ordering::SeqCst);
            let sent = sender
                .join()
                .map_err(|_| anyhow::anyhow!("the flood panicked"))?;
            let seen = watcher
                .join()
                .map_err(|_| anyhow::anyhow!("the eye panicked"))?;
            outcome.and(sent).and(seen)
        });
        outcome?;
        let accepted = flood.accepted.load(Ordering::SeqCst);
        ensure!(accepted == 0, "{accepted} SYNs of the flood were accepted");
        Ok(flood.sent())
    }

    /// The number of SYNs so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// About two thousand a second, and no more in total than a minute's worth: a guest on a busy
    /// machine takes longer for its commands, and sends less in the same time.
    fn send(&self, wire: &Wire) -> Result<()> {
        const MOST: u64 = 120_000;
        let end = Instant::now() + Duration::from_secs(600);
        let mut ports = FLOOD_PORTS.cycle();
        while !self.stop.load(Ordering::SeqCst) && self.sent() < MOST && Instant::now() < end {
            for source in ports.by_ref().take(10) {
                let probe = Probe {
                    source,
                    ..Probe::v4(PORT)
                };
                wire.send(&probe.frame())?;
                self.sent.fetch_add(1, Ordering::SeqCst);
            }
            // The pace: a flood that overruns the backlog would be lost before any guard.
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn watch(&self, wire: &Wire) -> Result<()> {
        while !self.stop.load(Ordering::SeqCst) {
            let deadline = Instant::now() + Duration::from_millis(100);
            let accepted = |frame: &[u8]| {
                let port = u16::from_be_bytes([*frame.get(36)?, *frame.get(37)?]);
                let ours = FLOOD_PORTS.contains(&port);
                (ours && reply_in(frame, PORT.1, port) == Some(Reply::SynAck)).then_some(())
            };
            if wire.expect(deadline, accepted)?.is_some() {
                self.accepted.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    /// Waits until this many more SYNs are out.
    pub(super) fn go_on_for(&self, more: u64) -> Result<()> {
        let goal = self.sent() + more;
        let reached = || (self.sent() >= goal).then_some(());
        crate::lab::command::eventually(SETTLE * 2, reached).context("the flood dried up")
    }
}

/// The control: without the enforcer a SYN like the flood's is accepted.
pub(super) fn flooded_service(rig: &Rig<'_>) -> Result<Server> {
    let server = Server::start(
        &rig.lab.host,
        Transport::Tcp,
        "0.0.0.0:9200",
        "elasticsearch",
    )?;
    let wire = Wire::open(&rig.lab.lan, "eth0")?;
    answered(send_probe(&wire, &wire, Patience::Long, &|| {
        let probe = Probe::v4(PORT);
        (probe, vec![probe.frame()])
    })?)?;
    Ok(server)
}

fn sigkill(rig: &Rig<'_>) -> Result<()> {
    let server = flooded_service(rig)?;
    let mut first = rig.enforcer.run(&[])?;
    Flood::during(rig.lab, |flood| {
        flood.go_on_for(200)?;
        first.signal(Signal::KILL)?;
        first.expect_end(SETTLE)?;
        flood.go_on_for(200)?;
        expect_state(rig, 0, "enforcing").context("after SIGKILL")?;
        let second = rig.enforcer.run(&[]).context("a new run takes over")?;
        flood.go_on_for(200)?;
        second.signal(Signal::KILL)?;
        drop(second);
        flood.go_on_for(200)
    })?;
    let reason = Reason::UntrustedInterface;
    rig.enforcer
        .expect_counted(Guard::Wire, reason, PORT, 600)?;
    ensure!(
        server.accepted() == 0,
        "{} connections were accepted",
        server.accepted()
    );
    Ok(())
}

fn reload_and_crash(rig: &Rig<'_>, guards: Guards) -> Result<()> {
    let server = flooded_service(rig)?;
    rig.enforcer.up(guards)?;
    // Duration of an `up` over pinned guards here, to kill later ones all along the way.
    let start = Instant::now();
    rig.enforcer
        .expect(&["up", "--guards", guards.name()], guards.exit_code())?;
    let whole = start.elapsed();
    Flood::during(rig.lab, |flood| {
        for round in 0..8 {
            // Another policy each time, so that every reload switches.
            let extra = format!("\n[services.extra]\nports = [{}]\n", 15_000 + round);
            rig.enforcer.registry(&format!("{REGISTRY}{extra}"))?;
            rig.enforcer.reload()?;
            flood.go_on_for(40)?;
            crash(rig, &["reload"], Duration::from_millis(2 * round))?;
        }
        rig.enforcer.reload().context("after crashed reloads")?;
        for percent in [5, 40, 70, 80, 85, 90, 95, 98] {
            crash(
                rig,
                &["up", "--guards", guards.name()],
                whole * percent / 100,
            )?;
            flood.go_on_for(20)?;
        }
        rig.enforcer.up(guards).context("after crashed upgrades")?;
        flood.go_on_for(100)
    })?;
    let guard = if guards.include(Guard::Wire) {
        Guard::Wire
    } else {
        Guard::Socket
    };
    let reason = Reason::UntrustedInterface;
    rig.enforcer.expect_counted(guard, reason, PORT, 300)?;
    ensure!(
        server.accepted() == 0,
        "{} connections were accepted",
        server.accepted()
    );
    // No guard of an interrupted set-up may stay on where no command would find the link.
    rig.enforcer.down()?;
    expect_nothing_pinned(rig)?;
    answered(from_lan(rig, Patience::Long)?).context("after `down`")
}

/// Starts a command and kills the process a moment later, at whatever point.
fn crash(rig: &Rig<'_>, arguments: &[&str], after: Duration) -> Result<()> {
    let mut command = rig.enforcer.command(arguments)?;
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut victim = crate::lab::command::Daemon::spawn(command)?;
    victim.wait(after)?;
    drop(victim);
    Ok(())
}

/// Asks the service from the LAN.
pub(super) fn from_lan(rig: &Rig<'_>, patience: Patience) -> Result<crate::lab::Outcome> {
    Ask::new(Transport::Tcp, &format!("{HOST_LAN}:9200")).ask(&rig.lab.lan, patience)
}

/// Starts the service of the registry's port 9200; the control: the neighbour gets an answer.
pub(super) fn service(rig: &Rig<'_>) -> Result<Server> {
    let server = Server::start(
        &rig.lab.host,
        Transport::Tcp,
        "0.0.0.0:9200",
        "elasticsearch",
    )?;
    answered(from_lan(rig, Patience::Long)?).context("before the enforcer was up")?;
    Ok(server)
}

fn ready(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    let _run = rig.enforcer.run(&[])?;
    unanswered(from_lan(rig, Patience::Brief)?).context("right after READY")?;
    expect_state(rig, 0, "enforcing")
}

fn sigterm(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    let mut run = rig.enforcer.run(&[])?;
    run.signal(Signal::TERM)?;
    let status = run.expect_end(SETTLE)?;
    ensure!(
        status.code() == Some(0),
        "expected 0 at SIGTERM, but saw {status}"
    );
    unanswered(from_lan(rig, Patience::Brief)?).context("after SIGTERM")?;
    expect_state(rig, 0, "enforcing")
}

fn ephemeral(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    let mut run = rig.enforcer.run(&["--ephemeral"])?;
    unanswered(from_lan(rig, Patience::Brief)?).context("while it runs")?;
    run.signal(Signal::TERM)?;
    let status = run.expect_end(SETTLE)?;
    ensure!(
        status.code() == Some(0),
        "expected 0 at SIGTERM, but saw {status}"
    );
    expect_state(rig, 4, "off")?;
    answered(from_lan(rig, Patience::Long)?).context("after an ephemeral run")
}

fn down_while_it_lives(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    let mut run = rig.enforcer.run(&[])?;
    rig.enforcer.down()?;
    let status = run.expect_end(SETTLE)?;
    ensure!(
        status.code() == Some(0),
        "expected `run` to end with 0 after `down`, but saw {status}:\n{}",
        rig.enforcer.run_log()
    );
    ensure!(
        !rig.enforcer.run_log().trim().is_empty(),
        "`run` said nothing about `down`"
    );
    answered(from_lan(rig, Patience::Long)?).context("after `down`")
}

fn take_over(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    rig.enforcer.up(Guards::Both)?;
    unanswered(from_lan(rig, Patience::Brief)?)?;
    let reason = Reason::UntrustedInterface;
    rig.enforcer.expect_counted(Guard::Wire, reason, PORT, 1)?;
    let counted = rig.enforcer.counters()?.count(Guard::Wire, reason, PORT);
    let _run = rig.enforcer.run(&[])?;
    unanswered(from_lan(rig, Patience::Brief)?).context("after `run` took over")?;
    rig.enforcer
        .expect_counted(Guard::Wire, reason, PORT, counted + 1)
        .context("counters survive")
}

fn bad_registry(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    rig.enforcer.up(Guards::Both)?;
    rig.enforcer
        .registry("[services.elasticsearch]\nports = [0]\n")?;
    let _run = rig.enforcer.run(&[])?;
    unanswered(from_lan(rig, Patience::Brief)?)?;
    let (_, status) = rig.enforcer.status()?;
    let services = REGISTRY.matches("[services.").count();
    ensure!(
        status.services == u64::try_from(services)?,
        "expected the {services} services that were pinned, but saw {status:?}"
    );
    Ok(())
}

fn bad_registry_at_boot(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    rig.enforcer
        .registry("[services.elasticsearch]\nports = [0]\n")?;
    let _run = rig.enforcer.run(&[])?;
    // The embedded default knows Elasticsearch.
    unanswered(from_lan(rig, Patience::Brief)?)?;
    let log = rig.enforcer.run_log();
    ensure!(
        log.contains("degraded") && log.contains("enforcer.toml:2"),
        "expected `run` to say that it is degraded, and why, but it said\n{log}"
    );
    Ok(())
}
