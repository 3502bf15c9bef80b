//! The failure of `explain`.

use std::fmt;

use crate::{control, registry::Rejected};

/// The failure to explain a packet.
#[derive(Debug)]
pub enum ExplainError {
    /// The question makes no sense.
    Question(anyhow::Error),
    /// Nothing is pinned, and the registry is bad.
    Rejected(Rejected),
    /// The control plane's failure.
    Control(control::Error),
}

impl fmt::Display for ExplainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Question(error) => error.fmt(f),
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Control(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ExplainError {}

impl From<Rejected> for ExplainError {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<control::Error> for ExplainError {
    fn from(error: control::Error) -> Self {
        Self::Control(error)
    }
}

impl From<anyhow::Error> for ExplainError {
    fn from(error: anyhow::Error) -> Self {
        Self::Control(error.into())
    }
}
