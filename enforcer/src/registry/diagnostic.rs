//! Diagnostics: an error or a warning, a source span and a fix.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::excerpt::Excerpt;
use super::source::{SourceFile, Span};
use crate::printable;

/// Whether a diagnostic rejects the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The registry is rejected.
    Error,
    /// The registry is applied, and the operator is told.
    Warning,
}

/// A message and a proposed fix, before a span is known.
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

/// One error or warning about a registry, with a source span.
///
/// The serialized form is the object of `check --json`: `file`, `line`, `column`, `message`,
/// `help` (null if absent). A diagnostic about a whole file has line 1, column 1.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    severity: Severity,
    place: Span,
    /// False for a diagnostic about a whole file: no line is at fault.
    shows_line: bool,
    message: String,
    help: Option<String>,
    /// A second span and a label, such as the first of two definitions.
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

    /// A diagnostic about a file as a whole, which shows no line.
    pub(super) fn of_file(severity: Severity, file: &Arc<SourceFile>, fault: Fault) -> Self {
        Self {
            shows_line: false,
            ..Self::new(severity, Span::new(file, 0..0), fault)
        }
    }

    pub(super) fn whole_file(file: &Arc<SourceFile>, fault: Fault) -> Self {
        Self::of_file(Severity::Error, file, fault)
    }

    pub(super) fn reading_order(&self, other: &Self) -> Ordering {
        self.place.reading_order(&other.place)
    }

    pub(super) fn related(mut self, place: Span, label: impl Into<String>) -> Self {
        self.related = Some((place, label.into()));
        self
    }

    /// Returns the severity: an error rejects the registry.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns the path of the file as displayed.
    pub fn file(&self) -> &str {
        self.place.file()
    }

    /// Returns the line number, from 1.
    pub fn line(&self) -> usize {
        self.place.line()
    }

    /// Returns the number of the character in the line, from 1.
    pub fn column(&self) -> usize {
        self.place.column()
    }

    /// Returns the message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the proposed fix.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Returns the diagnostic in rustc's layout: the message, the line with the span underlined,
    /// and the help, without a final newline; with ANSI colours when `styled`.
    pub fn render(&self, styled: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let renderer = match styled {
            true => Renderer::styled(),
            false => Renderer::plain(),
        };
        // Excerpts bound the width: 160 characters of at most four columns.
        let renderer = renderer.term_width(1_000);
        let path = || printable::name(self.file());
        let title = Group::with_title(level.clone().primary_title(tamed(&self.message)));
        if !self.shows_line {
            return renderer.render(&[self.end(title.element(Origin::path(path())))]);
        }
        let (snippet, is_cut) = snippet(&self.place, AnnotationKind::Primary, None);
        if !is_cut {
            return renderer.render(&[self.end(title.element(snippet.path(path())))]);
        }
        // The renderer would count the column in the excerpt, so the head is made apart.
        let origin = Origin::path(path()).line(self.line());
        let origin = origin.char_column(self.column());
        let head = renderer.render(&[title.element(origin)]);
        let (title, origin) = head.rsplit_once('\n').unwrap_or((&head, ""));
        let indent = self.line().to_string().len();
        let body = renderer.render(&[self.end(Group::with_level(level).element(snippet))]);
        format!("{title}\n{:indent$}{origin}\n{body}", "")
    }

    /// Adds the related line and the help to a group.
    fn end<'a>(&'a self, mut group: Group<'a>) -> Group<'a> {
        if let Some((place, label)) = &self.related {
            let (snippet, is_cut) = snippet(place, AnnotationKind::Context, Some(label));
            group = match is_cut {
                true => {
                    let file = printable::name(place.file());
                    let at = format!("{file}:{}:{}", place.line(), place.column());
                    group.element(Level::NOTE.message(safe(&format!("{label}: {at}"))))
                }
                false => group.element(snippet.path(printable::name(place.file()))),
            };
        }
        match &self.help {
            Some(help) => group.element(Level::HELP.message(safe(help))),
            None => group,
        }
    }
}

/// Returns the span's line as a snippet, and whether the line is cut. The renderer gets one line
/// alone: no diagnostic spans two, and the renderer would search a large file again for each
/// diagnostic.
fn snippet<'a>(
    place: &Span,
    kind: AnnotationKind,
    label: Option<&'a str>,
) -> (Snippet<'a, Annotation<'a>>, bool) {
    let Excerpt { text, underline } = Excerpt::of(place.line_text(), place.underline());
    let mut source = tamed(&text[..underline.start]).into_owned();
    let from = source.len();
    source += &tamed(&text[underline.clone()]);
    let to = source.len();
    source += &tamed(&text[underline.end..]);
    let snippet = Snippet::source(source)
        .line_start(place.line())
        .annotation(kind.span(from..to).label(label));
    (snippet, matches!(text, Cow::Owned(_)))
}

/// Returns a text made safe for the parts of a message that the renderer does not sanitize: a help
/// and, in annotate-snippets 0.12, a path. Both may quote a file or a file name.
fn safe(text: &str) -> String {
    normalize_untrusted_str(&tamed(text))
}

/// Returns the text without the control characters of ISO 6429's second set (U+0080 to U+009F),
/// which the renderer lets through and some terminals obey. The renderer replaces the first set.
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
