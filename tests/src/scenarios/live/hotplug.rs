//! Packets through a hot-plugged interface before the wire guard is on.
//!
//! No packet reaches the host's own sockets: the socket guard judges there. Packets sent on to a
//! container by a DNAT rule meet the wire guard alone.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::command::finish;
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::wire::Wire;
use crate::lab::{Feature, Lab, Server, Transport};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};
use crate::scenarios::lifecycle::PORT;
use crate::scenarios::raw_packet::Probe;

use super::plug::{NEAR, Plug, expect_answer_unguarded, look_again};
use super::timing::{figure, spread, within};
use super::traffic::{Barrage, PORTS, SynAckWatch};

/// Interfaces in a scenario.
const TRIES: usize = 20;
/// Shortest wait of the udev rule for a guard that never comes: 20 times 0.05 s, less some.
const IN_VAIN: Duration = Duration::from_millis(900);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::the_window_of_a_hot_plug", window).host_only(LOADER),
        Scenario::new("live::no_window_behind_the_udev_rule", no_window)
            .host_only(LOADER)
            .needs(Feature::Tcx),
    ]
}

/// A container published on the host's port 9200 by a DNAT rule, unguarded.
fn container(lab: &Lab) -> Result<Server> {
    lab.publish_like_netavark(9200, 9200)?;
    // A SYN-ACK without an answer would be repeated, and seen once the guard is on.
    lab.ct.sysctl("net/ipv4/tcp_synack_retries", "0")?;
    let container = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:9200", "container")?;
    // The rule sends a SYN from a fresh interface on to the container.
    expect_answer_unguarded(lab)?;
    Ok(container)
}

fn eye(lab: &Lab) -> Result<Wire> {
    Wire::open(&lab.lan, "eth0")
}

/// SYNs from the far end, from the first moment on.
fn attack(plug: &Plug<'_>, number: usize) -> Result<Barrage> {
    let mut ports = PORTS.skip(number * 300).take(300).cycle();
    Ok(Barrage::start(
        plug.far()?,
        1,
        Duration::from_micros(100),
        move || {
            let source = ports.next().unwrap_or(PORTS.start);
            Plug::frame(Probe {
                source,
                ..Probe::between(Plug::ENDS, PORT)
            })
        },
    ))
}

/// Measures the window, and insists that the window closes.
fn window(rig: &Rig<'_>) -> Result<()> {
    let lab = rig.lab;
    let _container = container(lab)?;
    let _run = rig.enforcer.run(&[])?;
    let eye = SynAckWatch::on(eye(lab)?, &[PORT.1]);
    let (mut took, mut passed) = (Vec::new(), Vec::new());
    for number in 1..=TRIES {
        let before = eye.seen();
        let plug = Plug::new(lab)?;
        let attack = attack(&plug, number)?;
        let start = plug.up()?;
        within(SETTLE, "a wire guard", || plug.is_guarded())?;
        took.push(start.elapsed());
        // A SYN-ACK from before may still be on its way to the watcher.
        std::thread::sleep(Duration::from_millis(100));
        let until_then = eye.seen();
        passed.push(until_then - before);
        attack.go_on_for(200)?;
        attack.stop()?;
        drop(plug);
        std::thread::sleep(Duration::from_millis(100));
        ensure!(
            eye.seen() == until_then,
            "in try {number}, {} packets came to the container after the guard was on",
            eye.seen() - until_then
        );
    }
    passed.sort_unstable();
    figure(
        "the_window_of_a_hot_plug",
        &format!(
            "{TRIES} interfaces, guarded after {}; {} SYNs for a DNATed container passed before \
             that in the median, {} at most",
            spread(took),
            passed[passed.len() / 2],
            passed.last().copied().unwrap_or_default()
        ),
    );
    Ok(())
}

/// The command of the udev rule, with this lab's pins and an interface's index.
fn rule(lab: &Lab, index: u32) -> Result<Command> {
    let rules = include_str!("../../../../xtask/files/90-enforcer.rules");
    let start = rules.split_once("PROGRAM==\"/bin/sh -c '");
    let script = start.and_then(|(_, rest)| rest.split_once("'\""));
    let (script, _) = script.context("no PROGRAM in the rules")?;
    // As udev(7) does.
    let script = script
        .replace("/sys/fs/bpf/enforcer", &lab.pin_dir().to_string_lossy())
        .replace("$env{IFINDEX}", &index.to_string())
        .replace("$$", "$");
    let mut command = lab.host.command("sh");
    command.args(["-c", &script]);
    Ok(command)
}

/// An interface that stays down until the rule has ended is guarded from the first packet. The
/// operator's word stands for the device behind a NIC.
fn no_window(rig: &Rig<'_>) -> Result<()> {
    let lab = rig.lab;
    let outside = format!("{REGISTRY}\n[interfaces.{NEAR}]\nside = \"outside\"\n");
    rig.enforcer.registry(&outside)?;
    let _container = container(lab)?;
    let waited = |index| -> Result<Duration> {
        let start = Instant::now();
        finish(rule(lab, index)?, "")?.ok()?;
        Ok(start.elapsed())
    };
    // Nothing is pinned: no interface is held back.
    let without = waited(u32::MAX)?;
    let _run = rig.enforcer.run(&[])?;
    let in_vain = waited(u32::MAX)?;
    ensure!(
        in_vain >= IN_VAIN && without < IN_VAIN,
        "the rule waits {in_vain:?} for a guard, and {without:?} where nothing is pinned"
    );
    let eye = SynAckWatch::on(eye(lab)?, &[PORT.1]);
    let mut took = Vec::new();
    for number in 1..=TRIES {
        let plug = Plug::new(lab)?;
        let attack = attack(&plug, number)?;
        took.push(waited(plug.index)?);
        ensure!(plug.has_early_guard(), "no guard in try {number}");
        plug.up()?;
        attack.go_on_for(100)?;
        within(SETTLE, "the guard of an interface that is up", || {
            plug.is_guarded()
        })?;
        within(SETTLE, "the end of the early one", || {
            Ok(!plug.has_early_guard())
        })?;
        attack.go_on_for(100)?;
        attack.stop()?;
        // An interface that goes down again keeps its guard.
        lab.host.ip(&format!("link set {NEAR} down"))?;
        look_again(lab)?;
        ensure!(plug.is_guarded()?, "the guard went with IFF_UP");
    }
    let passed = eye.close()?;
    figure(
        "no_window_behind_the_udev_rule",
        &format!(
            "{TRIES} interfaces, held back for {}; {passed} SYNs for a DNATed container passed; \
             held back in vain for {in_vain:.1?}, without pins for {without:.1?}",
            spread(took)
        ),
    );
    ensure!(passed == 0, "{passed} packets passed before any guard");
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UntrustedInterface, PORT, 1000)
}
