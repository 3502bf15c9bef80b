//! Followers of drops, as processes of their own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::lab::Port;
use crate::lab::command::{Daemon, eventually};
use crate::lab::enforcer::SETTLE;
use crate::lab::report::Event;
use crate::lab::wire::Wire;
use crate::scenario::Rig;
use crate::scenarios::raw_packet::Probe;

/// An `events --json`, and its output file.
#[derive(Debug)]
pub(in crate::scenarios) struct Follower {
    /// The process.
    pub(in crate::scenarios) process: Daemon,
    path: PathBuf,
}

impl Follower {
    /// Follows from now on: earlier events are not waited for.
    pub(in crate::scenarios) fn start(rig: &Rig<'_>, name: &str) -> Result<Self> {
        let follower = Self::spawn(rig, name)?;
        // Until an event comes, the follower may not have begun; the first events are no part of
        // the count.
        shoot_until_told(rig, Port("tcp", 6379), &[&follower], 1)?;
        Ok(follower)
    }

    /// Starts a follower without waiting for an event.
    pub(in crate::scenarios) fn spawn(rig: &Rig<'_>, name: &str) -> Result<Self> {
        let path = rig.lab.scratch().join(name);
        let file = File::create(&path).context("failed to make a file for events")?;
        let mut command = rig.enforcer.command(&["events", "--json"])?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        Ok(Self {
            process: Daemon::spawn(command)?,
            path,
        })
    }

    /// All events so far.
    pub(in crate::scenarios) fn events(&self) -> Result<Vec<Event>> {
        let text = fs::read_to_string(&self.path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let event = |line: &str| {
            serde_json::from_str(line).with_context(|| format!("no event of the design: {line}"))
        };
        whole.lines().map(event).collect()
    }

    /// The first event of a port, from a source port.
    pub(in crate::scenarios) fn expect(&self, port: Port<'_>, source: u16) -> Result<Event> {
        let found = eventually(SETTLE, || match self.events() {
            Ok(events) => events
                .into_iter()
                .find(|it| it.port == Some(port.1) && it.source_port == Some(source))
                .map(Ok),
            Err(error) => Some(Err(error)),
        });
        found.unwrap_or_else(|| {
            let text = fs::read_to_string(&self.path).unwrap_or_default();
            Err(anyhow!("no event of {port} came, only\n{text}"))
        })
    }

    /// Insists that the follower is still running.
    pub(super) fn expect_alive(&mut self) -> Result<()> {
        let ended = self.process.wait(Duration::ZERO)?;
        ensure!(
            ended.is_none(),
            "a follower has ended with {ended:?}:\n{}",
            fs::read_to_string(&self.path).unwrap_or_default()
        );
        Ok(())
    }

    /// The source ports of all events of a port.
    fn told_of(&self, port: Port<'_>) -> Result<BTreeSet<u16>> {
        let events = self.events()?.into_iter();
        let own = events.filter(|event| event.port == Some(port.1));
        Ok(own.filter_map(|event| event.source_port).collect())
    }
}

/// Probes a port until so many of these followers have reported the same probe: a follower that
/// changes from a reader of the events to another may miss some.
pub(super) fn shoot_until_told(
    rig: &Rig<'_>,
    port: Port<'_>,
    followers: &[&Follower],
    by: usize,
) -> Result<()> {
    let wire = Wire::open(&rig.lab.lan, "eth0")?;
    let mut sent = BTreeSet::new();
    let mut try_once = || -> Result<bool> {
        let probe = Probe::v4(port);
        wire.send(&probe.frame())?;
        sent.insert(probe.source);
        std::thread::sleep(Duration::from_millis(50));
        let told: Vec<BTreeSet<u16>> = followers
            .iter()
            .map(|follower| follower.told_of(port))
            .collect::<Result<_>>()?;
        Ok(sent.iter().any(|source| {
            let tellers = told.iter().filter(|told| told.contains(source));
            tellers.count() >= by
        }))
    };
    let told = eventually(SETTLE * 2, || match try_once() {
        Ok(told) => told.then_some(Ok(())),
        Err(error) => Some(Err(error)),
    });
    told.with_context(|| format!("no probe at {port} was told by {by} of {}", followers.len()))?
}
