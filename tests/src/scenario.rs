//! Scenarios as data: a name, marks and a body. `libtest_mimic` enters only where scenarios run.

use std::path::Path;
use std::sync::RwLock;

use anyhow::Result;
use libtest_mimic::{Completion, Failed, Trial};

use crate::evidence::record::{End, Ending};
use crate::lab::{Enforcer, Feature, Lab};

/// Reasons why the host alone runs a scenario.
pub mod host_only {
    /// Text, exit codes and files of the command line.
    pub const COMMAND_LINE: &str = "no kernel decides text, exit codes and files";
    /// The loader's files, timers and memory, and long runs.
    pub const LOADER: &str = "no kernel decides this, and an emulated processor takes minutes";
    /// Variants that differ from their siblings in bytes alone.
    pub const SAME_PATH: &str = "a sibling takes the same path through parser and stack";
    /// Variants sent by guests through their kernel's WireGuard.
    pub const TUNNELLED: &str = "guests send the same through their kernel's WireGuard";
    /// Attacks on a hook forced by the policy.
    pub const SAME_HOOK: &str = "a hook shows a packet in the same way on every kernel that has it";
    /// Scenarios with a single guard, beside the same with both.
    pub const BOTH_GUARDS: &str = "the sibling with both guards covers each guard";
    /// Scenarios of audit mode.
    pub const AUDIT: &str = "guests audit one attack for each feature that the host may lack";
}

/// Tools of a scenario's body: a fresh lab, and an enforcer that is not up yet.
#[derive(Debug)]
pub struct Rig<'lab> {
    /// The lab.
    pub lab: &'lab Lab,
    /// The enforcer on the lab's host.
    pub enforcer: &'lab Enforcer<'lab>,
}

/// A test case.
pub struct Scenario {
    name: String,
    needs: Vec<Feature>,
    turn: Turn,
    host_only: Option<&'static str>,
    takes_long: bool,
    body: Body,
}

type InLab = dyn FnOnce(&Rig<'_>) -> Result<()> + Send;

enum Body {
    Plain(Box<dyn FnOnce() -> Result<()> + Send>),
    InLab(Box<InLab>),
}

impl Scenario {
    /// A scenario in a fresh lab, which is removed with everything made there.
    pub fn new(
        name: impl Into<String>,
        body: impl FnOnce(&Rig<'_>) -> Result<()> + Send + 'static,
    ) -> Self {
        Self::with(name.into(), Body::InLab(Box::new(body)))
    }

    /// A scenario without a lab.
    pub fn plain(
        name: impl Into<String>,
        body: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        Self::with(name.into(), Body::Plain(Box::new(body)))
    }

    const fn with(name: String, body: Body) -> Self {
        Self {
            name,
            needs: Vec::new(),
            turn: Turn::BesideOthers,
            host_only: None,
            takes_long: false,
            body,
        }
    }

    /// A kernel without this feature leaves the scenario out, and says so.
    pub fn needs(self, feature: Feature) -> Self {
        self.needs_all([feature])
    }

    /// A kernel without all of these features leaves the scenario out.
    pub fn needs_all(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        self.needs.extend(features);
        self
    }

    /// No other scenario runs at the same time, as this scenario holds the enforcer to a time, and
    /// the machine may be an emulated processor.
    pub fn alone(mut self) -> Self {
        self.turn = Turn::Alone;
        self
    }

    /// The host alone runs this scenario, for this reason.
    pub fn host_only(self, why: &'static str) -> Self {
        self.host_only_if(Some(why))
    }

    /// The host alone runs this scenario, if there is a reason.
    pub fn host_only_if(mut self, why: Option<&'static str>) -> Self {
        self.host_only = self.host_only.or(why);
        self
    }

    /// A guest begins with this scenario, as minutes pass until the end.
    pub fn takes_long(mut self) -> Self {
        self.takes_long = true;
        self
    }

    /// The name, by which a filter finds the scenario.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether guests run this scenario too.
    pub const fn is_for_guests(&self) -> bool {
        self.host_only.is_none()
    }

    /// Whether this scenario belongs at the beginning of a run.
    pub const fn is_long(&self) -> bool {
        self.takes_long
    }

    /// Converts to the type of `libtest_mimic`, with the enforcer at `binary`: ignored, with the
    /// reason, on a kernel that lacks a feature.
    pub fn into_trial(self, binary: &Path) -> Trial {
        let Self {
            name,
            needs,
            turn,
            body,
            ..
        } = self;
        let binary = binary.to_path_buf();
        let label = name.clone();
        Trial::ignorable_test(name, move || {
            let ending = Ending::of(label);
            // Asked here, as listing needs no root.
            let missing = needs.iter().find(|feature| !feature.is_here());
            let result = match missing {
                Some(missing) => {
                    Err(LeftOut(format!("this kernel has no {}", missing.name())).into())
                }
                None => turn.give(|| body.run(&binary)),
            };
            let end = End::of(&result);
            ending.note(end.clone()).map_err(|error| failed(&error))?;
            match (end, result) {
                (End::LeftOut(reason), _) => Ok(Completion::ignored_with(reason)),
                (_, Err(error)) => Err(failed(&error)),
                (_, Ok(())) => Ok(Completion::Completed),
            }
        })
    }
}

/// Marks all of `scenarios` as the host's alone.
pub fn all_host_only(scenarios: Vec<Scenario>, why: &'static str) -> Vec<Scenario> {
    let marked = scenarios.into_iter().map(|one| one.host_only(why));
    marked.collect()
}

impl Body {
    fn run(self, binary: &Path) -> Result<()> {
        match self {
            Self::Plain(body) => body(),
            Self::InLab(body) => {
                let lab = Lab::new()?;
                let enforcer = Enforcer::new(binary, &lab)?;
                let rig = Rig {
                    lab: &lab,
                    enforcer: &enforcer,
                };
                body(&rig).map_err(|error| error.context(enforcer.diagnosis()))
            }
        }
    }
}

/// Whether other scenarios may run at the same time.
#[derive(Clone, Copy, Debug)]
enum Turn {
    BesideOthers,
    Alone,
}

impl Turn {
    fn give<T>(self, body: impl FnOnce() -> T) -> T {
        static TURNS: RwLock<()> = RwLock::new(());
        match self {
            Self::BesideOthers => {
                let _shared = TURNS.read();
                body()
            }
            Self::Alone => {
                let _whole = TURNS.write();
                body()
            }
        }
    }
}

/// The error of a scenario that finds nothing to try on this kernel.
#[derive(Debug)]
pub struct LeftOut(pub String);

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LeftOut {}

/// The whole chain of causes, the innermost first: expected and seen, then the place, then the
/// enforcer's own words.
fn failed(error: &anyhow::Error) -> Failed {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    Failed::from(causes.into_iter().rev().collect::<Vec<_>>().join("\n"))
}
