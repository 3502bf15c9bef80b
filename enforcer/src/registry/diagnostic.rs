//! What is wrong, where, and what would be right.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::source::{SourceFile, Span};

/// Whether a diagnostic rejects the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The registry is rejected.
    Error,
    /// The registry is applied; the operator should know.
    Warning,
}

/// What is wrong and what would be right, before it has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: Some(help.into()),
        }
    }
}

/// One error or warning about a registry, with its place.
///
/// Serialized, it is exactly the object of `check --json`: `file`, `line`, `column`, `message`,
/// `help` (null where there is none). What concerns a whole file has line 1, column 1.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    severity: Severity,
    place: Span,
    /// False for what concerns a file as a whole: no line of it is to blame.
    shows_line: bool,
    message: String,
    help: Option<String>,
    /// A second place that belongs to the story, and what it is.
    related: Option<(Span, String)>,
}

impl Diagnostic {
    pub(super) fn new(severity: Severity, place: Span, fault: Fault) -> Self {
        let Fault { message, help } = fault;
        Self {
            severity,
            place,
            shows_line: true,
            message,
            help,
            related: None,
        }
    }

    pub(super) fn whole_file(file: &Arc<SourceFile>, fault: Fault) -> Self {
        Self {
            shows_line: false,
            ..Self::new(Severity::Error, Span::new(file, 0..0), fault)
        }
    }

    pub(super) fn related(mut self, place: Span, label: impl Into<String>) -> Self {
        self.related = Some((place, label.into()));
        self
    }

    /// Whether this rejects the registry.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The path of the file, as it is shown.
    pub fn file(&self) -> &str {
        self.place.file()
    }

    /// The number of the line, from 1.
    pub fn line(&self) -> usize {
        self.place.line()
    }

    /// The number of the character in the line, from 1.
    pub fn column(&self) -> usize {
        self.place.column()
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would be right.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The diagnostic as rustc would show it: the message, the line with the place underlined, and
    /// the help. Without a newline at the end; with ANSI colours when `styled`.
    pub fn render(&self, styled: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(tamed(&self.message)));
        if self.shows_line {
            group = group.element(snippet(&self.place, AnnotationKind::Primary, None));
        } else {
            group = group.element(Origin::path(safe(self.file())));
        }
        if let Some((place, label)) = &self.related {
            group = group.element(snippet(place, AnnotationKind::Context, Some(label)));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(safe(help)));
        }
        let renderer = if styled {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.render(&[group])
    }
}

/// One line is all the renderer gets: a diagnostic never spans two, and a large file would be
/// searched again for each.
fn snippet<'a>(
    place: &'a Span,
    kind: AnnotationKind,
    label: Option<&'a str>,
) -> Snippet<'a, Annotation<'a>> {
    let line = place.line_text();
    let Range { start, end } = place.underline();
    let mut source = tamed(&line[..start]).into_owned();
    let from = source.len();
    source += &tamed(&line[start..end]);
    let to = source.len();
    source += &tamed(&line[end..]);
    Snippet::source(source)
        .line_start(place.line())
        .path(safe(place.file()))
        .annotation(kind.span(from..to).label(label))
}

/// A text that may quote a file or its name, where the renderer trusts what it is given: in a help
/// and, in 0.12, in a path.
fn safe(text: &str) -> String {
    normalize_untrusted_str(&tamed(text))
}

/// The text without the control characters of ISO 6429's second set (U+0080 to U+009F), which the
/// renderer lets through and some terminals obey. It replaces the first set itself.
fn tamed(text: &str) -> Cow<'_, str> {
    let second_set = |c: char| matches!(c, '\u{80}'..='\u{9f}');
    if text.contains(second_set) {
        Cow::Owned(text.replace(second_set, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Diagnostic", 5)?;
        object.serialize_field("file", self.file())?;
        object.serialize_field("line", &self.line())?;
        object.serialize_field("column", &self.column())?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("help", &self.help)?;
        object.end()
    }
}

/// The diagnostics as they are printed to an operator, one block each, an empty line between.
pub fn render<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>, styled: bool) -> String {
    let blocks: Vec<String> = diagnostics
        .into_iter()
        .map(|diagnostic| diagnostic.render(styled))
        .collect();
    blocks.join("\n\n")
}

/// Everything that was found, while it is being looked for.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Report {
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        match diagnostic.severity {
            Severity::Error => self.errors.push(diagnostic),
            Severity::Warning => self.warnings.push(diagnostic),
        }
    }

    pub(super) fn error(&mut self, place: &Span, fault: Fault) {
        self.push(Diagnostic::new(Severity::Error, place.clone(), fault));
    }

    pub(super) fn warning(&mut self, place: &Span, fault: Fault) {
        self.push(Diagnostic::new(Severity::Warning, place.clone(), fault));
    }

    pub(super) fn sort(&mut self) {
        for list in [&mut self.errors, &mut self.warnings] {
            list.sort_by(|a, b| a.place.reading_order(&b.place));
        }
    }
}
