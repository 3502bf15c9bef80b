//! `events`: drops are reported, and a flood neither drowns nor slows the followers.

mod crowd;
mod follower;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};
use rustix::process::Signal;

use crate::lab::command::{eventually, finish};
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::frames::Ends;
use crate::lab::netns::Netns;
use crate::lab::report::Event;
use crate::lab::topology::{CT, GHOST, GHOST6, HOST_LAN, HOST_LAN6, HOST_WG};
use crate::lab::wire::Wire;
use crate::lab::{Feature, Guards, Port, Server, Transport};

pub(super) use follower::Follower;

use super::lifecycle::PORT;
use super::raw_packet::Probe;
use crate::scenario::host_only::{COMMAND_LINE, LOADER};
use crate::scenario::{Rig, Scenario};
use follower::shoot_until_told;

const STATSD: Port<'static> = Port("udp", 8125);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("events::tell_who_was_dropped", |rig| {
            tell(rig, "untrusted-interface", false)
        }),
        Scenario::new("events::tell_what_audit_lets_pass", |rig| {
            rig.enforcer
                .registry(&format!("mode = \"audit\"\n{REGISTRY}"))?;
            tell(rig, "untrusted-interface", true)
        })
        .host_only(COMMAND_LINE),
        Scenario::new("events::of_the_socket_guard", of_the_socket_guard)
            .needs(Feature::CookieAtSockets),
        Scenario::new(
            "events::name_the_service_at_the_address",
            service_at_address,
        ),
        Scenario::new("events::come_without_run_too", without_run),
        Scenario::new("events::go_on_when_run_is_killed", run_is_killed),
        Scenario::new("events::go_on_with_the_next_run", next_run).host_only(COMMAND_LINE),
        Scenario::new("events::two_follow_one_run", two_followers).host_only(COMMAND_LINE),
        Scenario::new("events::one_reads_alone", one_reads_alone).host_only(COMMAND_LINE),
        Scenario::new("events::of_a_flood_are_few_and_lose_none", flood).host_only(COMMAND_LINE),
        Scenario::new("events::a_33rd_follower_is_told_so", crowd::one_too_many)
            .host_only(COMMAND_LINE),
        Scenario::new(
            "events::a_thousand_that_do_not_read",
            crowd::a_thousand_that_do_not_read,
        )
        .host_only(LOADER),
        Scenario::new(
            "events::a_run_without_descriptors_serves_later",
            crowd::out_of_descriptors,
        )
        .host_only(LOADER),
        Scenario::new("events::say_when_nothing_is_pinned", |rig| {
            let finished = rig.enforcer.expect(&["events"], 4)?;
            ensure!(finished.stderr.contains("enforcer up"), "{finished}");
            Ok(())
        })
        .host_only(COMMAND_LINE),
    ]
}

/// A probe by IPv4 and another by IPv6, each reported with everything that the design promises.
fn tell(rig: &Rig<'_>, reason: &str, audited: bool) -> Result<()> {
    let _run = rig.enforcer.run(&[])?;
    let follower = Follower::start(rig, "events")?;
    expect_told(rig, &follower, Guard::Wire, reason, audited)
}

/// The socket guard stands alone here: behind a wire guard there is little left to drop.
fn of_the_socket_guard(rig: &Rig<'_>) -> Result<()> {
    // Nothing is judged there without a socket.
    let serve = |address| Server::start(&rig.lab.host, Transport::Tcp, address, "service");
    let _servers = [serve("0.0.0.0:6379")?, serve("[::]:9200")?];
    rig.enforcer.up(Guards::Socket)?;
    let follower = Follower::start(rig, "events")?;
    let reason = Reason::UntrustedInterface.name();
    expect_told(rig, &follower, Guard::Socket, reason, false)
}

fn expect_told(
    rig: &Rig<'_>,
    follower: &Follower,
    guard: Guard,
    reason: &str,
    audited: bool,
) -> Result<()> {
    let wire = Wire::open(&rig.lab.lan, "eth0")?;
    let ends = [
        (Probe::v4(PORT), GHOST.to_string(), HOST_LAN.to_string()),
        (Probe::v6(PORT), GHOST6.to_string(), HOST_LAN6.to_string()),
    ];
    for (probe, source, destination) in ends {
        wire.send(&probe.frame())?;
        let event = follower.expect(PORT, probe.source)?;
        let expected = Event {
            time: event.time.clone(),
            guard: Some(guard.name().into()),
            verdict: Some("drop".into()),
            reason: Some(reason.into()),
            audited: Some(audited),
            interface: Some("eth0".into()),
            ifindex: Some(rig.lab.host.ifindex("eth0")?),
            source: Some(source),
            source_port: Some(probe.source),
            destination: Some(destination),
            port: Some(PORT.1),
            protocol: Some("tcp".into()),
            service: Some("elasticsearch".into()),
            merged: 0,
        };
        ensure!(event == expected, "{event:?}, and not {expected:?}");
        ensure!(
            is_rfc_3339(&event.time),
            "no time of RFC 3339: {}",
            event.time
        );
    }
    Ok(())
}

/// Packets that the host's end of the LAN lost before any guard: the queue was full
/// (enqueue_to_backlog in net/core/dev.c counts them as the device's).
fn lost_before_guards(host: &Netns) -> Result<u64> {
    let mut command = host.command("ip");
    command.args(["-json", "-statistics", "link", "show", "dev", "eth0"]);
    let links: serde_json::Value = serde_json::from_str(&finish(command, "")?.ok()?)?;
    let dropped = &links[0]["stats64"]["rx"]["dropped"];
    dropped.as_u64().context("no statistics of eth0")
}

/// `2026-11-24T18:00:00.123456789Z`, roughly.
fn is_rfc_3339(time: &str) -> bool {
    time.len() >= 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T'
}

/// Two services share a port at two addresses; a container network has no service.
fn service_at_address(rig: &Rig<'_>) -> Result<()> {
    let services = "[services.first]\nports = [9500]\non = [\"10.10.0.2\"]\n\
                    [services.second]\nports = [9500]\non = [\"192.168.77.1\"]\n";
    rig.enforcer.registry(&format!("{REGISTRY}\n{services}"))?;
    rig.enforcer.up(Guards::Both)?;
    let follower = Follower::start(rig, "events")?;
    let wire = Wire::open(&rig.lab.lan, "eth0")?;
    let port = Port("tcp", 9500);
    let to = |destination| Ends::V4(GHOST, destination);
    for (destination, service) in [
        (HOST_LAN, Some("second")),
        (HOST_WG, Some("first")),
        (CT, None),
    ] {
        let probe = Probe::between(to(destination), port);
        wire.send(&probe.frame())?;
        let event = follower.expect(port, probe.source)?;
        ensure!(
            event.service.as_deref() == service
                && event.destination.as_deref() == Some(&*destination.to_string()),
            "{event:?}, and not {service:?}"
        );
    }
    Ok(())
}

fn without_run(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    shoot_and_expect(rig, &Follower::start(rig, "events")?)
}

fn shoot_and_expect(rig: &Rig<'_>, follower: &Follower) -> Result<()> {
    let probe = Probe::v4(PORT);
    Wire::open(&rig.lab.lan, "eth0")?.send(&probe.frame())?;
    follower.expect(PORT, probe.source).map(drop)
}

fn run_is_killed(rig: &Rig<'_>) -> Result<()> {
    let mut run = rig.enforcer.run(&[])?;
    let follower = Follower::start(rig, "events")?;
    run.signal(Signal::KILL)?;
    run.expect_end(SETTLE)?;
    // The follower reads by itself now, after a moment.
    shoot_until_told(rig, PORT, &[&follower], 1).context("after `run` was killed")
}

/// systemd restarts a killed `run`; the followers do nothing about that.
fn next_run(rig: &Rig<'_>) -> Result<()> {
    let mut run = rig.enforcer.run(&[])?;
    let (mut one, mut two) = (Follower::start(rig, "one")?, Follower::start(rig, "two")?);
    for round in ["at once", "after one of them has read alone"] {
        run.signal(Signal::KILL)?;
        run.expect_end(SETTLE)?;
        if round != "at once" {
            shoot_until_told(rig, PORT, &[&one, &two], 1).context("without any `run`")?;
        }
        run = rig.enforcer.run(&[])?;
        // Two followers of a single reader would not both hear of the same drop.
        shoot_until_told(rig, PORT, &[&one, &two], 2)
            .with_context(|| format!("with a `run` that was started again {round}"))?;
        one.expect_alive()?;
        two.expect_alive()?;
    }
    Ok(())
}

fn two_followers(rig: &Rig<'_>) -> Result<()> {
    let _run = rig.enforcer.run(&[])?;
    let (one, two) = (Follower::start(rig, "one")?, Follower::start(rig, "two")?);
    let probe = Probe::v4(PORT);
    Wire::open(&rig.lab.lan, "eth0")?.send(&probe.frame())?;
    let (first, second) = (
        one.expect(PORT, probe.source)?,
        two.expect(PORT, probe.source)?,
    );
    ensure!(first == second, "{first:?} and {second:?}");
    // The first leaves, and the other notices nothing.
    drop(one);
    shoot_and_expect(rig, &two)
}

fn one_reads_alone(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    let first = Follower::start(rig, "one")?;
    let second = rig.enforcer.expect(&["events"], 1)?;
    ensure!(
        second.stderr.contains("another `enforcer events`"),
        "{second}"
    );
    shoot_and_expect(rig, &first)
}

/// A million datagrams: a bounded number of events, which account for every counted drop.
fn flood(rig: &Rig<'_>) -> Result<()> {
    const SENT: u64 = 1_000_000;
    // 32 events for each CPU and epoch, ten epochs a second, and a line more for the rest.
    const A_SECOND: u64 = 330;
    let _server = Server::start(&rig.lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
    let _run = rig.enforcer.run(&[])?;
    let follower = Follower::start(rig, "events")?;
    let before = follower.events()?.len();
    let reason = Reason::UntrustedInterface;
    let dropped =
        || -> Result<u64> { Ok(rig.enforcer.counters()?.count(Guard::Wire, reason, STATSD)) };
    let lost = || lost_before_guards(&rig.lab.host);
    let lost_before = lost()?;
    let frame = Probe::v4(STATSD).frame();
    let wire = Wire::open(&rig.lab.lan, "eth0")?;
    let begin = std::time::Instant::now();
    let mut sent = 0;
    for _ in 0..SENT {
        sent += wire.send_in_tries(&frame)?;
    }
    // Every datagram is dropped and counted, or was lost before the guard and is counted there.
    let accounted = eventually(SETTLE, || match (dropped(), lost()) {
        (Ok(dropped), Ok(lost)) => (dropped + lost - lost_before == sent).then_some(Ok(dropped)),
        (Err(error), _) | (_, Err(error)) => Some(Err(error)),
    });
    let took = begin.elapsed();
    let Some(dropped) = accounted.transpose()? else {
        let (dropped, lost) = (dropped()?, lost()? - lost_before);
        anyhow::bail!("{sent} were sent, {dropped} dropped and {lost} lost before the guard");
    };
    let told = |events: &[Event]| -> u64 {
        let own = |it: &&Event| it.reason.is_some();
        events.iter().map(|it| it.merged).sum::<u64>() + events.iter().filter(own).count() as u64
    };
    let mut events = Vec::new();
    let complete = eventually(SETTLE, || {
        events = follower.events().ok()?.split_off(before);
        // The last events from before the flood may come late.
        events.retain(|it| it.reason.is_none() || it.port == Some(STATSD.1));
        (told(&events) >= dropped).then_some(())
    });
    ensure!(
        complete.is_some() && told(&events) == dropped,
        "{} events stand for {} drops, and {dropped} were counted",
        events.len(),
        told(&events)
    );
    let cpus = std::thread::available_parallelism()?.get() as u64;
    let most = (took.as_secs() + 2) * A_SECOND * cpus;
    ensure!(
        (events.len() as u64) < most.min(SENT / 10),
        "{} events in {took:?}, and at most {most} were expected",
        events.len()
    );
    println!(
        "events of a flood: {sent} sent in {took:.1?}, {dropped} dropped, {} events",
        events.len()
    );
    Ok(())
}
