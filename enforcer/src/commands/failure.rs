//! How a command ends.

use std::{io::Write as _, process::ExitCode};

use anstream::eprintln;

use super::output;
use crate::{
    control,
    registry::{Rejected, render},
};

/// The exit code of a command that did what it should, or why it did not.
pub(crate) type Outcome = Result<u8, Failure>;

/// Not enforcing.
pub(crate) const NOT_ENFORCING: u8 = 4;

/// Why a command failed, and with which exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something refused: 1.
    Failed(anyhow::Error),
    /// The command line makes no sense: 2.
    Usage(anyhow::Error),
    /// The registry is bad: 2.
    Rejected(Rejected),
}

impl Failure {
    pub(crate) fn usage(error: anyhow::Error) -> Self {
        Self::Usage(error)
    }

    /// Prints why, to stderr.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Failed(error) => {
                if output::is_broken_pipe(error) {
                    // Whoever read our output has seen enough of it.
                    return ExitCode::SUCCESS;
                }
                eprintln!("{}error:{} {error:#}", output::RED, output::PLAIN);
                // A refusal for want of privileges says so in the kernel's words alone.
                if is_permission(error)
                    && let Err(missing) = control::check_privileges()
                {
                    eprintln!("{missing:#}");
                }
                ExitCode::from(1)
            }
            Self::Usage(error) => {
                eprintln!("{}error:{} {error:#}", output::RED, output::PLAIN);
                ExitCode::from(2)
            }
            Self::Rejected(rejected) => {
                eprintln!("{}", render(&rejected.errors, true).trim_end());
                let count = rejected.errors.len();
                let errors = if count == 1 { "error" } else { "errors" };
                eprintln!(
                    "{}error:{} the registry is bad ({count} {errors}): nothing was changed",
                    output::RED,
                    output::PLAIN
                );
                ExitCode::from(2)
            }
        }
    }
}

fn is_permission(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
            || cause
                .downcast_ref::<rustix::io::Errno>()
                .is_some_and(|errno| {
                    matches!(*errno, rustix::io::Errno::PERM | rustix::io::Errno::ACCESS)
                })
    })
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

/// Tells the operator something that is no failure.
pub(crate) fn note(text: &str) {
    eprintln!("{}note:{} {text}", output::YELLOW, output::PLAIN);
    std::io::stderr().flush().ok();
}
