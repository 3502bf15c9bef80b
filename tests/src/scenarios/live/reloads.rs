//! A thousand policies in turns, under a flood and beside allowed requests.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use enforcer_ebpf::{Guard, Verdict};

use crate::lab::enforcer::{Counters, REGISTRY, SETTLE};
use crate::lab::topology::{HOST_LAN, HOST_WG, PEER};
use crate::lab::wire::Wire;
use crate::lab::{Ask, Netns, Patience, Port, Server, Transport};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};
use crate::scenarios::lifecycle::flooded_service;
use crate::scenarios::raw_packet::Probe;
use crate::scenarios::runner::answered;

use super::timing::{figure, within};
use super::traffic::{Barrage, PORTS, Requests, SynAckWatch};

/// Closed under both policies.
static FORBIDDEN: [u16; 3] = [9200, 3000, 6379];
/// Open under both: to everybody, and to the collector.
const ALLOWED: [u16; 2] = [8080, 9100];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::a_thousand_reloads_under_a_flood", |rig| {
            thousand(rig, 1000)
        })
        .host_only(LOADER),
    ]
}

/// Under the other policy every service, peer and slot has another number.
fn other() -> String {
    let mut text = String::new();
    for number in 0..20 {
        text += &format!(
            "[services.aaa-{number}]\nports = [{}]\nallow = [\"aaa\"]\n",
            15_000 + number
        );
    }
    let without = REGISTRY
        .replace("[services.redis]", "[services.cache]")
        .replace(
            "addresses = [\"10.10.0.5/32\"",
            "addresses = [\"10.10.0.64/26\", \"10.10.0.5/32\"",
        );
    text + "[peers.aaa]\ninterface = \"eth0\"\naddresses = [\"192.168.77.0/28\"]\n" + &without
}

fn thousand(rig: &Rig<'_>, switches: usize) -> Result<()> {
    let host = &rig.lab.host;
    let _search = flooded_service(rig)?;
    let serve =
        |port: u16, token| Server::start(host, Transport::Tcp, &format!("0.0.0.0:{port}"), token);
    let shut = [serve(3000, "grafana")?, serve(6379, "redis")?];
    let _open = [serve(8080, "traefik")?, serve(9100, "metrics")?];
    for port in FORBIDDEN {
        let ask = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:{port}"));
        answered(ask.ask(&rig.lab.lan, Patience::Long)?).context("unguarded")?;
    }
    let accepted_before: usize = shut.iter().map(Server::accepted).sum();

    let _run = rig.enforcer.run(&[])?;
    let eye = SynAckWatch::on(Wire::open(&rig.lab.lan, "eth0")?, &FORBIDDEN);
    let flood = flood(&rig.lab.lan)?;
    let allowed = allowed_requests(rig)?;

    let (first, start) = (rig.enforcer.status()?.1.generation, Instant::now());
    let by_edits = switch(rig, switches)?;
    let took = start.elapsed();
    let generations = rig.enforcer.status()?.1.generation - first;

    flood.go_on_for(100)?;
    let sent = flood.stop()?;
    let asked = allowed
        .into_iter()
        .map(|(what, requests)| requests.stop().context(what))
        .collect::<Result<Vec<_>>>()?;
    let accepted = eye.close()?;
    let counters = rig.enforcer.counters()?;
    figure(
        "a_thousand_reloads_under_a_flood",
        &format!(
            "{switches} switches ({by_edits} by edits) and {generations} generations in {took:.0?}; \
             {sent} SYNs to closed ports, {accepted} accepted; {asked:?} requests to open ones \
             (public, peer, local), all answered; {} drops at open ports",
            drops_at(&counters, &ALLOWED)
        ),
    );
    ensure!(accepted == 0, "{accepted} SYNs were accepted");
    let now: usize = shut.iter().map(Server::accepted).sum();
    ensure!(
        now == accepted_before,
        "a closed port accepted a connection"
    );
    ensure!(
        generations >= u64::try_from(switches)?,
        "{switches} switches made {generations} generations"
    );
    expect_traffic(&counters, switches, &asked)
}

/// SYNs to the closed ports in turns.
fn flood(from: &Netns) -> Result<Barrage> {
    let (mut ports, mut targets) = (PORTS.cycle(), FORBIDDEN.into_iter().cycle());
    Ok(Barrage::start(
        Wire::open(from, "eth0")?,
        10,
        Duration::from_millis(5),
        move || {
            let source = ports.next().unwrap_or(PORTS.start);
            let probe = Probe::v4(Port("tcp", targets.next().unwrap_or(FORBIDDEN[0])));
            Probe { source, ..probe }.frame()
        },
    ))
}

/// Requests that both policies allow, by their destination.
fn allowed_requests(rig: &Rig<'_>) -> Result<[(&'static str, Requests); 3]> {
    let lab = rig.lab;
    let public = requests(&lab.lan, "0.0.0.0:0", &format!("{HOST_LAN}:8080"))?;
    let peer = requests(&lab.peer, &format!("{PEER}:0"), &format!("{HOST_WG}:9100"))?;
    let local = requests(&lab.host, "127.0.0.1:0", "127.0.0.1:9200")?;
    Ok([
        ("the public port", public),
        ("the allowed peer", peer),
        ("the host itself", local),
    ])
}

/// Insists on no drop at an open port, and on both kinds of traffic.
fn expect_traffic(counters: &Counters, switches: usize, asked: &[u64]) -> Result<()> {
    let refused = drops_at(counters, &ALLOWED);
    ensure!(refused == 0, "an open port refused something:\n{counters}");
    // The control: both kinds of traffic were there, and in numbers.
    let dropped = drops_at(counters, &FORBIDDEN);
    ensure!(
        dropped >= u64::try_from(switches)? && asked.iter().all(|&asked| asked >= 20),
        "too little came: {dropped} drops, {asked:?} requests\n{counters}"
    );
    Ok(())
}

/// Request after request; TCP would repeat a dropped SYN, so the drops are counted.
fn requests(namespace: &Netns, from: &str, to: &str) -> Result<Requests> {
    let namespace = namespace.share()?;
    let ask = Ask::new(Transport::Tcp, to).from(from);
    let to = to.to_owned();
    Ok(Requests::start(Duration::from_millis(10), move || {
        answered(ask.ask(&namespace, Patience::Long)?).with_context(|| to.clone())
    }))
}

/// Replaces one policy with the other: nine times of ten by command, else by the file alone.
/// Returns the number of switches by the file alone.
fn switch(rig: &Rig<'_>, switches: usize) -> Result<usize> {
    let policies = [other(), REGISTRY.to_owned()];
    let mut by_edits = 0;
    for (number, policy) in (1..=switches).zip(policies.iter().cycle()) {
        replace(rig, policy)?;
        if number % 10 == 0 {
            by_edits += 1;
            let services = policy.matches("[services.").count();
            within(SETTLE, "an edit in force", || {
                let (_, status) = rig.enforcer.status()?;
                Ok(status.services == u64::try_from(services)?)
            })
            .with_context(|| format!("switch {number}:\n{}", rig.enforcer.run_log()))?;
        } else {
            let finished = rig.enforcer.call(&["reload"])?;
            if finished.code != Some(0) {
                bail!("switch {number}: {finished}");
            }
        }
    }
    Ok(by_edits)
}

/// Replaces the file by rename, as an editor does: a reader meanwhile reads the old text or the
/// new.
fn replace(rig: &Rig<'_>, text: &str) -> Result<()> {
    let path = rig.enforcer.config_path()?;
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path).context("failed to replace the registry")
}

/// Drops of both guards at these ports.
fn drops_at(counters: &Counters, ports: &[u16]) -> u64 {
    let at = |port: Option<u16>| port.is_some_and(|port| ports.contains(&port));
    let rows = counters.0.iter().filter(|row| at(row.port));
    rows.filter(|row| row.verdict == Verdict::Drop.name() && row.protocol.as_deref() == Some("tcp"))
        .filter(|row| Guard::ALL.iter().any(|guard| guard.name() == row.guard))
        .map(|row| row.packets)
        .sum()
}
