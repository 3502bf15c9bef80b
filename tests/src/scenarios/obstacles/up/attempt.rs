//! The trial of an `up`: a neighbour who never rests, an obstacle, and the facts for the table.

use std::any::Any;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::cell::{FRAGMENT, MAIN};
use super::super::record::Record;
use super::super::trial::{GOOD, GOOD_FRAGMENT};
use super::cell::{After, Demand, Pins, UpCell};
use crate::lab::command::{Daemon, eventually, finish};
use crate::lab::hammer::Hammer;
use crate::lab::mounts::{first_process, in_a_machine, inside_machine};
use crate::lab::report::Status;
use crate::lab::{Server, Transport};
use crate::scenario::Rig;

/// Longest time of an `up`: the patience with a lock is 30 s.
const LIMIT: Duration = Duration::from_secs(60);
/// The time without an accepted attempt that proves guards, after an answer on its way has arrived.
const SILENCE: Duration = Duration::from_millis(500);
const ON_ITS_WAY: Duration = Duration::from_millis(100);
/// The pin directory in a small machine.
const IN_A_MACHINE: &str = "/sys/fs/bpf/enforcer";

/// A trial.
pub struct Attempt<'a> {
    /// The lab and the enforcer.
    pub rig: &'a Rig<'a>,
    /// The pins before.
    pub pins: Pins,
    hammer: Hammer,
    _servers: [Server; 2],
}

type Guide = dyn FnOnce(&mut Command) -> Result<()>;

/// An obstacle in its place.
pub struct Placed {
    guide: Box<Guide>,
    kept: Vec<Box<dyn Any>>,
    arguments: Vec<&'static str>,
    /// The lines of a shell that make a small machine ready.
    prelude: Option<String>,
    pin_dir: Option<PathBuf>,
    /// Whether `--config` names no file.
    is_at_default_path: bool,
}

impl Placed {
    /// An obstacle that any command meets.
    pub(super) fn anywhere() -> Self {
        Self::for_command(|_| Ok(()))
    }

    /// An obstacle for the command alone.
    pub(super) fn for_command(guide: impl FnOnce(&mut Command) -> Result<()> + 'static) -> Self {
        Self {
            guide: Box::new(guide),
            kept: Vec::new(),
            arguments: Vec::new(),
            prelude: None,
            pin_dir: None,
            is_at_default_path: false,
        }
    }

    /// An obstacle at the default path of the registry, for the command alone.
    pub(super) fn at_default_path(
        guide: impl FnOnce(&mut Command) -> Result<()> + 'static,
    ) -> Self {
        Self {
            is_at_default_path: true,
            ..Self::for_command(guide)
        }
    }

    /// An obstacle in a small machine, made by these lines of a shell.
    pub(super) fn in_a_machine(prelude: impl Into<String>) -> Self {
        Self {
            prelude: Some(prelude.into()),
            pin_dir: Some(IN_A_MACHINE.into()),
            ..Self::anywhere()
        }
    }

    /// The same with a value that lives as long as the trial.
    pub(super) fn keeping(mut self, value: impl Any) -> Self {
        self.kept.push(Box::new(value));
        self
    }

    /// The same with arguments of `up`.
    pub(super) fn with(mut self, arguments: &[&'static str]) -> Self {
        self.arguments.extend(arguments);
        self
    }

    /// The same with another pin directory.
    pub(super) fn pinned_at(self, pin_dir: PathBuf) -> Self {
        Self {
            pin_dir: Some(pin_dir),
            ..self
        }
    }
}

/// The `up` under trial, ended.
struct Ended {
    code: Option<i32>,
    output: String,
    took: Duration,
    /// The small machine, if the trial has one, and its first process.
    machine: Option<(Daemon, u32)>,
}

impl<'a> Attempt<'a> {
    /// Tries a cell, and writes its line.
    pub(super) fn of(cell: &UpCell, pins: Pins, demand: Demand, rig: &'a Rig<'a>) -> Result<()> {
        let attempt = Self::new(pins, rig)?;
        let mut facts = Record::of_up(&cell.name(pins));
        let tried = attempt.try_it(cell, demand, &mut facts);
        facts.write(tried.is_ok())?;
        tried
    }

    fn new(pins: Pins, rig: &'a Rig<'a>) -> Result<Self> {
        let host = &rig.lab.host;
        let serve =
            |port: u16| Server::start(host, Transport::Tcp, &format!("0.0.0.0:{port}"), "token");
        let servers = [serve(MAIN)?, serve(FRAGMENT)?];
        rig.enforcer.registry(GOOD)?;
        let folder = rig.enforcer.config_path()?.with_extension("d");
        fs::create_dir(&folder)?;
        fs::write(folder.join("mongo.toml"), GOOD_FRAGMENT)?;
        Ok(Self {
            rig,
            pins,
            hammer: Hammer::start(rig.lab, &[MAIN, FRAGMENT])?,
            _servers: servers,
        })
    }

    /// The folder of fragments, with one good fragment.
    pub(super) fn fragments(&self) -> Result<PathBuf> {
        Ok(self.rig.enforcer.config_path()?.with_extension("d"))
    }

    fn try_it(&self, cell: &UpCell, demand: Demand, facts: &mut Record) -> Result<()> {
        // The control: without guards the neighbour is served.
        self.hammer.expect_open()?;
        let mut since = None;
        if self.pins == Pins::InForce {
            self.rig.enforcer.expect(&["up"], 0)?;
            std::thread::sleep(ON_ITS_WAY);
            since = Some(Instant::now());
        }
        let placed = (cell.place)(self).context("failed to make the obstacle")?;
        let before = match demand.after {
            After::Nothing => self.rig.enforcer.status()?.1.generation,
            After::Guards => 0,
        };
        let (ended, _kept) = self.up(placed)?;
        std::thread::sleep(ON_ITS_WAY);
        let since = since.unwrap_or_else(Instant::now);
        let said = || format!("`up` said:\n{}", ended.output);
        ensure!(
            ended.code == Some(demand.code),
            "expected exit code {}, but {:?}; {}",
            demand.code,
            ended.code,
            said()
        );
        facts.ended(demand.code, ended.took);
        self.expect_words(&ended.output, demand.says, facts)
            .with_context(said)?;
        std::thread::sleep(SILENCE);
        let accepted = self.hammer.accepted_since(since);
        if (demand.after, self.pins) == (After::Nothing, Pins::None) {
            self.hammer.expect_open()?;
        } else {
            facts.accepted(accepted.len());
            ensure!(
                accepted.is_empty(),
                "open: {} attempts were accepted, the first: {:?}; {}",
                accepted.len(),
                accepted.first(),
                said()
            );
        }
        self.expect_state(demand.after, before, &ended)
            .with_context(said)
    }

    /// Runs `up` to the end. The obstacle stays as long as the second value.
    fn up(&self, placed: Placed) -> Result<(Ended, Vec<Box<dyn Any>>)> {
        let scratch = self.rig.lab.scratch();
        let (log, code) = (scratch.join("up.log"), scratch.join("up.code"));
        let mut command = self.rig.lab.host.command(self.rig.enforcer.binary());
        let pin_dir = placed.pin_dir.clone();
        command.arg("--pin-dir");
        command.arg(pin_dir.unwrap_or_else(|| self.rig.lab.pin_dir()));
        if !placed.is_at_default_path {
            let file = self.rig.enforcer.config_path()?;
            command.arg("--config").arg(file);
        }
        command.arg("up").args(&placed.arguments);
        if let Some(prelude) = &placed.prelude {
            let mut shell = Command::new("sh");
            let script = format!("\"$@\"; echo $? > {0}.new; mv {0}.new {0}", code.display());
            shell.args(["-c", &script, "sh"]);
            shell.arg(command.get_program()).args(command.get_args());
            command = in_a_machine(&self.rig.lab.host, prelude, &shell);
            command.env("LINGER", "20");
        }
        let file = File::create(&log)?;
        command
            .env("NO_COLOR", "1")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        (placed.guide)(&mut command)?;
        let exec = Instant::now();
        let mut process = Daemon::spawn(command)?;
        let (code, machine) = match placed.prelude {
            None => (process.expect_end(LIMIT)?.code(), None),
            Some(_) => {
                let first = first_process(&process)?;
                let text = eventually(LIMIT, || fs::read_to_string(&code).ok());
                let text = text.context("`up` did not end in the machine")?;
                (Some(text.trim().parse()?), Some((process, first)))
            }
        };
        let ended = Ended {
            code,
            output: String::from_utf8_lossy(&fs::read(&log)?).into_owned(),
            took: exec.elapsed(),
            machine,
        };
        Ok((ended, placed.kept))
    }

    fn expect_words(&self, output: &str, words: &[&str], facts: &mut Record) -> Result<()> {
        if words.is_empty() {
            facts.says_nothing("nothing of the obstacle");
            return Ok(());
        }
        let is_told = |line: &&str| words.iter().any(|word| line.contains(word));
        let line = output.lines().find(is_told);
        let line = line.with_context(|| format!("silent: no line with one of {words:?}"))?;
        facts.says(line, self.rig.lab.scratch());
        Ok(())
    }

    fn expect_state(&self, after: After, before: u64, ended: &Ended) -> Result<()> {
        let (code, status) = self.status(ended)?;
        match (after, self.pins) {
            (After::Guards, _) => ensure!(
                code != Some(4) && !status.guards.is_empty(),
                "there are no guards: {status:?}"
            ),
            (After::Nothing, Pins::None) => {
                ensure!(code == Some(4), "not off: {status:?}");
                self.expect_pins(&[])?;
            }
            (After::Nothing, Pins::InForce) => {
                ensure!(
                    code == Some(0) && status.generation == before,
                    "not as generation {before} before, but {status:?}"
                );
                self.expect_pins(&["pins"])?;
            }
        }
        Ok(())
    }

    /// `status`, without the obstacle if the obstacle is the command's alone.
    fn status(&self, ended: &Ended) -> Result<(Option<i32>, Status)> {
        let Some((_, first)) = &ended.machine else {
            return self.rig.enforcer.status();
        };
        let mut command = Command::new(self.rig.enforcer.binary());
        command.args(["--pin-dir", IN_A_MACHINE, "status", "--json"]);
        let finished = finish(inside_machine(&self.rig.lab.host, *first, &command), "")?;
        let status = serde_json::from_str(&finished.stdout)
            .with_context(|| format!("no status: {finished}"))?;
        Ok((finished.code, status))
    }

    /// Insists on these names, and no other, beside the place of the pins.
    fn expect_pins(&self, expected: &[&str]) -> Result<()> {
        let pins = self.rig.lab.pin_dir();
        let folder = pins.parent().unwrap_or(Path::new("/"));
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        ensure!(names == expected, "left behind: {names:?}");
        Ok(())
    }
}
