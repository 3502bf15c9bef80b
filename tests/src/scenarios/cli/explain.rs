//! `explain`: the table, the lines of the registry, and what the kernel says of the same packet.

use std::mem::offset_of;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use enforcer_ebpf::layout::{INTERFACE_ENTRIES, InterfaceEntry};
use enforcer_ebpf::{Guard, Reason};
use libtest_mimic::Trial;

use crate::lab::command::finish;
use crate::lab::enforcer::REGISTRY;
use crate::lab::kernel::software_hook;
use crate::lab::report::Explanation;
use crate::lab::{Enforcer, Guards, Patience};

use super::super::faults::faulty;
use super::super::runner::{Rig, expect_nothing_pinned, trial, unanswered};
use super::{ELASTICSEARCH, from_lan, serve};

pub(super) fn trials(binary: &Path) -> Vec<Trial> {
    let named = |name: &str, body: fn(&Rig<'_>) -> Result<()>| {
        trial(format!("explain::{name}"), binary, body)
    };
    vec![
        named("follows_the_table::under_the_policy_in_force", |rig| {
            rig.enforcer.up(Guards::Both)?;
            explain(rig)
        }),
        named("follows_the_table::under_the_registry", explain),
        named("answers_from_the_policy_in_force", explain_in_force),
        named("cites_the_lines_that_decided", cites),
        named("live::the_kernel_agrees_on_every_hook", live_agrees),
        named("live::leaves_no_trace", live_leaves_no_trace),
        named("live::says_what_it_cannot_run", live_cannot),
        named("live::says_when_the_kernel_disagrees", live_disagrees),
    ]
}

/// Trials with the build that has failpoints.
pub(in crate::scenarios) fn faulty_trials(binary: &Path) -> Vec<Trial> {
    vec![trial(
        "faults::explain_live_leaves_nothing_behind",
        binary,
        live_cut_short,
    )]
}

/// A packet, and what the decision table says of it.
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
        3,
    ),
    case(
        "eth0 192.168.77.2 9200 --protocol udp",
        Reason::Unregistered,
        None,
        None,
        3,
    ),
    case(
        "eth0 192.168.77.2 8443",
        Reason::Public,
        Some("traefik"),
        None,
        5,
    ),
    case(
        "wg0 10.10.0.5 9100",
        Reason::Peer,
        METRICS,
        Some("collector"),
        6,
    ),
    case(
        "wg0 fd00:10::5 9100",
        Reason::Peer,
        METRICS,
        Some("collector"),
        6,
    ),
    case(
        "wg0 10.10.0.5 9100 --protocol udp",
        Reason::Peer,
        METRICS,
        Some("collector"),
        6,
    ),
    case("wg0 10.10.0.99 9100", Reason::UnknownPeer, METRICS, None, 7),
    case(
        "wg0 ::ffff:10.10.0.5 9100",
        Reason::UnknownPeer,
        METRICS,
        None,
        7,
    ),
    case(
        "eth0 10.10.0.5 9100",
        Reason::UntrustedInterface,
        METRICS,
        None,
        8,
    ),
    case(
        "wg0 10.10.0.5 9200",
        Reason::UntrustedInterface,
        ES,
        None,
        8,
    ),
    case(
        "eth0 192.168.77.2 9200 --destination 8.8.8.8",
        Reason::UntrustedInterface,
        ES,
        None,
        8,
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
    // Rule 2 comes before the port is looked at, so the service is left open here.
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

fn explained(rig: &Rig<'_>, packet: &str) -> Result<Explanation> {
    let words: Vec<&str> = packet.split(' ').collect();
    let [interface, source, port, more @ ..] = &words[..] else {
        anyhow::bail!("`{packet}` is no packet");
    };
    let packet = ["--interface", interface, "--source", source, "--port", port];
    rig.enforcer.explain(&[&packet[..], more].concat())
}

fn explain_in_force(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    // The file says otherwise now, but nobody has reloaded.
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

/// The line of the lab's registry in which a text stands.
fn line_of(text: &str, within: &str) -> Result<u64> {
    let index = text.lines().position(|line| line.contains(within));
    let index = index.with_context(|| format!("no line says {within}"))?;
    Ok(u64::try_from(index)? + 1)
}

fn cites(rig: &Rig<'_>) -> Result<()> {
    let file = rig.enforcer.config_path()?.display().to_string();
    let expect = |packet: &str, lines: &[(&str, &str)]| -> Result<()> {
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
    };
    let every = || -> Result<()> {
        expect(
            "eth0 192.168.77.2 9200",
            &[("ports = [9200]", "port 9200 of elasticsearch")],
        )?;
        expect(
            "wg0 10.10.0.5 9100",
            &[
                ("allow = [", "allow of metrics"),
                ("[peers.collector]", "peer collector"),
            ],
        )?;
        expect(
            "wg0 10.10.0.99 9100",
            &[
                ("ports = [9100]", "port 9100 of metrics"),
                ("allow = [", "allow of metrics"),
            ],
        )?;
        expect(
            "eth0 192.168.77.2 8443",
            &[("public = true", "public of traefik")],
        )?;
        expect("eth0 192.168.77.2 22", &[])
    };
    every().context("with nothing pinned")?;
    rig.enforcer.up(Guards::Both)?;
    every().context("of the policy in force")?;
    // The file says something else now; the policy in force does not come from there.
    let moved = format!("# One line more.\n{REGISTRY}");
    for text in [&*moved, "[services.torn"] {
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
    rig.enforcer.registry(&moved)?;
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
    // Named from its own folder, and found again from here.
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

const NEIGHBOUR: [&str; 6] = [
    "--interface",
    "eth0",
    "--source",
    "192.168.77.2",
    "--port",
    "9200",
];

/// Packets of every row, and of every transport and family.
const PACKETS: [&str; 12] = [
    "eth0 192.168.77.2 9200",
    "eth0 192.168.77.2 22",
    "eth0 192.168.77.2 8443",
    "eth0 fd00:77::2 9200",
    "eth0 192.168.77.2 8125 --protocol udp",
    "eth0 192.168.77.2 3868 --protocol sctp",
    "eth0 192.168.77.2 9200 --destination 127.0.0.1",
    "eth0 127.0.0.1 8888 --destination 192.168.77.1",
    "wg0 10.10.0.5 9100",
    "wg0 fd00:10::5 9100 --protocol udp",
    "wg0 10.10.0.99 9100",
    "wg0 ::ffff:10.10.0.5 9100",
];

/// That the kernel judged each packet as the model does, on this hook.
fn expect_agreement(rig: &Rig<'_>, hook: &str) -> Result<()> {
    for packet in PACKETS {
        let seen = explained(rig, &format!("{packet} --live"))?;
        let live = seen.live.as_ref();
        let live = live.with_context(|| format!("{packet}: {seen:?}"))?;
        ensure!(
            live.agrees == Some(true)
                && live.verdict.as_deref() == Some(&*seen.verdict)
                && live.hook.as_deref() == Some(hook)
                && live.why.is_none(),
            "{packet}: {seen:?}"
        );
        // What is not counted has no reason to show.
        ensure!(
            live.reason.as_deref() == Some(&*seen.reason) || seen.reason == "unregistered",
            "{packet}: {seen:?}"
        );
    }
    Ok(())
}

fn live_agrees(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    expect_agreement(rig, software_hook())?;
    let forced = |hook: &str| {
        let rules = ["eth0", "wg0"].map(|name| format!("[interfaces.{name}]\nhook = \"{hook}\"\n"));
        format!("{REGISTRY}\n{}", rules.concat())
    };
    for hook in ["xdp-generic", "xdp-native"] {
        // A guard that holds keeps its hook, where another one of its kind cannot stand beside it.
        rig.enforcer.down()?;
        rig.enforcer.registry(&forced(hook))?;
        rig.enforcer.up(Guards::Both)?;
        expect_agreement(rig, hook)?;
    }
    // What begins with the IP header, at both of its hooks.
    rig.lab.host.ip("link del wg0
         tuntap add dev wg0 mode tun
         addr add 10.10.0.2/24 dev wg0
         link set wg0 up")?;
    for hook in [software_hook(), "xdp-generic"] {
        rig.enforcer.down()?;
        rig.enforcer.registry(&forced(hook))?;
        rig.enforcer.up(Guards::Both)?;
        expect_agreement(rig, hook).context("without Ethernet headers")?;
    }
    // Audit mode: a drop that passes, counted as one.
    rig.enforcer
        .registry(&format!("mode = \"audit\"\n{REGISTRY}"))?;
    rig.enforcer.reload()?;
    let said = rig.enforcer.expect(
        &[
            "explain",
            "--live",
            "--interface",
            "wg0",
            "--source",
            "10.10.0.99",
            "--port",
            "9200",
        ],
        0,
    )?;
    ensure!(
        said.stdout.contains("the kernel agrees") && said.stdout.contains("passes it"),
        "{said}"
    );
    Ok(())
}

/// The folder in which `explain --live` pins for a moment.
fn scratch(rig: &Rig<'_>) -> PathBuf {
    rig.lab.pin_dir().with_file_name("pins_enforcer_scratch")
}

/// Makes the scratch folder as a crash would leave it.
fn leave_scratch(rig: &Rig<'_>) -> Result<()> {
    std::fs::create_dir(scratch(rig))?;
    let map = MapData::from_pin(rig.lab.pin_dir().join("STATE"))?;
    Ok(map.pin(scratch(rig).join("STATE"))?)
}

fn live_leaves_no_trace(rig: &Rig<'_>) -> Result<()> {
    let _server = serve(rig, 9200)?;
    rig.enforcer.up(Guards::Both)?;
    unanswered(from_lan(rig, 9200, Patience::Brief)?)?;
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UntrustedInterface, ELASTICSEARCH, 1)?;
    // The neighbour may still repeat itself: ports that only `explain` speaks of.
    let quiet = |rig: &Rig<'_>| -> Result<Vec<_>> {
        let mut rows = rig.enforcer.counters()?.0;
        rows.retain(|row| row.port != Some(ELASTICSEARCH.1));
        Ok(rows)
    };
    let before = quiet(rig)?;
    for _ in 0..2 {
        for packet in [
            "eth0 192.168.77.2 6379",
            "wg0 10.10.0.5 9100",
            "eth0 127.0.0.1 6379",
        ] {
            let seen = explained(rig, &format!("{packet} --live"))?;
            ensure!(seen.live.is_some_and(|live| live.agrees == Some(true)));
        }
        // Again beside what a crash left.
        if !scratch(rig).exists() {
            leave_scratch(rig)?;
        }
    }
    let after = quiet(rig)?;
    ensure!(before == after, "{before:?} -> {after:?}");
    // The diagnostics are a constant of the object: its instructions are the same without them.
    rig.enforcer.expect(&["up", "--bpf-log"], 0)?;
    let seen = explained(rig, "eth0 192.168.77.2 6379 --live")?;
    ensure!(
        seen.live
            .as_ref()
            .is_some_and(|live| live.agrees == Some(true)),
        "with --bpf-log: {seen:?}"
    );
    // `down` takes away what a crash left, too, and `up` is not in its way.
    rig.enforcer.down()?;
    expect_nothing_pinned(rig)?;
    rig.enforcer.up(Guards::Both)?;
    leave_scratch(rig)?;
    rig.enforcer.up(Guards::Both)?;
    ensure!(!scratch(rig).exists(), "`up` left the scratch folder");
    explained(rig, "eth0 192.168.77.2 6379 --live")?;
    ensure!(!scratch(rig).exists(), "`explain` left the scratch folder");
    Ok(())
}

fn live_cannot(rig: &Rig<'_>) -> Result<()> {
    let why = |packet: &str, word: &str| -> Result<()> {
        let seen = explained(rig, &format!("{packet} --live"))?;
        let live = seen.live.as_ref().context("nothing is said")?;
        let why = live.why.as_deref().unwrap_or_default();
        ensure!(
            live.agrees.is_none() && live.verdict.is_none() && why.contains(word),
            "{packet}: {seen:?}"
        );
        Ok(())
    };
    why("eth0 192.168.77.2 9200", "nothing is pinned")?;
    rig.enforcer.up(Guards::Socket)?;
    why("eth0 192.168.77.2 9200", "socket")?;
    rig.enforcer.up(Guards::Both)?;
    why("lo 127.0.0.1 9200", "lo")?;
    why("podman0 10.88.0.2 9200", "socket")
}

/// The entry of an interface in both banks says that it has no prefixes, which the programs believe
/// and the model, that reads the prefixes themselves, does not.
fn live_disagrees(rig: &Rig<'_>) -> Result<()> {
    const SIZE: usize = size_of::<InterfaceEntry>();
    rig.enforcer.up(Guards::Both)?;
    let packet = "wg0 10.10.0.5 9100";
    let ifindex = rig.lab.host.ifindex("wg0")?.to_ne_bytes();
    let map = MapData::from_pin(rig.lab.pin_dir().join("INTERFACES"))?;
    let mut map: Array<_, [u8; SIZE]> = Array::try_from(Map::Array(map))?;
    let mut changed = 0;
    for index in 0..INTERFACE_ENTRIES {
        let mut entry = map.get(&index, 0)?;
        let at = offset_of!(InterfaceEntry, ifindex);
        if entry[at..at + 4] == ifindex {
            entry[offset_of!(InterfaceEntry, v4_count)] = 0;
            map.set(index, entry, 0)?;
            changed += 1;
        }
    }
    ensure!(changed > 0, "the maps do not know wg0");
    let seen = explained(rig, &format!("{packet} --live"))?;
    let live = seen.live.as_ref().context("nothing is said")?;
    ensure!(
        seen.verdict == "pass"
            && live.agrees == Some(false)
            && live.verdict.as_deref() == Some("drop")
            && live.reason.as_deref() == Some("unknown-peer"),
        "{seen:?}"
    );
    let words: Vec<&str> = packet.split(' ').collect();
    let packet = [
        "--interface",
        words[0],
        "--source",
        words[1],
        "--port",
        words[2],
    ];
    let said = rig
        .enforcer
        .expect(&[&["explain", "--live"][..], &packet].concat(), 0)?;
    ensure!(
        said.stdout.contains("THE KERNEL DISAGREES") && said.stderr.contains("enforcer up"),
        "{said}"
    );
    // As it advises.
    rig.enforcer.up(Guards::Both)?;
    let seen = explained(rig, &format!("{} --live", words.join(" ")))?;
    ensure!(
        seen.live.is_some_and(|live| live.agrees == Some(true)),
        "`up` has not mended it"
    );
    Ok(())
}

/// Every call fails once, and ends the process once: the folder is gone, or no obstacle.
fn live_cut_short(rig: &Rig<'_>) -> Result<()> {
    let faulty = faulty(rig)?;
    faulty.up(Guards::Both)?;
    let words = [&["explain", "--live"][..], &NEIGHBOUR].concat();
    let mut obstacles = 0;
    for way in ["fail", "abort"] {
        let mut struck = 0;
        loop {
            let mut command = faulty.command(&words)?;
            command.env("ENFORCER_FAILPOINT", format!("{}:{way}", struck + 1));
            let said = finish(command, "")?;
            if !said
                .to_string()
                .contains(&format!("failpoint {} ", struck + 1))
            {
                break;
            }
            struck += 1;
            let stays = scratch(rig).exists();
            let says = said.stderr.contains("scratch");
            ensure!(way == "abort" || !stays || says, "{struck}: {said}");
            if stays {
                obstacles += 1;
                faulty.expect(&words, 0).context("the next one")?;
                ensure!(!scratch(rig).exists(), "{way} {struck}: it is still there");
            }
        }
        ensure!(struck >= 5, "but {struck} calls to {way}");
    }
    ensure!(obstacles > 0, "no fault left the folder behind");
    faulty.expect(&words, 0).map(drop)
}
