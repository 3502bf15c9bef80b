//! The end of a command: its exit code, or its failure in words.

use std::process::ExitCode;

use anstream::eprintln;

use super::output::{self, PrintError};
use crate::{
    control,
    registry::{Rejected, render},
};

/// The exit code of a command that did its work, or the failure.
pub(crate) type Outcome = Result<u8, Failure>;

/// The exit code of a command that found nothing pinned.
pub(crate) const NOT_ENFORCING: u8 = 4;

/// The exit code of a comparison that found a difference.
pub(crate) const DIFFERENT: u8 = 5;

/// The failure of a command. Each kind has an exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The control plane refused or failed: 1.
    Control(control::Error),
    /// Another operation failed: 1.
    Failed(anyhow::Error),
    /// The command line makes no sense: 2.
    Usage(anyhow::Error),
    /// The registry is bad: 2.
    Rejected(Rejected),
    /// Nothing could be printed: 1, and 0 for a closed pipe.
    Print(PrintError),
}

impl Failure {
    /// The failure of a command line.
    pub(crate) const fn usage(error: anyhow::Error) -> Self {
        Self::Usage(error)
    }

    /// Prints the failure to stderr. A refusal for want of privileges comes in the kernel's words
    /// alone, so the missing privileges are named for a command that `needs_privileges`.
    pub(crate) fn report(&self, needs_privileges: bool) -> ExitCode {
        let missing = match needs_privileges {
            true => control::check_privileges().err(),
            false => None,
        };
        match self {
            Self::Control(error) => failed(&format!("{error:#}"), missing),
            Self::Failed(error) => failed(&format!("{error:#}"), missing),
            Self::Print(PrintError::ClosedPipe) => ExitCode::SUCCESS,
            Self::Print(error) => failed(&error.to_string(), None),
            Self::Usage(error) => {
                eprintln!("{}error:{} {error:#}", output::RED, output::PLAIN);
                ExitCode::from(2)
            }
            Self::Rejected(rejected) => {
                eprintln!("{}", render(&rejected.errors, true).trim_end());
                let errors = output::count(rejected.errors.len(), "error");
                eprintln!(
                    "{}error:{} the registry is bad ({errors}): nothing was changed",
                    output::RED,
                    output::PLAIN
                );
                ExitCode::from(2)
            }
        }
    }
}

fn failed(error: &str, missing: Option<anyhow::Error>) -> ExitCode {
    eprintln!("{}error:{} {error}", output::RED, output::PLAIN);
    if let Some(missing) = missing.map(|missing| format!("{missing:#}"))
        && missing != error
    {
        eprintln!("{missing}");
    }
    ExitCode::from(1)
}

impl From<control::Error> for Failure {
    fn from(error: control::Error) -> Self {
        Self::Control(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<PrintError> for Failure {
    fn from(error: PrintError) -> Self {
        Self::Print(error)
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}
