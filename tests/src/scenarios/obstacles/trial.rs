//! The trial of a cell: a neighbour who never rests, `run`, and the facts for the table.

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::cell::{Cell, FRAGMENT, MAIN};
use super::record::Record;
use crate::lab::command::{Daemon, Finished, eventually, finish};
use crate::lab::hammer::Hammer;
use crate::lab::mounts::in_mounts_of;
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
/// Longest wait for READY where nothing is in the way.
const READY: Duration = Duration::from_secs(10);

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
    /// The process whose mounts count, if not this process.
    mounts: Option<u32>,
    /// The pin directory, if not the lab's.
    pins: Option<PathBuf>,
    /// The moment from which no attempt may succeed.
    since: Option<Instant>,
    facts: Record,
}

impl<'a> Trial<'a> {
    /// Tries a cell, and writes its line.
    pub(super) fn of(cell: &Cell, rig: &'a Rig<'a>) -> Result<()> {
        let Some(body) = cell.body else {
            bail!("{}: no trial", cell.made)
        };
        let mut trial = Self::new(cell, rig)?;
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
            mounts: None,
            pins: None,
            since: None,
            facts: Record::of(cell),
        })
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
        let bound = patient(AT_ONCE + limit);
        let exec = Instant::now();
        self.run = Some(Daemon::spawn(command)?);
        self.since = Some(exec + bound);
        self.facts.boot(bound);
        std::thread::sleep(bound + Duration::from_millis(500));
        let last = self.hammer.last_accepted();
        let open = last.map(|last| last.saturating_duration_since(exec));
        self.facts.guards_after(open.unwrap_or_default());
        self.expect_closed()
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

    /// Insists that an edit of the registry is put in force, and undoes the edit.
    pub(super) fn applies_an_edit(&mut self) -> Result<()> {
        for (text, services) in [(format!("{GOOD}{GOOD_FRAGMENT}"), 3), (GOOD.to_owned(), 2)] {
            self.rig.enforcer.registry(&text)?;
            let applied = eventually(patient(WORDS), || {
                std::thread::sleep(Duration::from_millis(50));
                let (_, status) = self.status().ok()?;
                (status.services == services).then_some(())
            });
            applied.with_context(|| format!("an edit had no effect:\n{}", self.log()))?;
        }
        self.expect_closed()
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

    /// Mounts of this process count for commands from here on.
    pub(super) fn share_mounts_of(&mut self, process: u32) {
        self.mounts = Some(process);
    }

    /// Mounts of `run` count for commands from here on.
    pub(super) fn share_mounts(&mut self) -> Result<u32> {
        let process = self.daemon()?.id();
        self.mounts = Some(process);
        Ok(process)
    }

    /// A command to the end, among the mounts that count.
    pub(super) fn call(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.command(arguments)?;
        if let Some(process) = self.mounts {
            in_mounts_of(&mut command, process)?;
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

    /// Waits until `run` has said a line with one of these words, and notes the line.
    pub(super) fn says(&mut self, words: &[&str]) -> Result<()> {
        let line = eventually(patient(WORDS), || {
            let log = self.log();
            log.lines().find_map(|line| {
                let lower = line.to_lowercase();
                let hit = words
                    .iter()
                    .any(|word| lower.contains(&word.to_lowercase()));
                hit.then(|| line.to_owned())
            })
        });
        let line = line
            .with_context(|| format!("silent: `run` said nothing of {words:?}:\n{}", self.log()))?;
        self.facts.says(&line, self.rig.lab.scratch());
        Ok(())
    }

    /// Notes why `run` has nothing to say.
    pub(super) fn needs_no_word(&mut self, why: &str) {
        self.facts.says_nothing(why);
    }

    /// Insists that `status` tells of the fault, where the words of `run` reach nobody.
    pub(super) fn status_tells(&mut self) -> Result<()> {
        let (code, status) = self.status()?;
        ensure!(code == Some(3), "silent: {status:?}");
        self.facts
            .says_nothing(&format!("`status`: {}", status.state));
        Ok(())
    }

    /// Lets a while pass, in which nothing is accepted.
    pub(super) fn stays_closed(&self, a_while: Duration) -> Result<()> {
        std::thread::sleep(a_while);
        self.expect_closed()
    }

    /// Heals the fault: `status` must say enforcing, with 0.
    pub(super) fn heals(
        &mut self,
        how: &str,
        limit: Duration,
        act: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        act(self).with_context(|| format!("to heal: {how}"))?;
        let start = Instant::now();
        let mut seen = String::new();
        let healed = eventually(patient(limit), || {
            match self.status() {
                Ok((Some(0), status)) if status.state == "enforcing" => return Some(()),
                other => seen = format!("{other:?}"),
            }
            std::thread::sleep(Duration::from_millis(100));
            None
        });
        healed.with_context(|| format!("no healing within {limit:?} by: {how}: {seen}"))?;
        self.facts.heals(how, start.elapsed());
        self.expect_closed()
    }

    /// Insists that an interface that comes up now gets its guard.
    pub(super) fn guards_a_newcomer(&mut self) -> Result<()> {
        let host = &self.rig.lab.host;
        host.ip("link add new0 type veth peer name new1\nlink set new0 up\nlink set new1 up")?;
        let mut seen = String::new();
        let guarded = eventually(patient(Duration::from_secs(5)), || {
            let status = self.status();
            seen = format!("{status:?}");
            let (_, status) = status.ok()?;
            let mut guards = status.guards.iter();
            guards
                .any(|guard| guard.interface.as_deref() == Some("new0"))
                .then_some(())
        });
        guarded.with_context(|| format!("an interface came up, and got no guard: {seen}"))?;
        self.rig.lab.host.ip("link del new0")
    }

    /// Insists that SIGTERM ends `run`, which has no obstacle to wait for.
    pub(super) fn obeys(&mut self) -> Result<()> {
        let log = self.log_file();
        let run = self.daemon()?;
        run.signal(Signal::TERM)?;
        let ended = run.wait(patient(Duration::from_secs(3)))?;
        let ended = ended.context("SIGTERM had no effect within 3 s")?;
        ensure!(
            ended.success(),
            "SIGTERM: {ended}:\n{}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
        self.run = None;
        self.expect_closed()
    }

    /// The words of `run`.
    pub(super) fn log(&self) -> String {
        let bytes = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.rig.lab.scratch().join("run.log")
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
        let since = self.since.context("`run` was never started")?;
        let accepted = self.hammer.accepted_since(since);
        ensure!(
            accepted.is_empty(),
            "open: {} attempts were accepted, the first: {:?}",
            accepted.len(),
            accepted.first()
        );
        Ok(())
    }

    fn conclude(&mut self) -> Result<()> {
        let since = self.since.context("`run` was never started")?;
        self.facts.accepted(self.hammer.accepted_since(since).len());
        self.expect_closed()
    }
}

/// A limit for this machine: a guest's is longer, as its processor may be emulated.
fn patient(limit: Duration) -> Duration {
    if is_guest() { limit * 5 } else { limit }
}
