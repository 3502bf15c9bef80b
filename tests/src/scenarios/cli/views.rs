//! The output of the reading commands, field by field.

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason, Verdict};

use crate::lab::enforcer::REGISTRY;
use crate::lab::kernel::software_hook;
use crate::lab::{Guards, Patience};

use super::super::runner::unanswered;
use super::policy::BAD;
use super::service::{ELASTICSEARCH, from_lan, serve};
use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("status::says_what_guards_what", status),
        Scenario::new("counters::rows_and_filters", counters).host_only(COMMAND_LINE),
        Scenario::new("check::good_and_bad", check).host_only(COMMAND_LINE),
        Scenario::new("human_output::plain_when_piped", human).host_only(COMMAND_LINE),
    ]
}

fn status(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    let (code, status) = rig.enforcer.status()?;
    let seen = format!("{status:#?}");
    ensure!(
        code == Some(0) && status.schema == 1 && status.state == "enforcing",
        "{seen}"
    );
    ensure!(
        status.services == u64::try_from(REGISTRY.matches("[services.").count())?,
        "{seen}"
    );
    // Ten services on one or two numbers; metrics counts once for TCP and once for UDP.
    ensure!(status.registered_ports == 15, "expected 15 ports: {seen}");
    ensure!(
        status.guards.len() == 3,
        "expected guards on eth0, wg0 and sockets: {seen}"
    );
    for interface in ["eth0", "wg0"] {
        let index = rig.lab.host.ifindex(interface)?;
        let line = status
            .guards
            .iter()
            .find(|line| line.interface.as_deref() == Some(interface))
            .with_context(|| format!("no guard on {interface}: {seen}"))?;
        // veth is a software device: tcx at the head (kernel 6.6 and newer).
        ensure!(
            line.guard == "wire" && line.hook == software_hook() && line.ifindex == Some(index),
            "{seen}"
        );
        ensure!(line.peers == u64::from(interface == "wg0"), "{seen}");
    }
    let socket = status.guards.iter().find(|line| line.guard == "socket");
    let socket = socket.with_context(|| format!("no socket guard: {seen}"))?;
    ensure!(
        socket.hook == "cgroup_skb" && socket.interface.is_none() && socket.ifindex.is_none(),
        "{seen}"
    );
    ensure!(
        status.uncovered.is_empty() && status.bypassed.is_empty(),
        "{seen}"
    );
    let peers: Vec<_> = status
        .peers
        .iter()
        .map(|peer| (&*peer.name, &*peer.state))
        .collect();
    ensure!(peers == [("collector", "active")], "{seen}");
    Ok(())
}

fn counters(rig: &Rig<'_>) -> Result<()> {
    let (_one, _two) = (serve(rig, 9200)?, serve(rig, 8065)?);
    rig.enforcer.up(Guards::Both)?;
    ensure!(
        rig.enforcer.counters()?.0.is_empty(),
        "fresh counters have rows"
    );
    for port in [9200, 8065] {
        unanswered(from_lan(rig, port, Patience::Brief)?)?;
    }
    let reason = Reason::UntrustedInterface;
    rig.enforcer
        .expect_counted(Guard::Wire, reason, ELASTICSEARCH, 1)?;
    let all = rig.enforcer.counters()?;
    ensure!(
        all.total(Guard::Socket, Verdict::Drop) == 0,
        "the wire held it:\n{all}"
    );
    for row in &all.0 {
        ensure!(
            row.packets > 0 && row.bytes >= 40 * row.packets && !row.audited,
            "an odd row: {row:?}"
        );
    }
    for (filter, service) in [
        (["--service", "elasticsearch"], "elasticsearch"),
        (["--port", "8065"], "mattermost"),
    ] {
        let rows = rows(rig, &filter)?;
        ensure!(
            !rows.is_empty()
                && rows
                    .iter()
                    .all(|row| row.service.as_deref() == Some(service)),
            "{filter:?} shows {rows:?}"
        );
    }
    let every = rows(rig, &["--all"])?;
    for service in [
        "elasticsearch",
        "redis",
        "minio",
        "traefik",
        "statsd",
        "diameter",
    ] {
        ensure!(
            every
                .iter()
                .any(|row| row.service.as_deref() == Some(service)),
            "--all does not show {service}: {every:?}"
        );
    }
    ensure!(
        every.iter().any(|row| row.packets == 0),
        "--all shows no zero rows"
    );
    Ok(())
}

fn rows(rig: &Rig<'_>, filter: &[&str]) -> Result<Vec<crate::lab::report::Counter>> {
    let finished = rig
        .enforcer
        .expect(&[&["counters", "--json"], filter].concat(), 0)?;
    serde_json::from_str(&finished.stdout).with_context(|| format!("{finished}"))
}

fn check(rig: &Rig<'_>) -> Result<()> {
    let (code, checked) = rig.enforcer.check()?;
    ensure!(code == Some(0) && checked.errors.is_empty(), "{checked:?}");
    rig.enforcer.registry(
        "[services.dhcp]\nports = [68]\nprotocol = \"udp\"\n\
         [services.high]\nports = [40000]\n",
    )?;
    let (code, checked) = rig.enforcer.check()?;
    ensure!(
        code == Some(0) && checked.errors.is_empty() && checked.warnings.len() >= 2,
        "expected warnings of udp 68 and of a port in the ephemeral range: {checked:?}"
    );
    for (what, text, line) in BAD {
        rig.enforcer.registry(text)?;
        let (code, checked) = rig.enforcer.check()?;
        ensure!(
            code == Some(2),
            "{what}: expected 2, but saw {code:?} and {checked:?}"
        );
        let first = checked
            .errors
            .first()
            .with_context(|| format!("{what}: no error"))?;
        let file = rig.enforcer.config_path()?.display().to_string();
        ensure!(first.file == file, "{what}: {first:?}");
        ensure!(
            line == 0 || (first.line == Some(line) && first.column.is_some_and(|at| at > 0)),
            "{what}: expected line {line}, but saw {first:?}"
        );
        ensure!(!first.message.is_empty(), "{what}: {first:?}");
    }
    Ok(())
}

fn human(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 9200)?;
    rig.enforcer.up(Guards::Both)?;
    unanswered(from_lan(rig, 9200, Patience::Brief)?)?;
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UntrustedInterface, ELASTICSEARCH, 1)?;
    let packet = [
        "--interface",
        "eth0",
        "--source",
        "192.168.77.2",
        "--port",
        "9200",
    ];
    for (arguments, words) in [
        (&["status"][..], &["eth0", "wg0", software_hook()][..]),
        (
            &["counters"],
            &["elasticsearch", "9200", "untrusted-interface"],
        ),
        (
            &[&["explain"][..], &packet].concat(),
            &["drop", "untrusted-interface", "elasticsearch"],
        ),
        (&["check"], &[]),
    ] {
        let said = rig.enforcer.expect(arguments, 0)?;
        ensure!(!said.stdout.contains('\u{1b}'), "colour in a pipe: {said}");
        for word in words {
            ensure!(said.stdout.contains(word), "expected `{word}` in {said}");
        }
    }
    Ok(())
}
