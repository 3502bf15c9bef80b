//! The part of a long line that a diagnostic shows.

use std::borrow::Cow;
use std::ops::Range;

/// The most characters of a line that are shown.
const MAX_CHARS: usize = 160;
/// The characters before the underlined part that are shown, where the line is cut.
const BEFORE: usize = 60;
/// The sign of a cut.
const CUT: &str = "…";

/// A line, or the part of a long line around the underlined bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt<'a> {
    /// The text, without control over its length by the file's author: owned if the line is cut.
    pub(super) text: Cow<'a, str>,
    /// The underlined bytes.
    pub(super) underline: Range<usize>,
}

impl<'a> Excerpt<'a> {
    /// Cuts a line to 160 characters. The work is the same for every length of the line.
    pub(super) fn of(line: &'a str, underline: Range<usize>) -> Self {
        if after(line, 0, MAX_CHARS) == line.len() {
            return Self {
                text: Cow::Borrowed(line),
                underline,
            };
        }
        let start = before(line, underline.start, BEFORE);
        let end = after(line, start, MAX_CHARS);
        // The end of the line leaves room before.
        let shown = line[start..end].chars().count();
        let start = before(line, start, MAX_CHARS - shown);
        let mut text = String::new();
        if start > 0 {
            text += CUT;
        }
        let shift = |offset: usize| offset.clamp(start, end) - start + text.len();
        let underline = shift(underline.start)..shift(underline.end);
        text += &line[start..end];
        if end < line.len() {
            text += CUT;
        }
        Self {
            text: Cow::Owned(text),
            underline,
        }
    }
}

/// Returns the offset of the character that is `count` characters before an offset.
fn before(line: &str, offset: usize, count: usize) -> usize {
    match count.checked_sub(1) {
        Some(last) => {
            let mut left = line[..offset].char_indices().rev();
            left.nth(last).map_or(0, |(at, _)| at)
        }
        None => offset,
    }
}

/// Returns the offset of the character that is `count` characters after an offset.
fn after(line: &str, offset: usize, count: usize) -> usize {
    let mut left = line[offset..].char_indices();
    left.nth(count).map_or(line.len(), |(at, _)| offset + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn excerpt(line: &str, underline: Range<usize>) -> (String, String) {
        let cut = Excerpt::of(line, underline);
        (
            cut.text[cut.underline.clone()].to_owned(),
            cut.text.into_owned(),
        )
    }

    #[test]
    fn a_line_of_160_characters_is_whole() {
        let line = "é".repeat(160);
        assert_eq!(
            Excerpt::of(&line, 2..4),
            Excerpt {
                text: Cow::Borrowed(&line),
                underline: 2..4
            }
        );
        let (_, text) = excerpt(&"é".repeat(161), 0..2);
        assert_eq!(text, "é".repeat(160) + "…");
    }

    #[test]
    fn a_long_line_is_cut_around_the_underlined_part() {
        let line = format!("{}語{}", "é".repeat(1000), "x".repeat(1000));
        let at = 2000..2003;
        let (part, text) = excerpt(&line, at);
        assert_eq!(part, "語");
        assert_eq!(text, format!("…{}語{}…", "é".repeat(60), "x".repeat(99)));
        // An underlined part without an end on the excerpt.
        let (part, _) = excerpt(&line, 2000..line.len());
        assert_eq!(part, format!("語{}", "x".repeat(99)));
        // The end of the line, and an empty part there.
        let (part, text) = excerpt(&line, line.len()..line.len());
        assert_eq!((part.as_str(), text), ("", format!("…{}", "x".repeat(160))));
        let (part, text) = excerpt(&line, 0..2);
        assert_eq!((part.as_str(), text), ("é", "é".repeat(160) + "…"));
    }
}
