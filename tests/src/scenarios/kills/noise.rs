//! A user who keeps `run` busy from outside.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::inotify;

use super::removals::Machine;
use super::signals::stage;
use crate::lab::command::{Daemon, eventually};
use crate::lab::mounts::inside_machine;
use crate::scenario::{Rig, Scenario, host_only};

/// Time of the noise.
const NOISE: Duration = Duration::from_secs(3);
/// Time without work of `run`, before the noise, and the longest wait for this time.
const SILENCE: Duration = Duration::from_millis(500);
const READY: Duration = Duration::from_secs(20);
/// Upper bound of the processor time of `run` meanwhile, in hundredths of a second: a fifth of a
/// core, with room for a slow machine, where the noise alone took most of one.
const MOST: u64 = 60;
/// Events, at least, for a noise at all.
const EVENTS: usize = 100;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "kills::a_user_who_opens_the_parent_again_and_again_costs_nothing",
            openings,
        )
        .host_only(host_only::LOADER),
    ]
}

/// Where others may read the parent of the pins, each opening there is an event for watchers of
/// openings.
fn openings(rig: &Rig<'_>) -> Result<()> {
    let (_server, _hammer) = stage(rig)?;
    let mut machine = Machine::start(rig, "755")?;
    machine.enforcing(None)?;
    let parent = PathBuf::from(format!("/proc/{}/root/sys/fs/bpf", machine.first));
    let run = machine.run()?;
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, &parent, inotify::WatchFlags::CLOSE_NOWRITE)?;
    // Programs for interfaces yet to come are loaded after the start, which costs processor time.
    let quiet = || {
        let before = ticks(run).ok()?;
        std::thread::sleep(SILENCE);
        (ticks(run).ok()? == before).then_some(())
    };
    eventually(READY, quiet).context("`run` is never quiet")?;
    let before = ticks(run)?;
    let mut user = Command::new("setpriv");
    user.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    user.args(["sh", "-c", "while :; do : < /sys/fs/bpf; done"]);
    let mut user = inside_machine(&rig.lab.host, machine.first, &user);
    user.stdin(Stdio::null());
    let user = Daemon::spawn(user)?;
    let mut seen = 0;
    let end = std::time::Instant::now() + NOISE;
    let mut buffer = vec![0_u8; 1 << 16];
    while std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
        // Equal events in a row are one: 16 bytes each, at least.
        while let Ok(length) = rustix::io::read(&watch, &mut buffer[..]) {
            seen += length / 16;
        }
    }
    let spent = ticks(run)? - before;
    drop(user);
    println!("kills::noise: {spent} hundredths of a second in {NOISE:?}, {seen} events");
    ensure!(seen >= EVENTS, "the control: only {seen} events");
    ensure!(
        spent <= MOST,
        "`run` spent {spent} hundredths of a second in {NOISE:?}"
    );
    Ok(())
}

/// The processor time of a process, user and system, in clock ticks of 10 ms (proc_pid_stat(5)).
fn ticks(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in parentheses may hold anything; the state, field 3, follows.
    let (_, rest) = text.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| -> Result<u64> {
        let field = fields
            .get(index)
            .with_context(|| format!("no field {index}"))?;
        Ok(field.parse()?)
    };
    Ok(number(11)? + number(12)?)
}
