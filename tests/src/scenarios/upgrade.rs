//! A newer binary takes over, an older binary takes back, and no packet comes in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};
use rustix::process::Signal;

use crate::lab::command::{eventually, finish};
use crate::lab::enforcer::SETTLE;
use crate::lab::topology::{HOST_WG, PEER};
use crate::lab::{Ask, Guards, Patience, Port, Server, Transport};

use super::faults::{Policy, World, another_layout, faulty};
use super::lifecycle::{Flood, PORT, flooded_service};
use super::runner::{answered, expect_state};
use crate::scenario::{Rig, Scenario};

/// Upgrades under a single flood, which is bounded in time, and the number of floods.
const ROUNDS: usize = 10;
const FLOODS: usize = 10;

const ALLOWED_TCP: Port<'static> = Port("tcp", 9100);
const ALLOWED_UDP: Port<'static> = Port("udp", 9100);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("upgrade::a_hundred_under_a_syn_flood", hundred),
        Scenario::new(
            "upgrade::another_layout_is_replaced_and_said",
            another_layout_replaced,
        ),
        Scenario::new("upgrade::run_is_restarted_under_a_syn_flood", restart),
    ]
}

/// The allowed peer is never refused, nothing forbidden is accepted, and every packet is counted
/// exactly once.
fn hundred(rig: &Rig<'_>) -> Result<()> {
    let forbidden = flooded_service(rig)?;
    let allowed_tcp = serve(rig, Transport::Tcp)?;
    let allowed_udp = serve(rig, Transport::Udp)?;
    rig.enforcer.up(Guards::Both)?;
    let stop = AtomicBool::new(false);
    let flooded = thread::scope(|scope| {
        let peer = scope.spawn(|| ask_until(rig, &stop));
        let upgrades = || -> Result<u64> {
            let mut sent = 0;
            for _ in 0..FLOODS {
                sent += Flood::during(rig.lab, |_| {
                    (0..ROUNDS).try_for_each(|_| rig.enforcer.expect(&["up"], 0).map(drop))
                })?;
            }
            Ok(sent)
        };
        let sent = upgrades();
        stop.store(true, Ordering::SeqCst);
        peer.join()
            .map_err(|_| anyhow::anyhow!("the peer panicked"))?
            .context("the allowed peer")?;
        sent
    })?;
    let exact = |guard, reason, port, packets: u64| {
        let mut seen = 0;
        eventually(SETTLE, || {
            seen = rig.enforcer.counters().ok()?.count(guard, reason, port);
            (seen == packets).then_some(())
        })
        .with_context(|| format!("the {guard} guard counted {seen} of {packets} to {port}"))
    };
    exact(Guard::Wire, Reason::UntrustedInterface, PORT, flooded)?;
    let datagrams = u64::try_from(allowed_udp.received())?;
    ensure!(datagrams > 0, "the allowed peer sent no datagram");
    for guard in Guard::ALL {
        exact(guard, Reason::Peer, ALLOWED_UDP, datagrams)?;
        for port in [ALLOWED_TCP, ALLOWED_UDP] {
            for reason in [Reason::UnknownPeer, Reason::UntrustedInterface] {
                exact(guard, reason, port, 0)?;
            }
        }
    }
    ensure!(
        allowed_tcp.accepted() > 0,
        "the allowed peer never connected"
    );
    ensure!(
        forbidden.accepted() == 0,
        "a forbidden connection was accepted"
    );
    ensure!(forbidden.received() == 0, "a forbidden byte was read");
    rig.enforcer.down()
}

fn serve(rig: &Rig<'_>, transport: Transport) -> Result<Server> {
    Server::start(&rig.lab.host, transport, "0.0.0.0:9100", "metrics")
}

/// Asks as the allowed peer, over TCP and UDP, in turns.
fn ask_until(rig: &Rig<'_>, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        for transport in [Transport::Tcp, Transport::Udp] {
            let ask = Ask::new(transport, &format!("{HOST_WG}:9100"));
            let ask = ask.from(&format!("{PEER}:0"));
            answered(ask.ask(&rig.lab.peer, Patience::Long)?)?;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Up and down again, between this build and a build with another layout.
fn another_layout_replaced(rig: &Rig<'_>) -> Result<()> {
    let world = World::new(rig)?;
    let other = faulty(rig)?;
    let other_command = |arguments: &[&str]| -> Result<_> {
        let mut command = other.command(arguments)?;
        command.env("ENFORCER_LAYOUT", another_layout());
        finish(command, "")
    };
    let reason = Reason::UntrustedInterface;
    world.set_up(Policy::Old)?;
    Flood::during(rig.lab, |flood| {
        flood.go_on_for(100)?;
        rig.enforcer
            .expect_counted(Guard::Wire, reason, PORT, 100)?;
        let before = flood.sent();
        world.registry(Policy::New)?;
        let up = other_command(&["up"])?;
        ensure!(
            up.code == Some(0)
                && up.stderr.contains("another layout")
                && up.stderr.contains("counters start at 0"),
            "expected `up` to say what it replaces, but {up}"
        );
        world.expect_one_of(&[Policy::New])?;
        let counted: Vec<crate::lab::report::Counter> =
            serde_json::from_str(&other_command(&["counters", "--json"])?.stdout)?;
        let counted = crate::lab::enforcer::Counters(counted).count(Guard::Wire, reason, PORT);
        let since = flood.sent() - before;
        ensure!(
            counted <= since,
            "{counted} counted anew, but {since} were sent"
        );
        // The other build's pins are foreign: nothing is read from them, nothing changed.
        for command in [&["status"][..], &["reload"], &["counters"]] {
            let refused = rig.enforcer.expect(command, 1)?;
            ensure!(refused.stderr.contains("layout"), "{refused}");
        }
        world.expect_one_of(&[Policy::New])?;
        flood.go_on_for(20)?;
        world.registry(Policy::Old)?;
        let back = rig.enforcer.expect(&["up"], 0)?;
        ensure!(back.stderr.contains("another layout"), "{back}");
        flood.go_on_for(20)?;
        world.expect_whole(Policy::Old)
    })?;
    world.set_up(Policy::Off)?;
    // Last, off: `down` needs nothing but the pins' names.
    ensure!(
        other_command(&["up"])?.code == Some(0),
        "another `up` from nothing"
    );
    world.set_up(Policy::Off)
}

/// Restarts `run` as a service manager does.
fn restart(rig: &Rig<'_>) -> Result<()> {
    let server = flooded_service(rig)?;
    let mut run = rig.enforcer.run(&[])?;
    let flooded = Flood::during(rig.lab, |flood| {
        for _ in 0..3 {
            flood.go_on_for(50)?;
            run.signal(Signal::TERM)?;
            let status = run.expect_end(SETTLE)?;
            ensure!(status.code() == Some(0), "SIGTERM: {status}");
            flood.go_on_for(50)?;
            run = rig.enforcer.run(&[])?;
        }
        Ok(())
    })?;
    expect_state(rig, 0, "enforcing")?;
    let reason = Reason::UntrustedInterface;
    rig.enforcer
        .expect_counted(Guard::Wire, reason, PORT, flooded)?;
    ensure!(
        server.accepted() == 0,
        "a forbidden connection was accepted"
    );
    drop(run);
    rig.enforcer.down()
}
