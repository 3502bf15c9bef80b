//! Facts of several runs, by kernel line.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use super::record::{Answer, End, Fact, Line, Tried};
use super::{log, record};
use crate::lab::enforcer::Guards;
use crate::scenarios::attack::Attack;

/// Words of a scenario that lacks a feature, before the feature's name.
pub(super) const LACKS: &str = "this kernel has no ";

/// A kernel line: the first two numbers of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KernelLine(u32, u32);

impl KernelLine {
    /// The line of a release.
    ///
    /// # Errors
    /// The release does not begin with two numbers.
    pub(super) fn of(release: &str) -> Result<Self> {
        let mut numbers = release.split(|char: char| !char.is_ascii_digit());
        let mut number = || numbers.next()?.parse().ok();
        number()
            .and_then(|major| Some(Self(major, number()?)))
            .with_context(|| format!("`{release}` is no release of a kernel"))
    }
}

impl std::fmt::Display for KernelLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Facts of a kernel line.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Releases that ran scenarios.
    pub(super) releases: BTreeSet<String>,
    /// The end of each scenario.
    pub(super) ends: BTreeMap<String, End>,
    /// The attempt of each attack under each set of guards.
    attempts: BTreeMap<(String, Guards), Tried>,
}

/// What guards made of an attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// The guards dropped the attack, for these reasons.
    Held(Vec<String>),
    /// The attack reached the service.
    Open,
    /// The attack reached no service, and no guard dropped a packet.
    Unanswered,
    /// The kernel lacks what the attack or the guard needs, for this reason.
    LeftOut(String),
    /// No run tried these guards.
    Untried,
}

/// Facts of several runs.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Release of the kernel of logs that name none.
    pub(super) unnamed: Option<String>,
    /// Facts by kernel line.
    pub(super) kernels: BTreeMap<KernelLine, Facts>,
    /// Scenarios that failed in a run and passed in a later run, with the kernel line.
    pub(super) repeated: BTreeSet<(KernelLine, String)>,
}

impl Seen {
    /// Adds the facts of a file: a record, or a log.
    ///
    /// A scenario of several guests of a kernel fails if one fails. A later file replaces the ends
    /// of an earlier file; a scenario that a later run left out replaces no end.
    ///
    /// # Errors
    /// The text is neither; the text shows no scenario's end.
    pub(super) fn add(&mut self, text: &str) -> Result<()> {
        let lines = match text.trim_start().starts_with('{') {
            true => record::parse(text)?,
            false => log::parse(text, self.unnamed.as_deref())?,
        };
        ensure!(!lines.is_empty(), "no scenario ended");
        let mut ends: BTreeMap<(KernelLine, String), End> = BTreeMap::new();
        for Line { kernel, fact } in lines {
            let line = KernelLine::of(&kernel)?;
            let facts = self.kernels.entry(line).or_default();
            facts.releases.insert(kernel);
            match fact {
                Fact::Scenario { name, end } => {
                    let known = ends.entry((line, name)).or_insert_with(|| end.clone());
                    if *known != End::Failed && end.is_a_trial() {
                        *known = end;
                    }
                }
                Fact::Attempt(tried) => {
                    let key = (tried.attack.clone(), tried.guards);
                    facts.attempts.insert(key, tried);
                }
            }
        }
        for ((line, name), end) in ends {
            let facts = self.kernels.entry(line).or_default();
            if !end.is_a_trial() && facts.ends.contains_key(&name) {
                continue;
            }
            let has_passed = end == End::Passed;
            if facts.ends.insert(name.clone(), end) == Some(End::Failed) && has_passed {
                self.repeated.insert((line, name));
            }
        }
        Ok(())
    }

    /// Scenarios that failed, and attacks that reached the service past guards that must hold, as
    /// far as `counts` picks the name.
    pub(super) fn failures(&self, counts: impl Fn(&str) -> bool) -> Vec<String> {
        let mut failures = Vec::new();
        for (line, facts) in &self.kernels {
            let failed = facts.ends.iter().filter(|(_, end)| **end == End::Failed);
            let failed = failed.map(|(name, _)| name.clone());
            let leaks = facts.attempts.values();
            let leaks = leaks.filter(|one| one.demanded && one.outcome == Answer::Reached);
            let leaks = leaks.map(|one| format!("{}::{}", one.attack, one.guards.name()));
            let names: BTreeSet<_> = failed.chain(leaks).filter(|name| counts(name)).collect();
            failures.extend(names.iter().map(|name| format!("{name} on {line}")));
        }
        failures
    }
}

impl Facts {
    /// What a set of guards made of an attack.
    pub(super) fn status(&self, attack: &Attack, guards: Guards) -> Status {
        if let Some(tried) = self.attempts.get(&(attack.name.to_owned(), guards)) {
            return match (tried.outcome, tried.drops.is_empty()) {
                (Answer::Reached, _) => Status::Open,
                (_, true) => Status::Unanswered,
                (_, false) => {
                    let reasons = tried.drops.iter().map(|drop| drop.reason.clone());
                    Status::Held(reasons.collect())
                }
            };
        }
        let end = |last: &str| self.ends.get(&format!("{}::{last}", attack.name));
        match end(guards.name()).or_else(|| end("each_guard_alone")) {
            None | Some(End::Failed) => Status::Untried,
            Some(End::LeftOut(why)) => Status::LeftOut(why.clone()),
            Some(End::Passed) => self.by_the_data(attack, guards),
        }
    }

    /// What a scenario that passed shows: the data of the attack name the reason.
    fn by_the_data(&self, attack: &Attack, guards: Guards) -> Status {
        let wire = attack.wire.map(|because| because.to_string());
        let socket = attack.socket.map(|because| because.to_string());
        let missing = attack.wire_with.map(|feature| feature.name());
        let missing = missing.filter(|feature| self.lacks(feature));
        let reason = match (guards, missing) {
            (Guards::Wire, Some(feature)) => {
                return Status::LeftOut(format!("{LACKS}{feature}"));
            }
            (Guards::Both, Some(_)) | (Guards::Socket, _) => socket,
            (Guards::Wire, None) => wire,
            (Guards::Both, None) => wire.or(socket),
        };
        reason.map_or(Status::Untried, |reason| Status::Held(vec![reason]))
    }

    /// Whether a scenario was left out for want of a feature.
    fn lacks(&self, feature: &str) -> bool {
        self.ends.values().any(|end| match end {
            End::LeftOut(why) => why.strip_prefix(LACKS) == Some(feature),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Feature, Port};
    use enforcer_ebpf::Reason;

    fn attack(name: &'static str) -> Attack {
        let attack = Attack::new(name, Port("tcp", 9200), |_| anyhow::bail!("no stage"));
        attack.held_by_wire(Reason::LoopbackAddress)
    }

    fn on<'a>(seen: &'a Seen, release: &str) -> &'a Facts {
        &seen.kernels[&KernelLine::of(release).unwrap()]
    }

    const LOG: &str = "guest: up 6.1.0-56-cloud-amd64 after 4 s
test a01_x::each_guard_alone ... ok
test a16_y ... ignored (this kernel has no tcx)
";

    #[test]
    fn a_release_has_a_line() {
        let line = |release| KernelLine::of(release).map(|line| line.to_string());
        assert_eq!(line("6.12.48+deb13-cloud-amd64").unwrap(), "6.12");
        assert_eq!(line("7.2-rc1").unwrap(), "7.2");
        assert!(KernelLine::of("6.1.0").unwrap() < KernelLine::of("6.12.1").unwrap());
        assert!(line("newest").is_err());
    }

    #[test]
    fn a_log_shows_what_the_data_demand_and_no_more() {
        let mut seen = Seen::default();
        seen.add(LOG).unwrap();
        let facts = on(&seen, "6.1");
        let attack = attack("a01_x");
        let held = Status::Held(vec!["loopback-address".to_owned()]);
        assert_eq!(facts.status(&attack, Guards::Wire), held);
        assert_eq!(facts.status(&attack, Guards::Socket), Status::Untried);
        let with_tcx = attack.wire_with(Feature::Tcx);
        assert_eq!(
            facts.status(&with_tcx, Guards::Wire),
            Status::LeftOut("this kernel has no tcx".to_owned())
        );
    }

    #[test]
    fn a_record_says_what_was_seen() {
        let line = |guards, outcome, drops| {
            format!(
                r#"{{"kernel":"6.18.1","attempt":{{"attack":"a01_x","guards":"{guards}","demanded":false,"control":"reached","outcome":"{outcome}","drops":[{drops}]}}}}"#
            ) + "\n"
        };
        let drop = r#"{"guard":"wire","reason":"peer"}"#;
        let text = line("wire", "silence", drop) + &line("socket", "reached", "");
        let mut seen = Seen::default();
        seen.add(&(text + &line("both", "refused", ""))).unwrap();
        let status = |guards| on(&seen, "6.18").status(&attack("a01_x"), guards);
        assert_eq!(status(Guards::Wire), Status::Held(vec!["peer".to_owned()]));
        assert_eq!(status(Guards::Socket), Status::Open);
        assert_eq!(status(Guards::Both), Status::Unanswered);
    }

    #[test]
    fn failures_stand_until_a_later_file() {
        let failed = LOG.replace("... ok", "... FAILED") + "test a01_x::each_guard_alone ... ok\n";
        let mut seen = Seen::default();
        seen.add(&failed).unwrap();
        let expected = ["a01_x::each_guard_alone on 6.1"];
        assert_eq!(seen.failures(|_| true), expected);
        assert!(
            seen.failures(|name| name != "a01_x::each_guard_alone")
                .is_empty()
        );
        seen.add(LOG).unwrap();
        assert!(seen.failures(|_| true).is_empty());
        assert_eq!(seen.repeated.len(), 1);
    }

    #[test]
    fn a_run_that_leaves_a_scenario_out_undoes_no_end() {
        let mut seen = Seen::default();
        let left_out = LOG.replace("... ok", "... ignored (this kernel has no SCTP)");
        seen.add(&LOG.replace("... ok", "... FAILED")).unwrap();
        seen.add(&left_out).unwrap();
        assert_eq!(seen.failures(|_| true).len(), 1);
        seen.add(LOG).unwrap();
        seen.add(&(LOG.to_owned() + &left_out)).unwrap();
        let end = &on(&seen, "6.1").ends["a01_x::each_guard_alone"];
        assert_eq!(*end, End::Passed);
    }

    #[test]
    fn an_attack_past_a_guard_that_must_hold_is_a_failure() {
        let text = r#"{"kernel":"6.18.1","attempt":{"attack":"a01_x","guards":"wire","demanded":true,"control":"reached","outcome":"reached","drops":[]}}"#;
        let mut seen = Seen::default();
        seen.add(text).unwrap();
        assert_eq!(seen.failures(|_| true), ["a01_x::wire on 6.18"]);
        let not_demanded = text.replace(r#""demanded":true"#, r#""demanded":false"#);
        let mut seen = Seen::default();
        seen.add(&not_demanded).unwrap();
        assert!(seen.failures(|_| true).is_empty());
    }

    #[test]
    fn an_empty_file_is_refused() {
        assert!(Seen::default().add("guest: up 6.1.0 after 4 s\n").is_err());
    }
}
