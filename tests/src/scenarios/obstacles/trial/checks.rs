//! The demands of a trial: words, guards for newcomers, edits, healing, and an end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{GOOD, GOOD_FRAGMENT, Place, Trial, WORDS, patient};
use crate::lab::command::eventually;
use crate::lab::mounts::child_of;

impl Trial<'_> {
    /// Insists that an edit of the registry is put in force, and undoes the edit.
    pub(in super::super) fn applies_an_edit(&mut self) -> Result<()> {
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

    /// Waits until `run` has said a line with one of these words, and notes the line.
    pub(in super::super) fn says(&mut self, words: &[&str]) -> Result<()> {
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
        let line = line.with_context(|| {
            let (log, threads) = (self.log(), self.stacks());
            format!("silent: `run` said nothing of {words:?}:\n{log}\nits threads:\n{threads}")
        })?;
        self.facts.says(&line, self.rig.lab.scratch());
        Ok(())
    }

    /// Notes why `run` has nothing to say.
    pub(in super::super) fn needs_no_word(&mut self, why: &str) {
        self.facts.says_nothing(why);
    }

    /// Insists that `status` tells of the fault, where the words of `run` reach nobody.
    pub(in super::super) fn status_tells(&mut self) -> Result<()> {
        let (code, status) = self.status()?;
        ensure!(code == Some(3), "silent: {status:?}");
        self.facts
            .says_nothing(&format!("`status`: {}", status.state));
        Ok(())
    }

    /// Lets a while pass, in which nothing is accepted.
    pub(in super::super) fn stays_closed(&self, a_while: Duration) -> Result<()> {
        std::thread::sleep(a_while);
        self.expect_closed()
    }

    /// Heals the fault: `status` must say enforcing, with 0.
    pub(in super::super) fn heals(
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
        healed.with_context(|| {
            let threads = self.stacks();
            format!("no healing within {limit:?} by: {how}: {seen}\nthreads of `run`:\n{threads}")
        })?;
        self.facts.heals(how, start.elapsed());
        self.expect_closed()
    }

    /// Insists that an interface that comes up now gets its guard.
    pub(in super::super) fn guards_a_newcomer(&mut self) -> Result<()> {
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

    /// Makes changes while `run` is stopped: `run` finds all of them at one moment.
    pub(in super::super) fn while_stopped(
        &mut self,
        changes: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let inner = match self.place {
            Place::Machine(first) => child_of(first, "enforcer")?,
            Place::Here | Place::OfRun(_) => self.daemon()?.id(),
        };
        kill_process(pid(inner)?, Signal::STOP)?;
        let changed = changes(self);
        kill_process(pid(inner)?, Signal::CONT)?;
        changed
    }

    /// Insists that SIGTERM ends `run`, which has no obstacle to wait for.
    pub(in super::super) fn obeys(&mut self) -> Result<()> {
        let log = self.log_file();
        let machine = match self.place {
            Place::Machine(first) => Some(child_of(first, "enforcer")?),
            Place::Here | Place::OfRun(_) => None,
        };
        match machine {
            None => self.daemon()?.signal(Signal::TERM)?,
            Some(inner) => {
                self.until = Some(Instant::now());
                kill_process(pid(inner)?, Signal::TERM)?;
            }
        }
        let run = self.daemon()?;
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
}

fn pid(id: u32) -> Result<Pid> {
    Pid::from_raw(i32::try_from(id)?).context("a process id")
}
