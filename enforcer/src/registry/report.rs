//! Collected diagnostics: the first are kept and told, the others are counted.

use std::ops::Deref;

use super::diagnostic::{Diagnostic, Fault, Severity};
use super::source::Span;

/// The most diagnostics that are told.
pub const MAX_TOLD: usize = 50;
/// The most diagnostics that are kept, of which the first in reading order are told. A text may
/// cause a hundred thousand.
const MAX_KEPT: usize = 200;

/// Diagnostics of one severity, in reading order. The slice holds at most 200; others are counted.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    kept: Vec<Diagnostic>,
    /// The number of diagnostics beyond.
    dropped: usize,
}

impl Diagnostics {
    /// Returns the first diagnostics, as many as are told to an operator.
    pub fn told(&self) -> &[Diagnostic] {
        &self.kept[..self.kept.len().min(MAX_TOLD)]
    }

    /// Returns the number of diagnostics beyond [`Self::told`].
    pub fn untold(&self) -> usize {
        self.total() - self.told().len()
    }

    /// Returns the number of all diagnostics.
    pub fn total(&self) -> usize {
        self.kept.len() + self.dropped
    }

    /// Adds diagnostics at the end.
    pub fn extend(&mut self, more: Self) {
        self.kept.extend(more.kept);
        self.dropped += more.dropped;
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        match self.is_full() {
            true => self.dropped += 1,
            false => self.kept.push(diagnostic),
        }
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= MAX_KEPT
    }

    fn sorted(mut self) -> Self {
        self.kept.sort_by(Diagnostic::reading_order);
        self
    }
}

impl Deref for Diagnostics {
    type Target = [Diagnostic];

    fn deref(&self) -> &[Diagnostic] {
        &self.kept
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(mut all: Vec<Diagnostic>) -> Self {
        let dropped = all.len().saturating_sub(MAX_KEPT);
        all.truncate(MAX_KEPT);
        Self { kept: all, dropped }
    }
}

/// Returns the diagnostics as printed to an operator, one block each, separated by empty lines; the
/// last block tells how many are left out.
pub fn render(diagnostics: &Diagnostics, styled: bool) -> String {
    let mut blocks: Vec<String> = diagnostics
        .told()
        .iter()
        .map(|diagnostic| diagnostic.render(styled))
        .collect();
    match diagnostics.untold() {
        0 => {}
        untold => blocks.push(format!("and {untold} more")),
    }
    blocks.join("\n\n")
}

/// The collected diagnostics of one load.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: Diagnostics,
    warnings: Diagnostics,
}

impl Report {
    fn list(&mut self, severity: Severity) -> &mut Diagnostics {
        match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        }
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.list(diagnostic.severity()).push(diagnostic);
    }

    /// Adds a diagnostic, which is made only if there is room.
    pub(super) fn push_with(&mut self, severity: Severity, make: impl FnOnce() -> Diagnostic) {
        let list = self.list(severity);
        match list.is_full() {
            true => list.dropped += 1,
            false => list.push(make()),
        }
    }

    pub(super) fn error(&mut self, place: &Span, fault: Fault) {
        self.error_with(place, || fault);
    }

    /// Adds an error, whose words are made only if there is room.
    pub(super) fn error_with(&mut self, place: &Span, fault: impl FnOnce() -> Fault) {
        self.push_with(Severity::Error, || {
            Diagnostic::new(Severity::Error, place.clone(), fault())
        });
    }

    pub(super) fn warning(&mut self, place: &Span, fault: Fault) {
        self.push_with(Severity::Warning, || {
            Diagnostic::new(Severity::Warning, place.clone(), fault)
        });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors.total() > 0
    }

    /// Returns the errors and the warnings, in reading order.
    pub(super) fn finish(self) -> (Diagnostics, Diagnostics) {
        (self.errors.sorted(), self.warnings.sorted())
    }
}
