//! The text of a registry file, and places in it.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One file of the registry, as it was read.
#[derive(Debug)]
pub struct SourceFile {
    /// Position in the order of reading, which is the order of diagnostics too.
    order: usize,
    name: String,
    text: String,
    /// Byte offset of the start of each line; the first is 0, so it is never empty.
    line_starts: Vec<usize>,
}

impl SourceFile {
    pub(super) fn new(order: usize, name: String, text: String) -> Arc<Self> {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Arc::new(Self {
            order,
            name,
            text,
            line_starts,
        })
    }

    /// The path of the file, as it is shown.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The index (from 0) of the line that holds a byte offset.
    fn line_index(&self, offset: usize) -> usize {
        self.line_starts
            .partition_point(|&start| start <= offset)
            .saturating_sub(1)
    }

    fn line_start(&self, index: usize) -> usize {
        self.line_starts
            .get(index)
            .copied()
            .unwrap_or(self.text.len())
    }
}

/// A span of text in a registry file: where something is written, or wrong.
#[derive(Clone)]
pub struct Span {
    file: Arc<SourceFile>,
    /// Byte offsets, inside the text and on character boundaries.
    span: Range<usize>,
}

impl Span {
    /// Spans come from the parser; one that is not inside the text is moved there, since a bad
    /// underline must never cost the message.
    pub(super) fn new(file: &Arc<SourceFile>, span: Range<usize>) -> Self {
        let text = &file.text;
        let mut start = text.floor_char_boundary(span.start.min(text.len()));
        // The end of a file is shown at the end of its last line, not on an empty line below it.
        if start == text.len() {
            start = text.trim_end_matches(['\n', '\r']).len();
        }
        // The parser takes the `\r` of a line's end for the last character of the line.
        if text[start..].starts_with('\n') && text[..start].ends_with('\r') {
            start -= 1;
        }
        let end = text.floor_char_boundary(span.end.min(text.len()));
        Self {
            file: Arc::clone(file),
            span: start..end.max(start),
        }
    }

    /// The path of the file, as it is shown.
    pub fn file(&self) -> &str {
        self.file.name()
    }

    /// The number of the line, from 1.
    pub fn line(&self) -> usize {
        self.file.line_index(self.span.start) + 1
    }

    /// The number of the character in the line, from 1.
    pub fn column(&self) -> usize {
        let start = self.file.line_start(self.line() - 1);
        self.file.text[start..self.span.start].chars().count() + 1
    }

    /// The line without its end.
    pub fn line_text(&self) -> &str {
        let start = self.file.line_start(self.line() - 1);
        let end = self.file.line_start(self.line());
        let line = &self.file.text[start..end];
        let line = line.strip_suffix('\n').unwrap_or(line);
        line.strip_suffix('\r').unwrap_or(line)
    }

    /// The bytes of [`Self::line_text`] to underline: the span, as far as it lies on its first line.
    pub(super) fn underline(&self) -> Range<usize> {
        let start = self.file.line_start(self.line() - 1);
        let width = self.line_text().len();
        let from = (self.span.start - start).min(width);
        from..(self.span.end - start).clamp(from, width)
    }

    /// The text of the span.
    pub(super) fn text(&self) -> &str {
        &self.file.text[self.span.clone()]
    }

    /// The order in which an operator reads: file by file, from top to bottom.
    pub(super) fn reading_order(&self, other: &Self) -> Ordering {
        (self.file.order, self.span.start).cmp(&(other.file.order, other.span.start))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file(), self.line(), self.column())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the text of the file, which a derived form would print with every place.
        fmt::Display::fmt(self, f)
    }
}
