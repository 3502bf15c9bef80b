//! The start of `run`: whatever is wrong with the registry, a policy holds.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    outcome,
    reader::{RegistryReader, Request},
    reconciler::{Begun, LoadError, OwnFile, Rejection, SharedRegistry},
    report::{Report, Reporter},
};
use crate::{
    control::{self, Error, Instance, UpOptions},
    host,
    note::{Note, NoteKind},
    registry::{self, MissingFile, Source, load},
};

/// The time for which the first guards wait for the registry's files, which answer in milliseconds
/// as a rule.
const GRACE: Duration = Duration::from_millis(500);

/// The result of the attempt to put the registry's files in force.
#[derive(Debug)]
enum Attempt {
    /// The registry is in force.
    InForce(SharedRegistry),
    /// The registry is bad.
    Bad(Rejection),
    /// The files cannot be read for now.
    Unread(String),
    /// The files have not been read yet, for this reason.
    Late(String),
    /// The registry is good, and an error kept it out of force.
    KeptOut(Error),
}

/// The policy to begin with.
#[derive(Debug)]
enum Decision {
    /// The registry, which is in force.
    Registry(SharedRegistry),
    /// The pinned policy, in spite of this problem.
    Pinned(Problem),
    /// The embedded default, because of this problem: a typo must not leave the host open at boot.
    EmbeddedDefault(Problem),
    /// None: `run` fails. The pins are another network namespace's; or nothing is pinned, and the
    /// registry would cut off the operator who typed the command: another policy is not the
    /// operator's wish.
    Fail(Error),
}

/// The reason why the registry is not in force.
#[derive(Debug)]
struct Problem {
    kind: NoteKind,
    text: String,
    /// The errors of a bad registry.
    rejection: Option<Rejection>,
    /// The problem may pass.
    retry: bool,
    /// The read goes on.
    is_loading: bool,
}

impl Problem {
    fn new(kind: NoteKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            rejection: None,
            retry: false,
            is_loading: false,
        }
    }
}

/// The decision about the policy to begin with.
fn decide(attempt: Attempt, is_pinned: bool) -> Decision {
    let problem = match attempt {
        Attempt::InForce(registry) => return Decision::Registry(registry),
        Attempt::KeptOut(error @ Error::LockOut(_)) if !is_pinned => return Decision::Fail(error),
        // The pinned policy guards nothing here.
        Attempt::KeptOut(error @ Error::OtherNamespace { .. }) => return Decision::Fail(error),
        Attempt::KeptOut(error) if error.is_refusal() => {
            Problem::new(NoteKind::RegistryRefused, outcome::text(&error))
        }
        Attempt::KeptOut(error) => Problem {
            retry: true,
            ..Problem::new(NoteKind::Retry, outcome::text(&error))
        },
        Attempt::Bad(rejection) => Problem {
            rejection: Some(rejection),
            ..Problem::new(NoteKind::RegistryBad, "the registry is bad")
        },
        Attempt::Unread(why) => Problem {
            retry: true,
            ..Problem::new(NoteKind::Retry, why)
        },
        Attempt::Late(why) => Problem {
            is_loading: true,
            ..Problem::new(NoteKind::Obstacle, why)
        },
    };
    match is_pinned {
        true => Decision::Pinned(problem),
        false => Decision::EmbeddedDefault(problem),
    }
}

/// Puts the registry in force, or else keeps the pinned policy, or else puts the embedded default
/// in force. Guards come before words: warnings, errors and notes are reported afterwards.
///
/// # Errors
/// No policy could be put in force, and nothing was pinned; or the pins are another network
/// namespace's.
pub(super) async fn begin(
    instance: &Instance,
    own: &OwnFile,
    options: UpOptions,
    reader: &mut RegistryReader,
    reporter: &Reporter<'_>,
) -> Result<Begun, Error> {
    instance.refuse_others()?;
    let is_pinned = instance.is_pinned()?;
    let missing = match is_pinned {
        false => MissingFile::Embedded,
        // Pins of another layout do not tell, and `up` replaces them.
        true => instance.missing_file().unwrap_or(MissingFile::Fragments),
    };
    let config = own.is_named.then_some(own.path.as_path());
    let source = Source::of_config(config, missing);
    let file = own.path.clone();
    reader.request(Request { file, source });
    let attempt = match first_result(reader).await {
        Err(why) => Attempt::Late(why),
        Ok(Ok(registry)) => attempt(instance, registry, options, reporter).await,
        Ok(Err(LoadError::Rejected(rejection))) => Attempt::Bad(rejection),
        Ok(Err(LoadError::Failed(why))) => Attempt::Unread(why),
    };
    match decide(attempt, is_pinned) {
        Decision::Registry(registry) => Ok(Begun {
            registry: Some(registry),
            ..Begun::default()
        }),
        Decision::Fail(error) => Err(error),
        Decision::Pinned(problem) => {
            let text = format!("{}: the pinned policy stays in force", problem.text);
            let kind = problem.kind;
            let begun = problem.begun(reporter);
            reporter.note(kind, text);
            Ok(begun)
        }
        Decision::EmbeddedDefault(problem) => {
            let embedded = load(&Source::Embedded, &registry::Reader::STRICT);
            let embedded = SharedRegistry::from(embedded.map_err(anyhow::Error::from)?);
            let options = UpOptions {
                fallback: true,
                ..options
            };
            let put = put_in_force(instance, &embedded, options, reporter).await;
            let text = format!(
                "{}: the embedded default holds in its place (degraded)",
                problem.text
            );
            let mut begun = problem.begun(reporter);
            put?;
            begun.registry = Some(embedded);
            reporter.note(NoteKind::RegistryFallback, text);
            Ok(begun)
        }
    }
}

/// Waits for the registry in its files, for a moment, or returns the reason why guards come first.
async fn first_result(
    reader: &mut RegistryReader,
) -> Result<Result<SharedRegistry, LoadError>, String> {
    // The thread may be had later, and reads then.
    if let Some(why) = reader.refusal() {
        return Err(format!("{why:#}"));
    }
    match timeout(GRACE, reader.result()).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Ok(Err(LoadError::Failed(format!("{error:#}")))),
        Err(_) => Err(format!(
            "the registry's files have not answered within {GRACE:?}"
        )),
    }
}

impl Problem {
    /// Reports the errors of a bad registry, and returns the start with this problem.
    fn begun(self, reporter: &Reporter<'_>) -> Begun {
        let errors = self.rejection.map(|rejection| {
            reporter.report(Report::Diagnostics(rejection.errors));
            rejection.text
        });
        Begun {
            registry: None,
            is_loading: self.is_loading,
            retry: self.retry,
            errors,
        }
    }
}

async fn attempt(
    instance: &Instance,
    registry: SharedRegistry,
    options: UpOptions,
    reporter: &Reporter<'_>,
) -> Attempt {
    match put_in_force(instance, &registry, options, reporter).await {
        Ok(()) => {
            let snapshot = host::snapshot().await.ok();
            reporter.warnings(&registry, snapshot.as_ref());
            Attempt::InForce(registry)
        }
        Err(error) => Attempt::KeptOut(error),
    }
}

/// Puts a registry in force. Another process that does not give up the lock prevents no guard
/// where nothing is pinned.
async fn put_in_force(
    instance: &Instance,
    registry: &SharedRegistry,
    options: UpOptions,
    reporter: &Reporter<'_>,
) -> Result<(), Error> {
    let up = control::up(instance, registry, options).await;
    let unlocked = up.as_ref().err().and_then(Error::without_lock);
    let notes = match unlocked {
        Some(why) if !instance.is_pinned()? => {
            let alone = UpOptions {
                without_lock: true,
                ..options
            };
            let mut notes = control::up(instance, registry, alone).await?;
            let text = format!("{why}: guards were attached without the lock");
            notes.push(Note::new(NoteKind::LockHeld, text));
            notes
        }
        _ => up?,
    };
    notes
        .into_iter()
        .for_each(|note| reporter.report(Report::Note(note)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::LockOut, registry::Diagnostics};

    fn decision(attempt: Attempt, is_pinned: bool) -> (&'static str, Option<(NoteKind, bool)>) {
        let seen = |problem: Problem| {
            let comes_later = problem.retry || problem.is_loading;
            Some((problem.kind, comes_later))
        };
        match decide(attempt, is_pinned) {
            Decision::Registry(_) => ("registry", None),
            Decision::Pinned(problem) => ("pinned", seen(problem)),
            Decision::EmbeddedDefault(problem) => ("embedded", seen(problem)),
            Decision::Fail(_) => ("fail", None),
        }
    }

    #[test]
    fn a_policy_holds_whatever_is_wrong_with_the_registry() {
        let in_force = || {
            Attempt::InForce(
                load(&Source::Embedded, &registry::Reader::STRICT)
                    .unwrap()
                    .into(),
            )
        };
        let bad = || {
            Attempt::Bad(Rejection {
                errors: Diagnostics::default(),
                text: "typo".to_owned(),
                is_missing: false,
            })
        };
        let lock_out = || {
            Attempt::KeptOut(Error::LockOut(LockOut {
                dangers: Vec::new(),
                is_pinned: false,
            }))
        };
        let others = || {
            Attempt::KeptOut(Error::OtherNamespace {
                pins: "/sys/fs/bpf/enforcer".into(),
                theirs: 1,
                ours: 2,
            })
        };
        let rolled_back = || Attempt::KeptOut(Error::AlreadyRolledBack);
        let failed = || Attempt::KeptOut(Error::Interrupted);
        let refused = Some((NoteKind::RegistryRefused, false));
        let is_bad = Some((NoteKind::RegistryBad, false));
        let may_pass = Some((NoteKind::Retry, true));
        let unread = || Attempt::Unread("no thread".to_owned());
        let late = || Attempt::Late("no thread so far".to_owned());
        let is_late = Some((NoteKind::Obstacle, true));

        assert_eq!(decision(in_force(), true), ("registry", None));
        assert_eq!(decision(bad(), true), ("pinned", is_bad));
        assert_eq!(decision(lock_out(), true), ("pinned", refused));
        assert_eq!(decision(rolled_back(), true), ("pinned", refused));
        assert_eq!(decision(failed(), true), ("pinned", may_pass));
        assert_eq!(decision(unread(), true), ("pinned", may_pass));
        assert_eq!(decision(late(), true), ("pinned", is_late));

        // Another namespace's policy guards nothing here.
        assert_eq!(decision(others(), true), ("fail", None));
        assert_eq!(decision(others(), false), ("fail", None));

        assert_eq!(decision(in_force(), false), ("registry", None));
        assert_eq!(decision(bad(), false), ("embedded", is_bad));
        assert_eq!(decision(lock_out(), false), ("fail", None));
        assert_eq!(decision(rolled_back(), false), ("embedded", refused));
        assert_eq!(decision(failed(), false), ("embedded", may_pass));
        assert_eq!(decision(unread(), false), ("embedded", may_pass));
        assert_eq!(decision(late(), false), ("embedded", is_late));
    }
}
