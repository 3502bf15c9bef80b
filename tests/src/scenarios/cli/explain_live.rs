//! `explain --live`: the kernel's verdict on the same packet.

use std::mem::offset_of;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use enforcer_ebpf::layout::{INTERFACE_ENTRIES, InterfaceEntry};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::command::finish;
use crate::lab::enforcer::REGISTRY;
use crate::lab::kernel::software_hook;
use crate::lab::report::Event;
use crate::lab::topology::GHOST;
use crate::lab::wire::Wire;
use crate::lab::{Guards, Patience, Port};

use super::super::events::Follower;
use super::super::faults::faulty;
use super::super::raw_packet::Probe;
use super::super::runner::{expect_nothing_pinned, unanswered};
use super::explain::{NEIGHBOUR, explained};
use super::service::{ELASTICSEARCH, from_lan, serve};
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    let named = |name: &str, body: fn(&Rig<'_>) -> Result<()>| {
        Scenario::new(format!("explain::live::{name}"), body)
    };
    vec![
        named("the_kernel_agrees_on_every_hook", live_agrees),
        named("leaves_no_trace", live_leaves_no_trace),
        named("makes_no_event", live_makes_no_event),
        named("says_what_it_cannot_run", live_cannot),
        named("says_when_the_kernel_disagrees", live_disagrees),
    ]
}

/// Scenarios with the build that has failpoints.
pub(in crate::scenarios) fn with_failpoints() -> Vec<Scenario> {
    vec![Scenario::new(
        "faults::explain_live_leaves_nothing_behind",
        live_cut_short,
    )]
}

/// Packets of every rule, and of every transport and family.
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

/// Insists that the kernel judged each packet as the model does, on this hook.
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
        // A packet that is not counted has no reason to show.
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
        // A guard in place keeps its hook, where no second guard of the kind can stand beside.
        rig.enforcer.down()?;
        rig.enforcer.registry(&forced(hook))?;
        rig.enforcer.up(Guards::Both)?;
        expect_agreement(rig, hook)?;
    }
    // Packets that begin with the IP header, at both of their hooks.
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
    // Audit mode: a passing packet, counted as a drop.
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

/// The folder of the short-lived pins of `explain --live`.
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
    // The neighbour may still repeat packets: ports used by `explain` alone.
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
        // Again beside the remains of a crash.
        if !scratch(rig).exists() {
            leave_scratch(rig)?;
        }
    }
    let after = quiet(rig)?;
    ensure!(before == after, "{before:?} -> {after:?}");
    // The diagnostics are a constant of the object; the instructions are the same without them.
    rig.enforcer.expect(&["up", "--bpf-log"], 0)?;
    let seen = explained(rig, "eth0 192.168.77.2 6379 --live")?;
    ensure!(
        seen.live
            .as_ref()
            .is_some_and(|live| live.agrees == Some(true)),
        "with --bpf-log: {seen:?}"
    );
    // `down` also removes the remains of a crash, and `up` works beside them.
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

/// Drops for the sake of `explain` make no event.
fn live_makes_no_event(rig: &Rig<'_>) -> Result<()> {
    const GRAFANA: Port<'static> = Port("tcp", 3000);
    rig.enforcer.up(Guards::Both)?;
    let follower = Follower::start(rig, "events")?;
    for packet in ["eth0 192.168.77.2 3000", "wg0 10.10.0.99 9100"] {
        let seen = explained(rig, &format!("{packet} --live"))?;
        let live = seen.live.as_ref();
        ensure!(
            live.is_some_and(|it| it.verdict.as_deref() == Some("drop") && it.agrees == Some(true)),
            "{packet}: {seen:?}"
        );
    }
    // The control: a real drop is reported. Events come in order, so all others are here by then.
    let probe = Probe::v4(GRAFANA);
    Wire::open(&rig.lab.lan, "eth0")?.send(&probe.frame())?;
    follower.expect(GRAFANA, probe.source)?;
    let (events, ghost) = (follower.events()?, GHOST.to_string());
    let real = |event: &Event| event.source.as_ref() == Some(&ghost) && event.merged == 0;
    let of_grafana = events.iter().filter(|it| it.port == Some(GRAFANA.1));
    ensure!(
        of_grafana.count() == 1 && events.iter().all(real),
        "{events:?}"
    );
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

/// The entry of an interface in both banks says "no prefixes". The programs believe the entry; the
/// model, which reads the prefixes themselves, does not.
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
    // As the message advises.
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
