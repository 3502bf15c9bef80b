//! Record of a run: a line of JSON for each scenario, and for each attempt of an attack under
//! guards.

use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::{Context, Result};
use enforcer_ebpf::Verdict;
use serde::{Deserialize, Serialize};

use crate::lab::enforcer::Guards;
use crate::lab::{Outcome, Port};
use crate::scenario::{LeftOut, Rig};

/// The environment variable with the name of the file for the lines.
pub const FILE: &str = "ENFORCER_ATTACKS";

/// A line of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Release of the kernel, as `uname -r` prints.
    pub kernel: String,
    /// The fact.
    #[serde(flatten)]
    pub fact: Fact,
}

/// A fact of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// The end of a scenario.
    Scenario {
        /// The name.
        name: String,
        /// The end.
        end: End,
    },
    /// An attempt of an attack under guards.
    Attempt(Tried),
}

/// The end of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Every demand was met.
    Passed,
    /// The kernel lacks what the scenario needs, for this reason.
    LeftOut(String),
    /// A demand was not met.
    Failed,
}

impl End {
    /// The end of a scenario with this result.
    pub fn of(result: &Result<()>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(error) => match error.downcast_ref() {
                Some(LeftOut(reason)) => Self::LeftOut(reason.clone()),
                None => Self::Failed,
            },
        }
    }

    /// Whether the scenario ran.
    pub const fn is_a_trial(&self) -> bool {
        !matches!(self, Self::LeftOut(_))
    }
}

/// An attempt of an attack under guards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The attack's name.
    pub attack: String,
    /// The guards that were up.
    pub guards: Guards,
    /// Whether these guards must hold the attack.
    pub demanded: bool,
    /// The answer without any guard.
    pub control: Answer,
    /// The answer with the guards up.
    pub outcome: Answer,
    /// Reasons of counted drops.
    pub drops: Vec<Dropped>,
}

/// What an attempt saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The service was reached.
    Reached,
    /// A reset or an ICMP error came back.
    Refused,
    /// No packet came back.
    Silence,
}

impl From<&Outcome> for Answer {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Answered(_) => Self::Reached,
            Outcome::Refused => Self::Refused,
            Outcome::Silent => Self::Silence,
        }
    }
}

/// A guard that dropped a packet, and the counted reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dropped {
    /// Name of the guard.
    pub guard: String,
    /// Name of the reason.
    pub reason: String,
}

/// Whether this run is recorded.
pub fn is_wanted() -> bool {
    std::env::var_os(FILE).is_some()
}

/// Adds an attempt to the record, with the drops that the counters show for the port.
///
/// # Errors
/// The counters cannot be read; the file cannot be written.
pub fn attempt(mut tried: Tried, port: Port<'_>, rig: &Rig<'_>) -> Result<()> {
    if !is_wanted() {
        return Ok(());
    }
    let counters = rig.enforcer.counters()?;
    let counted = counters.0.iter().filter(|row| {
        let is_drop = row.verdict == Verdict::Drop.name() && !row.audited && row.packets > 0;
        let of_port = row.port.is_none_or(|number| number == port.1);
        is_drop && of_port
    });
    tried.drops = counted
        .map(|row| Dropped {
            guard: row.guard.clone(),
            reason: row.reason.clone(),
        })
        .collect();
    tried.drops.sort();
    tried.drops.dedup();
    append(Fact::Attempt(tried))
}

/// The end of a scenario, on the record on every way out: a panic is a failure.
#[derive(Debug)]
pub struct Ending {
    name: String,
    is_noted: bool,
}

impl Ending {
    /// A scenario that begins.
    pub const fn of(name: String) -> Self {
        Self {
            name,
            is_noted: false,
        }
    }

    /// Adds the end of the scenario to the record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(mut self, end: End) -> Result<()> {
        self.is_noted = true;
        self.append(end)
    }

    fn append(&self, end: End) -> Result<()> {
        append(Fact::Scenario {
            name: self.name.clone(),
            end,
        })
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.is_noted {
            self.append(End::Failed).ok();
        }
    }
}

/// Adds a line to the file, in one write, if a file was named.
fn append(fact: Fact) -> Result<()> {
    let Some(path) = std::env::var_os(FILE) else {
        return Ok(());
    };
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    let line = serde_json::to_string(&Line { kernel, fact })? + "\n";
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("failed to write to {} ({FILE})", path.display()))
}

/// The lines of a record.
///
/// # Errors
/// A line is none of a record.
pub fn parse(text: &str) -> Result<Vec<Line>> {
    let lines = text.lines().enumerate().map(|(index, line)| {
        serde_json::from_str(line).with_context(|| format!("line {} is none of ours", index + 1))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_written() {
        let lines = [
            Fact::Scenario {
                name: "a05_x::ipv4::wire".to_owned(),
                end: End::LeftOut("this kernel has no tcx".to_owned()),
            },
            Fact::Attempt(Tried {
                attack: "a05_x::ipv4".to_owned(),
                guards: Guards::Socket,
                demanded: false,
                control: Answer::Reached,
                outcome: Answer::Silence,
                drops: vec![Dropped {
                    guard: "socket".to_owned(),
                    reason: "untrusted-interface".to_owned(),
                }],
            }),
        ];
        let lines = lines.map(|fact| Line {
            kernel: "6.18.44".to_owned(),
            fact,
        });
        let texts = lines
            .iter()
            .map(|line| serde_json::to_string(line).unwrap());
        let text = texts.collect::<Vec<_>>().join("\n");
        assert_eq!(parse(&text).unwrap(), lines);
    }

    #[test]
    fn a_foreign_line_is_named() {
        let good = r#"{"kernel":"6.18","scenario":{"name":"x","end":"passed"}}"#;
        let error = parse(&format!("{good}\n{{\"name\":\"x\"}}")).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
