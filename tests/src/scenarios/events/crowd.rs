//! Many followers, and followers that do not read: `run` serves 32, and holds little for them.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::lab::command::{Daemon, eventually};
use crate::lab::enforcer::SETTLE;
use crate::lab::report::Event;
use crate::lab::wire::Wire;
use crate::scenario::Rig;
use crate::scenarios::live::process::{anonymous, descriptors};
use crate::scenarios::raw_packet::Probe;

use super::follower::shoot_until_told;
use super::{Follower, PORT, STATSD};

/// The followers of one `run` at most.
const FOLLOWERS: usize = 32;

/// The descriptors that `run` opens meanwhile for other work.
const OTHERS: usize = 8;

/// More followers than 32 are told so, and a place that becomes free is given away again.
pub(super) fn one_too_many(rig: &Rig<'_>) -> Result<()> {
    let _run = rig.enforcer.run(&[])?;
    let mut idle = connect(rig, FOLLOWERS - 1)?;
    let last = Follower::start(rig, "last")?;
    let refused = rig.enforcer.expect(&["events"], 1)?;
    ensure!(
        refused
            .stderr
            .contains("32 followers are connected already"),
        "{refused}"
    );
    rig.enforcer.expect(&["events", "--json"], 1)?;
    // The followers that are there notice nothing.
    shoot_until_told(rig, PORT, &[&last], 1)?;
    idle.pop();
    let next = Follower::start(rig, "next")?;
    shoot_until_told(rig, PORT, &[&last, &next], 2)
}

/// A thousand connections that read nothing, and a flood: neither memory nor descriptors grow, a
/// new interface is guarded, and each of the 32 learns of every drop once it reads.
pub(super) fn a_thousand_that_do_not_read(rig: &Rig<'_>) -> Result<()> {
    const SENT: u64 = 200_000;
    let run = rig.enforcer.run(&[])?;
    let reader = Follower::start(rig, "reader")?;
    let (memory, open) = (anonymous(&run)?, descriptors(&run)?);
    raise_descriptors()?;
    let mut idle = connect(rig, 1000)?;
    let counted = || -> Result<u64> {
        let reason = Reason::UntrustedInterface;
        Ok(rig.enforcer.counters()?.count(Guard::Wire, reason, STATSD))
    };
    let wire = Wire::open(&rig.lab.lan, "eth0")?;
    let frame = Probe::v4(STATSD).frame();
    let mut seconds = 0;
    // The connections take more than the kernel buffers for them: a flood of some seconds.
    while seconds < 4 {
        let begin = std::time::Instant::now();
        for _ in 0..SENT / 4 {
            wire.send_in_tries(&frame)?;
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begin.elapsed()));
        seconds += 1;
    }
    let grown = (anonymous(&run)?).saturating_sub(memory);
    ensure!(
        grown < 4096,
        "1,000 connections and a flood took {grown} KiB"
    );
    let held = descriptors(&run)? - open;
    ensure!(held < FOLLOWERS + OTHERS, "{held} descriptors more");
    guard_another(rig)?;
    let told = eventually(SETTLE, || {
        let events = reader.events().ok()?;
        (drops(events.iter(), STATSD.1) == counted().ok()?).then_some(())
    });
    ensure!(told.is_some(), "the follower that reads has lost drops");
    let late = idle.remove(0);
    let events = read_all(late)?;
    ensure!(
        drops(events.iter(), STATSD.1) == counted()?,
        "a follower that reads late has lost drops: {} lines",
        events.len()
    );
    drop((idle, reader));
    let freed = eventually(SETTLE, || {
        (descriptors(&run).ok()? < open + OTHERS).then_some(())
    });
    freed.context("descriptors stay behind")
}

/// A `run` that is out of descriptors serves followers again once it has some.
pub(super) fn out_of_descriptors(rig: &Rig<'_>) -> Result<()> {
    let mut run = rig.enforcer.run(&[])?;
    let reader = Follower::start(rig, "reader")?;
    let before = limit_descriptors(&run, Some(1))?;
    let waiting = connect(rig, 1)?.remove(0);
    std::thread::sleep(Duration::from_millis(500));
    // The follower that is there goes on, and so does `run`.
    shoot_until_told(rig, PORT, &[&reader], 1).with_context(|| rig.enforcer.run_log())?;
    ensure!(run.wait(Duration::ZERO)?.is_none(), "`run` has ended");
    limit_descriptors(&run, before)?;
    waiting.set_read_timeout(Some(Duration::from_millis(50)))?;
    let told = eventually(SETTLE, || {
        shoot_until_told(rig, PORT, &[&reader], 1).ok()?;
        (&waiting).read(&mut [0]).is_ok().then_some(())
    });
    told.context("the connection is never served")?;
    guard_another(rig)
}

/// Connections to the socket of `run` that send and read nothing.
fn connect(rig: &Rig<'_>, number: usize) -> Result<Vec<UnixStream>> {
    let socket = socket(rig)?;
    let connection = || UnixStream::connect(&socket).context("failed to connect to `run`");
    (0..number).map(|_| connection()).collect()
}

/// The socket on which `run` listens in the host's namespace.
fn socket(rig: &Rig<'_>) -> Result<PathBuf> {
    let listed = || fs::read_to_string("/proc/thread-self/net/unix");
    let listed: io::Result<String> = rig.lab.host.run(listed)?;
    let listed = listed.context("failed to list the sockets of the host")?;
    let ours = |line: &str| {
        let path = line.split_whitespace().nth(7)?;
        path.starts_with("/run/enforcer/").then(|| path.into())
    };
    listed.lines().find_map(ours).context("no socket of `run`")
}

/// Reads all lines that come within a moment.
fn read_all(connection: UnixStream) -> Result<Vec<Event>> {
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut lines = BufReader::new(connection);
    let mut events = Vec::new();
    loop {
        let mut line = String::new();
        match lines.read_line(&mut line) {
            Ok(0) => return Ok(events),
            Ok(_) => events.push(serde_json::from_str(&line).context(line)?),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(events),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The drops of a port that events stand for; merged drops are of any port.
fn drops<'a>(events: impl Iterator<Item = &'a Event>, port: u16) -> u64 {
    let of_port = |it: &&Event| it.reason.is_none() || it.port == Some(port);
    let stands_for = |it: &Event| it.merged + u64::from(it.reason.is_some());
    events.filter(of_port).map(stands_for).sum()
}

/// Insists that `run` guards an interface that comes up now.
fn guard_another(rig: &Rig<'_>) -> Result<()> {
    rig.lab
        .host
        .ip("link add late0 type veth peer name late1\nlink set late0 up")?;
    let guarded = eventually(SETTLE, || {
        let status = rig.enforcer.status().ok()?.1;
        let mut names = status.guards.iter().map(|guard| guard.interface.as_deref());
        names.any(|name| name == Some("late0")).then_some(())
    });
    guarded.context("an interface that came up has no guard")
}

/// Lets this process open as many descriptors as it may.
fn raise_descriptors() -> Result<()> {
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    Ok(rustix::process::setrlimit(Resource::Nofile, limit)?)
}

/// Sets the descriptors that a process may have at most, and returns the number before.
fn limit_descriptors(process: &Daemon, current: Option<u64>) -> Result<Option<u64>> {
    let id = Pid::from_raw(i32::try_from(process.id())?);
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let before = prlimit(id, Resource::Nofile, Rlimit { current, maximum })?;
    Ok(before.current)
}
