//! Source files of the registry and spans in them.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One file of the registry.
#[derive(Debug)]
pub struct SourceFile {
    /// Position in reading order, which also orders diagnostics.
    order: usize,
    name: String,
    text: String,
    /// Byte offset of the start of each line; never empty, since the first line starts at 0.
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

    /// Returns the path of the file as displayed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the index (from 0) of the line around a byte offset.
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

/// A span of text in a registry file.
#[derive(Clone)]
pub struct Span {
    file: Arc<SourceFile>,
    /// Byte offsets, inside the text and on character boundaries.
    span: Range<usize>,
}

impl Span {
    /// Makes a span from a range of the parser. A range outside the text is moved inside: a bad
    /// underline must never cost the message.
    pub(super) fn new(file: &Arc<SourceFile>, span: Range<usize>) -> Self {
        let text = &file.text;
        let mut start = text.floor_char_boundary(span.start.min(text.len()));
        // The end of a file is shown at the end of the last line, not on an empty line below.
        if start == text.len() {
            start = text.trim_end_matches(['\n', '\r']).len();
        }
        // The parser counts the `\r` of a line ending as the line's last character.
        if text[start..].starts_with('\n') && text[..start].ends_with('\r') {
            start -= 1;
        }
        let end = text.floor_char_boundary(span.end.min(text.len()));
        Self {
            file: Arc::clone(file),
            span: start..end.max(start),
        }
    }

    /// Returns the path of the file as displayed.
    pub fn file(&self) -> &str {
        self.file.name()
    }

    /// Returns the file.
    pub(super) fn source(&self) -> &Arc<SourceFile> {
        &self.file
    }

    /// Returns the line number, from 1.
    pub fn line(&self) -> usize {
        self.file.line_index(self.span.start) + 1
    }

    /// Returns the number of the character in the line, from 1.
    pub fn column(&self) -> usize {
        let start = self.file.line_start(self.line() - 1);
        self.file.text[start..self.span.start].chars().count() + 1
    }

    /// Returns the line without the line ending.
    pub fn line_text(&self) -> &str {
        let start = self.file.line_start(self.line() - 1);
        let end = self.file.line_start(self.line());
        let line = &self.file.text[start..end];
        let line = line.strip_suffix('\n').unwrap_or(line);
        line.strip_suffix('\r').unwrap_or(line)
    }

    /// Returns the bytes of [`Self::line_text`] to underline: the span's part on the first line.
    pub(super) fn underline(&self) -> Range<usize> {
        let start = self.file.line_start(self.line() - 1);
        let width = self.line_text().len();
        let from = (self.span.start - start).min(width);
        from..(self.span.end - start).clamp(from, width)
    }

    /// Returns the text of the span.
    pub(super) fn text(&self) -> &str {
        &self.file.text[self.span.clone()]
    }

    /// Compares by reading order: file by file, from top to bottom.
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
        // A derived form would print the text of the file with every span.
        fmt::Display::fmt(self, f)
    }
}
