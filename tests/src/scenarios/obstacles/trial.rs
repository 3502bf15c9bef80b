//! The trial of a cell: a neighbour who never rests, `run`, and the facts for the table.

mod checks;

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::cell::{Cell, FRAGMENT, MAIN};
use super::record::Record;
use crate::lab::command::{Daemon, Finished, eventually, finish};
use crate::lab::hammer::{Accepted, Hammer};
use crate::lab::mounts::{child_of, first_child, first_process, in_mounts_of, inside_machine};
use crate::lab::report::Status;
use crate::lab::session::is_guest;
use crate::lab::{Server, Transport};
use crate::scenario::Rig;

/// Time from exec to guards where no obstacle is in the way.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Longest wait for words, beyond every limit of an obstacle.
const WORDS: Duration = Duration::from_secs(15);
/// Longest wait for the healing of a state that has disappeared, with room for the last look.
pub(super) const HEALING: Duration = Duration::from_secs(35);
/// Longest wait for READY where nothing is in the way: no promise, but the end of a setup.
const READY: Duration = Duration::from_secs(60);

/// The registry of a trial. Like the built-in registry it has a public port, so that the lock-out
/// check lets each follow the other.
pub(super) const GOOD: &str = "[services.elasticsearch]\nports = [9200]\n\
                               [services.traefik]\nports = [8080]\npublic = true\n";
/// The fragment of a trial.
pub(super) const GOOD_FRAGMENT: &str = "[services.mongo]\nports = [27017]\n";

/// A trial.
pub struct Trial<'a> {
    /// The lab and the enforcer.
    pub rig: &'a Rig<'a>,
    hammer: Hammer,
    _servers: [Server; 2],
    notify: UnixDatagram,
    run: Option<Daemon>,
    place: Place,
    /// The pin directory, if not the lab's.
    pins: Option<PathBuf>,
    /// The moment from which no attempt may succeed.
    since: Option<Instant>,
    /// The moment from which on nothing need be guarded: a small machine ends with its `run`, and takes
    /// its bpffs with the pins along.
    until: Option<Instant>,
    /// The time from exec to guards without any obstacle, right before.
    baseline: Duration,
    facts: Record,
}

/// The mounts that count for commands.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Those of this process.
    Here,
    /// Those of `run`.
    OfRun(u32),
    /// Those of a small machine, by its first process.
    Machine(u32),
}

impl<'a> Trial<'a> {
    /// Tries a cell, and writes its line.
    pub(super) fn of(cell: &Cell, rig: &'a Rig<'a>) -> Result<()> {
        let Some(body) = cell.body else {
            bail!("{}: no trial", cell.made)
        };
        let mut trial = Self::new(cell, rig)?;
        trial.measure_baseline().context("without an obstacle")?;
        let tried = body(&mut trial).and_then(|()| trial.still_runs());
        let ended = trial.conclude();
        let log = trial.log();
        trial.facts.write(tried.is_ok() && ended.is_ok())?;
        tried
            .and(ended)
            .with_context(|| format!("`run` said:\n{log}"))
    }

    fn new(cell: &Cell, rig: &'a Rig<'a>) -> Result<Self> {
        let host = &rig.lab.host;
        let serve =
            |port: u16| Server::start(host, Transport::Tcp, &format!("0.0.0.0:{port}"), "token");
        let servers = [serve(MAIN)?, serve(FRAGMENT)?];
        rig.enforcer.registry(GOOD)?;
        let notify = UnixDatagram::bind(rig.lab.scratch().join("notify"))
            .context("failed to make the notify socket")?;
        notify.set_nonblocking(true)?;
        Ok(Self {
            rig,
            hammer: Hammer::start(rig.lab, cell.ports)?,
            _servers: servers,
            notify,
            run: None,
            place: Place::Here,
            baseline: Duration::ZERO,
            pins: None,
            since: None,
            until: None,
            facts: Record::of(cell),
        })
    }

    /// Starts `run` without an obstacle, waits for the guards, and takes them off.
    fn measure_baseline(&mut self) -> Result<()> {
        self.hammer.expect_open()?;
        let mut command = self.command(&["run"])?;
        self.equip(&mut command)?;
        let exec = Instant::now();
        let run = Daemon::spawn(command)?;
        self.wait_ready()?;
        std::thread::sleep(Duration::from_millis(100));
        let last = self.hammer.last_accepted().unwrap_or(exec);
        self.baseline = last.saturating_duration_since(exec);
        drop(run);
        self.rig.enforcer.down()
    }

    /// The command line of `run` with this pin directory.
    pub(super) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.rig.enforcer.command(&[])?;
        if let Some(pins) = &self.pins {
            command = self.rig.lab.host.command(self.rig.enforcer.binary());
            command.arg("--pin-dir").arg(pins);
            command
                .arg("--config")
                .arg(self.rig.enforcer.config_path()?);
            command.env("NO_COLOR", "1").env_remove("NOTIFY_SOCKET");
        }
        command.args(arguments);
        Ok(command)
    }

    /// Uses another pin directory from here on.
    pub(super) fn pin_at(&mut self, pins: PathBuf) {
        self.pins = Some(pins);
    }

    /// Starts `run` with an obstacle in place; before, each port accepts, which is the control. The
    /// guards must hold within a second and the obstacle's own limit.
    pub(super) fn boot(
        &mut self,
        limit: Duration,
        guide: impl FnOnce(&mut Command) -> Result<()>,
    ) -> Result<()> {
        let mut command = self.command(&["run"])?;
        self.equip(&mut command)?;
        guide(&mut command)?;
        self.boot_command(limit, command)
    }

    /// Standard streams and the socket of the service manager.
    pub(super) fn equip(&self, command: &mut Command) -> Result<()> {
        let log = File::create(self.log_file())?;
        command
            .env("NOTIFY_SOCKET", self.rig.lab.scratch().join("notify"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(())
    }

    /// As [`Self::boot`], with a whole command.
    pub(super) fn boot_command(&mut self, limit: Duration, command: Command) -> Result<()> {
        self.hammer.expect_open()?;
        // A busy machine is no obstacle.
        let limit = patient(AT_ONCE).max(self.baseline * 3) + patient(limit);
        let exec = Instant::now();
        self.run = Some(Daemon::spawn(command)?);
        let id = self.daemon()?.id();
        let mut waited = Duration::ZERO;
        while exec.elapsed() < limit + waited {
            std::thread::sleep(Duration::from_millis(20));
            waited = waited.max(waited_for_a_processor(id));
        }
        let bound = limit + waited;
        let threads = self.stacks();
        self.since = Some(exec + bound);
        self.facts.boot(bound);
        std::thread::sleep(Duration::from_millis(500));
        let last = self.hammer.last_accepted();
        let open = last.map(|last| last.saturating_duration_since(exec));
        self.facts.guards_after(open.unwrap_or_default());
        self.expect_closed().with_context(|| {
            format!(
                "guards were due {bound:.1?} after the start ({waited:.1?} of these for a \
                 processor; {:.1?} without an obstacle), with these threads:\n{threads}",
                self.baseline
            )
        })
    }

    /// Starts `run` without an obstacle, and waits until all is in force. From then on nothing may
    /// be accepted.
    pub(super) fn live(&mut self, guide: impl FnOnce(&mut Command) -> Result<()>) -> Result<()> {
        let mut command = self.command(&["run"])?;
        self.equip(&mut command)?;
        guide(&mut command)?;
        self.live_command(command)
    }

    /// As [`Self::live`], with a whole command.
    pub(super) fn live_command(&mut self, command: Command) -> Result<()> {
        self.hammer.expect_open()?;
        self.run = Some(Daemon::spawn(command)?);
        self.wait_ready()?;
        self.since = Some(Instant::now());
        Ok(())
    }

    /// Starts `run` behind guards that hold already: nothing may be accepted from here on.
    pub(super) fn boot_guarded(&mut self) -> Result<()> {
        let mut command = self.command(&["run"])?;
        self.equip(&mut command)?;
        self.since = Some(Instant::now());
        self.run = Some(Daemon::spawn(command)?);
        self.wait_ready()
    }

    /// Starts `run` again, and waits for nothing.
    pub(super) fn start_again(
        &mut self,
        guide: impl FnOnce(&mut Command) -> Result<()>,
    ) -> Result<()> {
        let mut command = self.command(&["run"])?;
        self.equip(&mut command)?;
        guide(&mut command)?;
        self.run = Some(Daemon::spawn(command)?);
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<()> {
        let mut message = [0; 4096];
        let ready = eventually(patient(READY), || {
            let length = self.notify.recv(&mut message).ok()?;
            let mut lines = message[..length].split(|&byte| byte == b'\n');
            lines.any(|line| line == b"READY=1").then_some(())
        });
        ready.with_context(|| format!("`run` never said READY:\n{}", self.log()))
    }

    /// The living `run`.
    pub(super) fn daemon(&mut self) -> Result<&mut Daemon> {
        self.run.as_mut().context("`run` was never started")
    }

    /// Mounts of `run` count for commands from here on.
    pub(super) fn share_mounts(&mut self) -> Result<()> {
        self.place = Place::OfRun(self.daemon()?.id());
        Ok(())
    }

    /// Mounts of the small machine around `run` count for commands from here on.
    pub(super) fn enter_machine(&mut self) -> Result<()> {
        self.place = Place::Machine(first_process(self.daemon()?)?);
        Ok(())
    }

    /// A command to the end, among the mounts that count.
    pub(super) fn call(&self, arguments: &[&str]) -> Result<Finished> {
        self.finish(self.command(arguments)?)
    }

    /// A program that must succeed, among the mounts that count.
    pub(super) fn tool(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.rig.lab.host.command(program);
        command.args(arguments);
        self.finish(command)?.ok().map(drop)
    }

    fn finish(&self, mut command: Command) -> Result<Finished> {
        match self.place {
            Place::Here => {}
            Place::OfRun(process) => in_mounts_of(&mut command, process)?,
            Place::Machine(first) => {
                command = inside_machine(&self.rig.lab.host, first, &command);
            }
        }
        finish(command, "")
    }

    /// `status`, with its exit code.
    pub(super) fn status(&self) -> Result<(Option<i32>, Status)> {
        let finished = self.call(&["status", "--json"])?;
        let status = serde_json::from_str(&finished.stdout)
            .with_context(|| format!("no status: {finished}"))?;
        Ok((finished.code, status))
    }

    /// The words of `run`.
    pub(super) fn log(&self) -> String {
        let bytes = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.rig.lab.scratch().join("run.log")
    }

    /// The threads of `run`, with the kernel's stack of each.
    fn stacks(&self) -> String {
        let run = self.run.as_ref();
        run.map_or_else(String::new, |run| stacks_of(run.id()))
    }

    fn still_runs(&mut self) -> Result<()> {
        let Some(run) = &mut self.run else {
            return Ok(());
        };
        match run.wait(Duration::ZERO)? {
            None => Ok(()),
            Some(ended) => bail!("`run` has ended: {ended}"),
        }
    }

    fn expect_closed(&self) -> Result<()> {
        let accepted = self.accepted()?;
        ensure!(
            accepted.is_empty(),
            "open: {} attempts were accepted, the first: {:?}",
            accepted.len(),
            accepted.first()
        );
        Ok(())
    }

    fn conclude(&mut self) -> Result<()> {
        self.facts.accepted(self.accepted()?.len());
        self.expect_closed()
    }

    /// The attempts that were accepted while guards were due.
    fn accepted(&self) -> Result<Vec<Accepted>> {
        let since = self.since.context("`run` was never started")?;
        let mut accepted = self.hammer.accepted_since(since);
        accepted.retain(|one| self.until.is_none_or(|until| one.at < until));
        Ok(accepted)
    }
}

/// A limit for this machine: a guest's is longer, as its processor may be emulated.
fn patient(limit: Duration) -> Duration {
    if is_guest() { limit * 5 } else { limit }
}

/// The time that the threads of a process, or of its child in a small machine, were ready to run
/// and waited for a processor (the second field of /proc/PID/schedstat, in nanoseconds).
fn waited_for_a_processor(process: u32) -> Duration {
    let waited = threads_of(process).filter_map(|task| {
        let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited.sum())
}

/// The folders in /proc of these threads.
fn threads_of(process: u32) -> impl Iterator<Item = PathBuf> {
    let inner = first_child(process).and_then(|first| child_of(first, "enforcer").ok());
    let tasks = format!("/proc/{}/task", inner.unwrap_or(process));
    let tasks = std::fs::read_dir(tasks).into_iter().flatten().flatten();
    tasks.map(|task| task.path())
}

/// The name and the kernel's stack of each of these threads.
fn stacks_of(process: u32) -> String {
    let stacks = threads_of(process).map(|task| {
        let [name, stack] = ["comm", "stack"]
            .map(|file| std::fs::read_to_string(task.join(file)).unwrap_or_default());
        format!("{name}{stack}")
    });
    stacks.collect()
}
