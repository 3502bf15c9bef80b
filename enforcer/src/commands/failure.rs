//! The end of a command: an exit code, or a failure in words.

use std::process::ExitCode;

use super::{
    output::{self, PrintError},
    wrap::{Width, wrap},
};
use crate::{
    control,
    inspect::ExplainError,
    registry::{Rejected, render},
};

/// The exit code of a command, or the failure.
pub(crate) type Outcome = Result<u8, Failure>;

/// The exit code with nothing pinned.
pub(crate) const NOT_ENFORCING: u8 = 4;

/// The exit code of a comparison with a difference.
pub(crate) const DIFFERENT: u8 = 5;

/// The failure of a command, with an exit code for each kind.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The control plane refused or failed: 1.
    Control(control::Error),
    /// Another operation failed: 1.
    Failed(anyhow::Error),
    /// Bad usage: 2.
    Usage(anyhow::Error),
    /// The registry is bad: 2.
    Rejected(Rejected),
    /// Standard output failed: 1, and 0 for a closed pipe.
    Print(PrintError),
}

impl Failure {
    /// The failure of a command line.
    pub(crate) const fn usage(error: anyhow::Error) -> Self {
        Self::Usage(error)
    }

    /// Prints the failure to stderr. The kernel refuses for want of privileges in words of its own,
    /// so the missing privileges are named for a command that `needs_privileges`.
    pub(crate) fn report(&self, needs_privileges: bool) -> ExitCode {
        if matches!(self, Self::Print(PrintError::ClosedPipe)) {
            return ExitCode::SUCCESS;
        }
        output::print_err(&self.text(needs_privileges));
        ExitCode::from(match self {
            Self::Control(_) | Self::Failed(_) | Self::Print(_) => 1,
            Self::Usage(_) | Self::Rejected(_) => 2,
        })
    }

    /// Returns the failure in words for stderr, with the privileges that a command lacks.
    pub(crate) fn text(&self, needs_privileges: bool) -> String {
        let missing = match needs_privileges {
            true => control::check_privileges().err(),
            false => None,
        };
        let missing = missing.map(|missing| format!("{missing:#}"));
        self.words(missing.as_deref(), output::stderr_width())
    }

    /// Returns the failure in words; `missing` are the privileges that the process lacks.
    pub(crate) fn words(&self, missing: Option<&str>, width: Width) -> String {
        let error = |text: &str| output::labelled(output::RED, "error", text, width);
        match self {
            Self::Control(cause) => failed(&format!("{cause:#}"), missing, width),
            Self::Failed(cause) => failed(&format!("{cause:#}"), missing, width),
            Self::Print(cause) => error(&cause.to_string()),
            Self::Usage(cause) => error(&format!("{cause:#}")),
            Self::Rejected(rejected) => {
                let errors = output::count(rejected.errors.total(), "error");
                let end = error(&format!(
                    "the registry is bad ({errors}): nothing was changed"
                ));
                format!("{}\n{end}", render(&rejected.errors, true).trim_end())
            }
        }
    }
}

fn failed(error: &str, missing: Option<&str>, width: Width) -> String {
    let mut text = output::labelled(output::RED, "error", error, width);
    if let Some(missing) = missing.filter(|missing| *missing != error) {
        text.push('\n');
        text.push_str(&wrap(missing, width, 2));
    }
    text
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

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Question(error) => Self::Usage(error),
            ExplainError::Rejected(rejected) => Self::Rejected(rejected),
            ExplainError::Control(error) => Self::Control(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io, time::Duration};

    use anyhow::anyhow;

    use super::*;
    use crate::{
        commands::snapshots::assert_snapshot,
        control::{Error, PendingPolicy},
        printable::decode_path,
        registry::{Reader, Source, load},
    };

    fn assert_failures(name: &str, failures: &[Failure]) {
        let words = |width| {
            let words = failures.iter().map(|it| it.words(None, width));
            words.collect::<Vec<_>>().join("\n")
        };
        assert_snapshot(name, words);
    }

    #[test]
    fn refusals_of_the_control_plane() {
        let pending = PendingPolicy {
            generation: 13,
            left: Duration::from_secs(41),
        };
        let errors = [
            Error::Pending(pending),
            Error::AlreadyRolledBack,
            Error::NoRollback("systemd-run is not there".to_owned()),
            Error::Interrupted,
            Error::OtherNamespace {
                pins: "/sys/fs/bpf/enforcer".into(),
                theirs: 4711,
                ours: 1,
            },
        ];
        assert_failures("failures-control", &errors.map(Failure::from));
    }

    #[test]
    fn failures_of_other_kinds() {
        let os = anyhow::Error::new(io::Error::from_raw_os_error(1)).context("failed to load wire");
        let failures = [
            Failure::from(os),
            Failure::Failed(anyhow!("no interface eth\u{1b}[2J\nsecond line")),
            Failure::usage(anyhow!("192.0.2.7 and ::1 are of two families")),
            Failure::from(PrintError::from(io::Error::from_raw_os_error(28))),
        ];
        assert_failures("failures", &failures);
    }

    #[test]
    fn missing_privileges_are_named_once() {
        let missing = "missing privileges: CAP_BPF: run it as root, with sudo";
        let refused = Failure::Failed(anyhow!("failed to open /sys/fs/bpf: permission denied"));
        let named = Failure::Failed(anyhow!(missing));
        assert_snapshot("failure-privileges", |width| {
            [&refused, &named]
                .map(|it| it.words(Some(missing), width))
                .join("\n")
        });
    }

    #[test]
    fn a_bad_registry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        fs::write(&path, "[services.redis]\nports = [6379]\nmode = \"adit\"\n").unwrap();
        let failure = Failure::from(load(&Source::Named(path), &Reader::NAMED).unwrap_err());
        let folder = decode_path(folder.path());
        assert_snapshot("failure-registry", |width| {
            failure.words(None, width).replace(&folder, "/etc/enforcer")
        });
    }
}
