//! Names that somebody else chose: every output shows them with escapes, no two alike, on terminals
//! and in pipes, and JSON has the exact text.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::lab::Guards;
use crate::lab::command::{Daemon, finish};
use crate::lab::wire::Wire;

use super::super::events::Follower;
use super::super::raw_packet::Probe;
use super::service::ELASTICSEARCH;
use crate::scenario::{Rig, Scenario};

/// A name of an interface, the text in human output, and the text in JSON.
struct Named {
    bytes: &'static [u8],
    shown: &'static str,
    json: &'static str,
}

const fn named(bytes: &'static [u8], shown: &'static str, json: &'static str) -> Named {
    Named { bytes, shown, json }
}

/// The kernel refuses blanks, `/` and `:` alone (`dev_valid_name`, net/core/dev.c).
const NAMES: [Named; 8] = [
    // Sets the title of the terminal.
    named(b"\x1b]0;PWN\x07", r"\x1b]0;PWN\x07", "\x1b]0;PWN\x07"),
    // Looks like `lo` once a filter of escapes has passed.
    named(b"\x1b[mlo", r"\x1b[mlo", "\x1b[mlo"),
    // No UTF-8, and two such names.
    named(b"\xff\xfe", r"\xff\xfe", "\u{fffd}ff\u{fffd}fe"),
    named(b"\xff\xff", r"\xff\xff", "\u{fffd}ff\u{fffd}ff"),
    // The escape of another name.
    named(br"\xff\xfe", r"\\xff\\xfe", r"\xff\xfe"),
    named("\u{202e}0hte".as_bytes(), r"\u{202e}0hte", "\u{202e}0hte"),
    // A control character of the second set, which starts a sequence as ESC [ does.
    named("a\u{9b}2J".as_bytes(), r"a\u{9b}2J", "a\u{9b}2J"),
    named("größe".as_bytes(), "größe", "größe"),
];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("names::of_interfaces_are_shown_with_escapes", shown),
        Scenario::new("names::of_interfaces_in_events", in_events),
        Scenario::new("names::without_a_guard_are_shown_with_escapes", uncovered),
        Scenario::new("names::of_files_are_shown_with_escapes", files),
    ]
}

/// Makes an interface of each name on the host, up; the other ends are in the neighbour's
/// namespace, `p0`, `p1` and so on.
fn make(rig: &Rig<'_>) -> Result<()> {
    for (number, name) in NAMES.iter().enumerate() {
        let name = OsStr::from_bytes(name.bytes);
        let ip = |build: &dyn Fn(&mut Command)| {
            let mut command = rig.lab.host.command("ip");
            build(&mut command);
            finish(command, "")?.ok()
        };
        ip(&|command| {
            command.args(["link", "add", "name"]).arg(name);
            command.args(["type", "veth", "peer", "name", &format!("p{number}")]);
            command.args(["netns", &rig.lab.lan.path()]);
        })?;
        ip(&|command| {
            command.args(["link", "set", "dev"]).arg(name).arg("up");
        })?;
        rig.lab.lan.ip(&format!("link set p{number} up"))?;
    }
    Ok(())
}

/// Insists that a text shows every name, and holds no character that could mislead.
fn expect_shown(text: &str) -> Result<()> {
    let plain = |c: char| matches!(c, ' '..='~' | '\n' | 'ö' | 'ß');
    let odd: String = text.chars().filter(|&c| !plain(c)).collect();
    ensure!(odd.is_empty(), "raw characters {odd:?} in {text:?}");
    for name in NAMES {
        // A name of its own, and no part of another.
        let whole = |word: &str| word == name.shown;
        let is_shown = text.split([' ', '\n']).any(whole);
        ensure!(is_shown, "{} is not shown in {text}", name.shown);
    }
    Ok(())
}

fn shown(rig: &Rig<'_>) -> Result<()> {
    make(rig)?;
    let up = rig.enforcer.expect(&["up"], 0)?;
    expect_shown(&up.stdout).context("`up`")?;
    let status = rig.enforcer.expect(&["status"], 0)?;
    expect_shown(&status.stdout).context("`status`, in a pipe")?;
    expect_shown(&on_terminal(rig, &["status"])?).context("`status`, on a terminal")?;
    // Columns stay in line.
    let starts = |line: &str| line.starts_with("wire ").then(|| line.chars().count());
    let mut lengths: Vec<_> = status.stdout.lines().filter_map(starts).collect();
    lengths.dedup();
    ensure!(lengths.len() == 1, "no aligned columns: {status}");
    let json = rig.enforcer.expect(&["status", "--json"], 0)?;
    ensure!(
        !json
            .stdout
            .contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']),
        "raw characters in JSON: {json}"
    );
    let (_, status) = rig.enforcer.status()?;
    for name in NAMES {
        let guards = status.guards.iter();
        let mut of_name = guards.filter(|guard| guard.interface.as_deref() == Some(name.json));
        ensure!(
            of_name.next().is_some() && of_name.next().is_none(),
            "{:?} is not once in {status:?}",
            name.json
        );
        let explained = explain(rig, name.bytes)?;
        ensure!(
            explained.contains(&format!(" on {} to ", name.shown)),
            "{explained:?}"
        );
    }
    rig.enforcer.down()
}

/// `explain` of a packet on an interface of any name.
fn explain(rig: &Rig<'_>, interface: &[u8]) -> Result<String> {
    let packet = ["explain", "--source", "192.0.2.7", "--port", "9200"];
    let mut command = rig.enforcer.command(&packet)?;
    command.arg("--interface").arg(OsStr::from_bytes(interface));
    finish(command, "")?.ok()
}

/// Runs a command with a terminal as standard output, and returns the output.
fn on_terminal(rig: &Rig<'_>, arguments: &[&str]) -> Result<String> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).context("failed to make a terminal")?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let terminal: OwnedFd = ioctl_tiocgptpeer(&ours, flags)?;
    let mut command = rig.enforcer.command(arguments)?;
    command.stdin(Stdio::null()).stdout(terminal);
    let mut process = Daemon::spawn(command)?;
    let mut seen = Vec::new();
    // The terminal's end is an error (EIO).
    File::from(ours).read_to_end(&mut seen).ok();
    process.expect_end(Duration::from_secs(20))?;
    Ok(String::from_utf8(seen)?.replace("\r\n", "\n"))
}

fn in_events(rig: &Rig<'_>) -> Result<()> {
    make(rig)?;
    let _run = rig.enforcer.run(&[])?;
    let follower = Follower::start(rig, "events")?;
    for (number, name) in NAMES.iter().enumerate() {
        let probe = Probe::v4(ELASTICSEARCH);
        Wire::open(&rig.lab.lan, &format!("p{number}"))?.send(&probe.frame())?;
        let event = follower.expect(ELASTICSEARCH, probe.source)?;
        ensure!(event.interface.as_deref() == Some(name.json), "{event:?}");
    }
    let log = rig.enforcer.run_log();
    let (_, status) = log
        .split_once("GUARD ")
        .with_context(|| format!("no status in the log of `run`: {log}"))?;
    expect_shown(status).context("the log of `run`")
}

/// Interfaces that came up behind `up`: the names in findings.
fn uncovered(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    make(rig)?;
    let status = rig.enforcer.expect(&["status"], 3)?;
    expect_shown(&status.stdout)?;
    let (_, status) = rig.enforcer.status()?;
    for name in NAMES {
        let is_named = status
            .uncovered
            .iter()
            .any(|row| row.interface == name.json);
        ensure!(is_named, "{:?} is not in {status:?}", name.json);
    }
    rig.enforcer.reload()
}

/// A registry of fragments whose names would write to the terminal.
fn files(rig: &Rig<'_>) -> Result<()> {
    let folder = rig.enforcer.config_path()?.with_extension("d");
    std::fs::create_dir(&folder)?;
    let fragment = |name: &[u8]| folder.join(OsStr::from_bytes(name));
    std::fs::write(
        fragment(b"\x1b[2Ja\xff\nb.toml"),
        "[services.own]\nports = [15000]\n",
    )?;
    let shown = r"\x1b[2Ja\xff\x0ab.toml";
    let checked = rig.enforcer.expect(&["check"], 0)?;
    ensure!(
        checked.stdout.contains(shown) && !checked.stdout.contains('\u{1b}'),
        "{checked}"
    );
    rig.enforcer.up(Guards::Both)?;
    let packet = ["--interface", "eth0", "--source", "192.0.2.7", "--port"];
    let packet = [&["explain"][..], &packet, &["15000"]].concat();
    let explained = rig.enforcer.expect(&packet, 0)?;
    ensure!(
        explained.stdout.contains(&format!("{shown}:2 ")) && !explained.stdout.contains('\u{1b}'),
        "{explained}"
    );
    std::fs::write(
        fragment(b"\x1b[2Ja\xff\nb.toml"),
        "[services.own]\nports = [0]\n",
    )?;
    for command in [&["check"][..], &["reload"], &["up"]] {
        let bad = rig.enforcer.expect(command, 2)?;
        ensure!(
            bad.stderr.contains(shown) && !bad.stderr.contains('\u{1b}'),
            "{bad}"
        );
    }
    Ok(())
}
