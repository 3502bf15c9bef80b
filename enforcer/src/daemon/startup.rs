//! The start of `run`: whatever is wrong with the registry, a policy holds.

use std::path::Path;

use super::{
    outcome,
    reconciler::{Begun, SharedRegistry},
    report::{Report, Reporter},
};
use crate::{
    control::{self, Error, Instance, UpOptions},
    host::HostSnapshot,
    note::NoteKind,
    registry::{MissingFile, Reader, Rejected, Source, load},
};

/// The result of the attempt to put the registry's files in force.
#[derive(Debug)]
enum Attempt {
    /// The registry is in force.
    InForce(SharedRegistry),
    /// The registry is bad.
    Bad(Rejected),
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
    /// None: `run` fails. Nothing is pinned, and the registry would cut off the operator who typed
    /// the command; another policy is not the operator's wish.
    Fail(Error),
}

/// The reason why the registry is not in force.
#[derive(Debug)]
struct Problem {
    kind: NoteKind,
    text: String,
    /// The errors of a bad registry.
    rejected: Option<Rejected>,
    /// The problem may pass.
    retry: bool,
}

/// The decision about the policy to begin with.
fn decide(attempt: Attempt, is_pinned: bool) -> Decision {
    let problem = match attempt {
        Attempt::InForce(registry) => return Decision::Registry(registry),
        Attempt::KeptOut(error @ Error::LockOut(_)) if !is_pinned => return Decision::Fail(error),
        Attempt::KeptOut(error) => Problem {
            kind: match error.is_refusal() {
                true => NoteKind::RegistryRefused,
                false => NoteKind::Retry,
            },
            text: outcome::text(&error),
            rejected: None,
            retry: !error.is_refusal(),
        },
        Attempt::Bad(rejected) => Problem {
            kind: NoteKind::RegistryBad,
            text: "the registry is bad".to_owned(),
            rejected: Some(rejected),
            retry: false,
        },
    };
    match is_pinned {
        true => Decision::Pinned(problem),
        false => Decision::EmbeddedDefault(problem),
    }
}

/// Puts the registry in force, or else keeps the pinned policy, or else puts the embedded default
/// in force. Reports warnings, errors and notes.
///
/// # Errors
/// No policy could be put in force, and nothing was pinned.
pub(super) async fn begin(
    instance: &Instance,
    config: Option<&Path>,
    options: UpOptions,
    snapshot: &HostSnapshot,
    reporter: &Reporter<'_>,
) -> Result<Begun, Error> {
    let is_pinned = instance.is_pinned()?;
    let missing = match is_pinned {
        false => MissingFile::Embedded,
        // Pins of another layout do not tell, and `up` replaces them.
        true => instance.missing_file().unwrap_or(MissingFile::Fragments),
    };
    let source = Source::of_config(config, missing);
    let attempt = attempt(instance, &source, options, snapshot, reporter).await?;
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
            let text = format!(
                "{}: the embedded default holds in its place (degraded)",
                problem.text
            );
            let options = UpOptions {
                fallback: true,
                ..options
            };
            let embedded = load(&Source::Embedded, &Reader::STRICT).map_err(anyhow::Error::from)?;
            let embedded = SharedRegistry::from(embedded);
            // The guards first: an operator may read the errors later.
            let put = put_in_force(instance, &embedded, options, reporter).await;
            let mut begun = problem.begun(reporter);
            put?;
            begun.registry = Some(embedded);
            reporter.note(NoteKind::RegistryFallback, text);
            Ok(begun)
        }
    }
}

impl Problem {
    /// Reports the errors of a bad registry, and returns the start with this problem.
    fn begun(self, reporter: &Reporter<'_>) -> Begun {
        let errors = self.rejected.map(|rejected| {
            let text = rejected.to_string();
            reporter.report(Report::Diagnostics(rejected.errors));
            text
        });
        Begun {
            registry: None,
            retry: self.retry,
            errors,
        }
    }
}

async fn attempt(
    instance: &Instance,
    source: &Source,
    options: UpOptions,
    snapshot: &HostSnapshot,
    reporter: &Reporter<'_>,
) -> Result<Attempt, Error> {
    let in_force = instance.provenance().ok().flatten();
    let reader = Reader::STRICT.again(in_force);
    let registry = match load(source, &reader) {
        Ok(loaded) => SharedRegistry::from(loaded),
        Err(rejected) => return Ok(Attempt::Bad(rejected)),
    };
    reporter.warnings(&registry, snapshot)?;
    Ok(
        match put_in_force(instance, &registry, options, reporter).await {
            Ok(()) => Attempt::InForce(registry),
            Err(error) => Attempt::KeptOut(error),
        },
    )
}

async fn put_in_force(
    instance: &Instance,
    registry: &SharedRegistry,
    options: UpOptions,
    reporter: &Reporter<'_>,
) -> Result<(), Error> {
    let notes = control::up(instance, registry, options).await?;
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
        let seen = |problem: Problem| Some((problem.kind, problem.retry));
        match decide(attempt, is_pinned) {
            Decision::Registry(_) => ("registry", None),
            Decision::Pinned(problem) => ("pinned", seen(problem)),
            Decision::EmbeddedDefault(problem) => ("embedded", seen(problem)),
            Decision::Fail(_) => ("fail", None),
        }
    }

    #[test]
    fn a_policy_holds_whatever_is_wrong_with_the_registry() {
        let in_force =
            || Attempt::InForce(load(&Source::Embedded, &Reader::STRICT).unwrap().into());
        let bad = || {
            Attempt::Bad(Rejected {
                errors: Diagnostics::default(),
                warnings: Diagnostics::default(),
            })
        };
        let lock_out = || {
            Attempt::KeptOut(Error::LockOut(LockOut {
                dangers: Vec::new(),
                is_pinned: false,
            }))
        };
        let rolled_back = || Attempt::KeptOut(Error::AlreadyRolledBack);
        let failed = || Attempt::KeptOut(Error::Interrupted);
        let refused = Some((NoteKind::RegistryRefused, false));
        let is_bad = Some((NoteKind::RegistryBad, false));
        let may_pass = Some((NoteKind::Retry, true));

        assert_eq!(decision(in_force(), true), ("registry", None));
        assert_eq!(decision(bad(), true), ("pinned", is_bad));
        assert_eq!(decision(lock_out(), true), ("pinned", refused));
        assert_eq!(decision(rolled_back(), true), ("pinned", refused));
        assert_eq!(decision(failed(), true), ("pinned", may_pass));

        assert_eq!(decision(in_force(), false), ("registry", None));
        assert_eq!(decision(bad(), false), ("embedded", is_bad));
        assert_eq!(decision(lock_out(), false), ("fail", None));
        assert_eq!(decision(rolled_back(), false), ("embedded", refused));
        assert_eq!(decision(failed(), false), ("embedded", may_pass));
    }
}
