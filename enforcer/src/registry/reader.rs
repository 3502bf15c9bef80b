//! The terms on which a registry's files are read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::Provenance;

/// The time that the files of a registry have to answer.
pub const READ_LIMIT: Duration = Duration::from_secs(5);

/// The fate of a file that others than root may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The registry is rejected, and the file is not parsed.
    Refuse,
    /// The registry is taken, with a warning.
    Warn,
}

/// The terms on which files are read.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Whether the main file may be a pipe, as in `--config <(…)`. A pipe may block the reader for
    /// as long as the writer likes.
    pub pipes: bool,
    /// The fate of a file that others than root may change.
    pub trust: Trust,
    /// The registry of the policy in force. If the same registry is read again, the folder of
    /// fragments must not have vanished.
    pub in_force: Option<Provenance>,
    /// A file that is read as one more fragment, last; possibly a pipe. The same file in the folder
    /// of fragments is read once.
    pub fragment: Option<PathBuf>,
}

impl Reader {
    /// The terms of `run`, and of every command for the default path: regular files of root alone.
    pub const STRICT: Self = Self {
        pipes: false,
        trust: Trust::Refuse,
        in_force: None,
        fragment: None,
    };

    /// The terms for a file that a person names on the command line.
    pub const NAMED: Self = Self {
        pipes: true,
        trust: Trust::Warn,
        in_force: None,
        fragment: None,
    };

    /// The terms of a command that acts, by `--config`.
    pub const fn of_command(config: Option<&Path>) -> Self {
        match config {
            Some(_) => Self::NAMED,
            None => Self::STRICT,
        }
    }

    /// The terms of a command that only reads: files of other users cause a warning.
    pub const fn of_reader(config: Option<&Path>) -> Self {
        Self {
            pipes: config.is_some(),
            trust: Trust::Warn,
            in_force: None,
            fragment: None,
        }
    }

    /// The same terms, with one more fragment.
    #[must_use]
    pub fn with_fragment(mut self, fragment: Option<PathBuf>) -> Self {
        self.fragment = fragment;
        self
    }

    /// The same terms, for another look at the registry of a policy in force.
    #[must_use]
    pub fn again(mut self, in_force: Option<Provenance>) -> Self {
        self.in_force = in_force;
        self
    }
}
