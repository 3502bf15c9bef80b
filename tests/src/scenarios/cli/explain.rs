//! `explain`: the table, and the lines of the registry.

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::Reason;

use crate::lab::command::finish;
use crate::lab::enforcer::REGISTRY;
use crate::lab::report::Explanation;
use crate::lab::{Enforcer, Guards};

use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    let named = |name: &str, body: fn(&Rig<'_>) -> Result<()>| {
        Scenario::new(format!("explain::{name}"), body)
    };
    vec![
        named("follows_the_table::under_the_policy_in_force", |rig| {
            rig.enforcer.up(Guards::Both)?;
            explain(rig)
        }),
        named("follows_the_table::under_the_registry", explain),
        named("answers_from_the_policy_in_force", explain_in_force),
        named("cites_the_lines_that_decided", cites),
    ]
}

/// A packet, and the decision table's answer.
struct Case {
    packet: &'static str,
    verdict: &'static str,
    reason: Reason,
    service: Option<&'static str>,
    peer: Option<&'static str>,
    rule: u32,
}

const fn case(
    packet: &'static str,
    reason: Reason,
    service: Option<&'static str>,
    peer: Option<&'static str>,
    rule: u32,
) -> Case {
    Case {
        packet,
        verdict: reason.verdict().name(),
        reason,
        service,
        peer,
        rule,
    }
}

const ES: Option<&str> = Some("elasticsearch");
const METRICS: Option<&str> = Some("metrics");

const CASES: [Case; 13] = [
    case("lo 127.0.0.1 9200", Reason::Loopback, ES, None, 1),
    case("lo ::1 9200", Reason::Loopback, ES, None, 1),
    case(
        "eth0 192.168.77.2 8888",
        Reason::Unregistered,
        None,
        None,
        6,
    ),
    case(
        "eth0 192.168.77.2 9200 --protocol udp",
        Reason::Unregistered,
        None,
        None,
        6,
    ),
    case(
        "eth0 192.168.77.2 8443",
        Reason::Public,
        Some("traefik"),
        None,
        7,
    ),
    case(
        "wg0 10.10.0.5 9100",
        Reason::Peer,
        METRICS,
        Some("collector"),
        8,
    ),
    case(
        "wg0 fd00:10::5 9100",
        Reason::Peer,
        METRICS,
        Some("collector"),
        8,
    ),
    case(
        "wg0 10.10.0.5 9100 --protocol udp",
        Reason::Peer,
        METRICS,
        Some("collector"),
        8,
    ),
    case("wg0 10.10.0.99 9100", Reason::UnknownPeer, METRICS, None, 9),
    case(
        "wg0 ::ffff:10.10.0.5 9100",
        Reason::UnknownPeer,
        METRICS,
        None,
        9,
    ),
    case(
        "eth0 10.10.0.5 9100",
        Reason::UntrustedInterface,
        METRICS,
        None,
        10,
    ),
    case(
        "wg0 10.10.0.5 9200",
        Reason::UntrustedInterface,
        ES,
        None,
        10,
    ),
    case(
        "eth0 192.168.77.2 9200 --destination 8.8.8.8",
        Reason::UntrustedInterface,
        ES,
        None,
        10,
    ),
];

fn explain(rig: &Rig<'_>) -> Result<()> {
    for case in &CASES {
        let seen = explained(rig, case.packet)?;
        let expected = (
            case.verdict,
            case.reason.name(),
            case.service,
            case.peer,
            case.rule,
        );
        let got = (
            &*seen.verdict,
            &*seen.reason,
            seen.service.as_deref(),
            seen.peer.as_deref(),
            seen.rule,
        );
        ensure!(
            seen.schema == 1 && got == expected,
            "{}: expected {expected:?}, but saw {got:?}",
            case.packet
        );
    }
    // Rule 2 decides before the port is looked at, so the service is left open here.
    for packet in [
        "eth0 192.168.77.2 9200 --destination 127.0.0.1",
        "eth0 127.0.0.1 8888 --destination 192.168.77.1",
    ] {
        let seen = explained(rig, packet)?;
        ensure!(
            (&*seen.verdict, &*seen.reason, seen.rule) == ("drop", "loopback-address", 2),
            "{packet}: {seen:?}"
        );
    }
    Ok(())
}

pub(super) fn explained(rig: &Rig<'_>, packet: &str) -> Result<Explanation> {
    let words: Vec<&str> = packet.split(' ').collect();
    let [interface, source, port, more @ ..] = &words[..] else {
        anyhow::bail!("`{packet}` is no packet");
    };
    let packet = ["--interface", interface, "--source", source, "--port", port];
    rig.enforcer.explain(&[&packet[..], more].concat())
}

fn explain_in_force(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    // The file differs now, but no reload has followed.
    rig.enforcer.registry("[services.nothing]\nports = [1]\n")?;
    let seen = explained(rig, "eth0 192.168.77.2 9200")?;
    ensure!(
        seen.verdict == "drop" && seen.service.as_deref() == ES,
        "{seen:?}"
    );
    rig.enforcer.down()?;
    let seen = explained(rig, "eth0 192.168.77.2 9200")?;
    ensure!(
        seen.reason == "unregistered",
        "with nothing pinned: {seen:?}"
    );
    Ok(())
}

/// The number of the line with a text in the lab's registry.
fn line_of(text: &str, within: &str) -> Result<u64> {
    let index = text.lines().position(|line| line.contains(within));
    let index = index.with_context(|| format!("no line says {within}"))?;
    Ok(u64::try_from(index)? + 1)
}

pub(super) const NEIGHBOUR: [&str; 6] = [
    "--interface",
    "eth0",
    "--source",
    "192.168.77.2",
    "--port",
    "9200",
];

fn cites(rig: &Rig<'_>) -> Result<()> {
    cites_each_rule(rig).context("with nothing pinned")?;
    rig.enforcer.up(Guards::Both)?;
    cites_each_rule(rig).context("of the policy in force")?;
    cites_no_changed_file(rig)?;
    cites_a_moved_line(rig)
}

fn cites_each_rule(rig: &Rig<'_>) -> Result<()> {
    expect_cited(
        rig,
        "eth0 192.168.77.2 9200",
        &[("ports = [9200]", "port 9200 of elasticsearch")],
    )?;
    expect_cited(
        rig,
        "wg0 10.10.0.5 9100",
        &[
            ("allow = [", "allow of metrics"),
            ("[peers.collector]", "peer collector"),
        ],
    )?;
    expect_cited(
        rig,
        "wg0 10.10.0.99 9100",
        &[
            ("ports = [9100]", "port 9100 of metrics"),
            ("allow = [", "allow of metrics"),
        ],
    )?;
    expect_cited(
        rig,
        "eth0 192.168.77.2 8443",
        &[("public = true", "public of traefik")],
    )?;
    expect_cited(rig, "eth0 192.168.77.2 22", &[])
}

/// Insists on the lines cited for a packet: each line's text, and the words for the line.
fn expect_cited(rig: &Rig<'_>, packet: &str, lines: &[(&str, &str)]) -> Result<()> {
    let file = rig.enforcer.config_path()?.display().to_string();
    let seen = explained(rig, packet)?;
    let found = seen.r#where.clone().unwrap_or_default();
    let found: Vec<_> = found
        .iter()
        .map(|line| (line.file.as_str(), line.line, line.what.as_str()))
        .collect();
    let mut expected = Vec::new();
    for (within, what) in lines {
        expected.push((file.as_str(), line_of(REGISTRY, within)?, *what));
    }
    ensure!(found == expected, "{packet}: {seen:?}");
    Ok(())
}

/// The registry of the lab, each line further down by one.
fn moved() -> String {
    format!("# One line more.\n{REGISTRY}")
}

/// The file differs now; the policy in force does not come from there.
fn cites_no_changed_file(rig: &Rig<'_>) -> Result<()> {
    let file = rig.enforcer.config_path()?.display().to_string();
    for text in [&*moved(), "[services.torn"] {
        rig.enforcer.registry(text)?;
        let seen = explained(rig, "eth0 192.168.77.2 9200")?;
        ensure!(seen.verdict == "drop" && seen.r#where.is_none(), "{seen:?}");
        let said = rig
            .enforcer
            .expect(&[&["explain"][..], &NEIGHBOUR].concat(), 0)?;
        ensure!(
            said.stdout.contains(&file) && said.stdout.contains("has changed"),
            "{said}"
        );
    }
    Ok(())
}

fn cites_a_moved_line(rig: &Rig<'_>) -> Result<()> {
    let file = rig.enforcer.config_path()?.display().to_string();
    rig.enforcer.registry(&moved())?;
    rig.enforcer.reload()?;
    let line = line_of(REGISTRY, "ports = [9200]")? + 1;
    let said = rig
        .enforcer
        .expect(&[&["explain"][..], &NEIGHBOUR].concat(), 0)?;
    ensure!(
        said.stdout
            .contains(&format!("by {file}:{line} (port 9200 of elasticsearch)")),
        "{said}"
    );
    // Named relative to its own folder, and found again from here.
    let default = Enforcer::with_default_registry(rig.enforcer.binary(), rig.lab);
    let mut command = default.command(&["reload", "--config", "enforcer.toml"])?;
    command.current_dir(rig.lab.scratch());
    let said = finish(command, "")?;
    ensure!(said.code == Some(0), "{said}");
    let seen = default.explain(&NEIGHBOUR)?;
    let found = seen.r#where.as_deref().unwrap_or_default();
    ensure!(
        found.len() == 1 && found[0].file == file && found[0].line == line,
        "{seen:?}"
    );
    Ok(())
}
