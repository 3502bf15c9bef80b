//! The first definition of a duplicate key: the parser's error names only the second.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The most bytes that are parsed again to find first definitions.
const MAX_PARSED: usize = 4 << 20;

/// The definitions of a text in which some key is written twice.
pub(super) struct Duplicates<'t> {
    text: &'t str,
    /// The offsets of the lines with a table header.
    headers: Vec<usize>,
    /// The bytes that may still be parsed.
    budget: usize,
}

impl<'t> Duplicates<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self {
            text,
            headers: Vec::new(),
            budget: MAX_PARSED,
        }
    }

    /// Returns the span of the first definition of the key defined again at `duplicate`; `None` for
    /// keys inside inline tables, and after many questions about a long text.
    pub(super) fn first_definition(&mut self, duplicate: Range<usize>) -> Option<Range<usize>> {
        let line = line_start(self.text, duplicate.start);
        let before = self.text.get(..line)?;
        self.budget = self.budget.checked_sub(before.len())?;
        let written = self.text.get(line..duplicate.end)?.trim_start();
        let mut path = Vec::new();
        if !written.starts_with('[')
            && let Some(header) = self.header_above(line)
        {
            path = header_path(&self.text[header..])?;
        }
        path.extend(key_path(written.trim_start_matches('['))?);
        let (table, _) = DeTable::parse_recoverable(before);
        find(table.get_ref(), &path)
    }

    /// Returns the offset of the line around an offset, if the line is a table header.
    pub(super) fn header_at(&mut self, offset: usize) -> Option<usize> {
        let line = line_start(self.text, offset);
        self.headers().binary_search(&line).ok().map(|_| line)
    }

    /// Returns the offset of the nearest table header above an offset.
    pub(super) fn header_above(&mut self, offset: usize) -> Option<usize> {
        let line = line_start(self.text, offset);
        let headers = self.headers();
        let above = headers.partition_point(|&header| header < line);
        headers.get(above.checked_sub(1)?).copied()
    }

    /// Returns the headers, which are looked for once.
    fn headers(&mut self) -> &[usize] {
        if self.headers.is_empty() {
            let mut start = 0;
            for line in self.text.split_inclusive('\n') {
                if is_header(line) {
                    self.headers.push(start);
                }
                start += line.len();
            }
        }
        &self.headers
    }
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[') && header_path(line).is_some()
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Returns the keys of the header at the start of a text.
fn header_path(text: &str) -> Option<Vec<String>> {
    let line = text.lines().next()?.trim_start().trim_start_matches('[');
    let (keys, _) = line.rsplit_once(']')?;
    key_path(keys.trim_end_matches(']'))
}

/// Returns the keys of a dotted key.
fn key_path(keys: &str) -> Option<Vec<String>> {
    let document = format!("{keys} = 0");
    let document = DeTable::parse(&document).ok()?;
    let mut path = Vec::new();
    let mut table = document.get_ref();
    loop {
        let (key, value) = table.iter().next()?;
        path.push(key.get_ref().as_ref().to_owned());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

fn find(mut table: &DeTable<'_>, path: &[String]) -> Option<Range<usize>> {
    let (last, parents) = path.split_last()?;
    for parent in parents {
        table = table.get(parent.as_str())?.get_ref().as_table()?;
    }
    table
        .get_key_value(last.as_str())
        .map(|(key, _)| key.span())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the line (from 1) of the first definition of the last `key` in the text.
    fn first_line(text: &str, key: &str) -> Option<usize> {
        let start = text.rfind(key).unwrap();
        let mut duplicates = Duplicates::new(text);
        let first = duplicates.first_definition(start..start + key.len())?;
        Some(text[..first.start].matches('\n').count() + 1)
    }

    #[test]
    fn the_first_place_is_found() {
        assert_eq!(first_line("mode = 1\n\nmode = 2\n", "mode"), Some(1));
        let text = "[a]\nx = 1\n[b]\nx = 1 # [c]\n y = 2\nx = 2\n";
        assert_eq!(first_line(text, "x"), Some(4));
        let text = "[s.a]\nx = 1\n[s.b]\n[ s . \"a\" ] # again\n";
        assert_eq!(first_line(text, "\"a\""), Some(1));
        let text = "[s]\na.b = 1\na.c = 1\na.b = 2\n";
        assert_eq!(first_line(text, "b"), Some(2));
    }

    #[test]
    fn other_first_definitions_are_not_found() {
        assert_eq!(first_line("a = { x = 1, x = 2 }\n", "x"), None);
        assert_eq!(first_line("[[a]]\nx = 1\n[[a]]\nx = 1\nx = 2\n", "x"), None);
        assert_eq!(first_line("x", "x"), None);
    }

    #[test]
    fn headers_are_told_from_lists() {
        let text = "[a]\nx = [\n  [1],\n]\ny = 1\n";
        assert_eq!(Duplicates::new(text).header_at(1), Some(0));
        assert_eq!(Duplicates::new(text).header_at(5), None);
        assert_eq!(Duplicates::new("y = 1").header_above(0), None);
        let text = "[a]\nx = 1\n[b]\nx = 1\n";
        for (offset, above) in [(0, None), (5, Some(0)), (10, Some(0)), (15, Some(10))] {
            assert_eq!(
                Duplicates::new(text).header_above(offset),
                above,
                "{offset}"
            );
        }
    }

    #[test]
    fn long_texts_are_not_parsed_for_ever() {
        let text = format!("x = 1\n#{}\nx = 2\n", "-".repeat(1 << 20));
        let mut duplicates = Duplicates::new(&text);
        let at = text.len() - 6..text.len() - 5;
        let found = (0..20).filter(|_| duplicates.first_definition(at.clone()).is_some());
        assert_eq!(found.count(), 3);
    }
}
