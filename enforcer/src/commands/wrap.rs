//! Line wrapping for terminals.

use anstream::adapter::strip_str;
use unicode_width::UnicodeWidthStr;

/// The columns of a terminal. `None` stands for a pipe or a file, where no line is wrapped.
pub(crate) type Width = Option<usize>;

/// The least width that lines are wrapped at.
const NARROWEST: usize = 20;

/// Wraps each line of a text at spaces. Continuation lines begin with `indent` spaces beyond the
/// line's own indentation. Styles take no columns, and a word longer than the width overflows.
pub(crate) fn wrap(text: &str, width: Width, indent: usize) -> String {
    let Some(width) = width else {
        return text.to_owned();
    };
    let width = width.max(NARROWEST);
    let lines = text.split('\n').map(|line| wrap_line(line, width, indent));
    lines.collect::<Vec<_>>().join("\n")
}

fn wrap_line(line: &str, width: usize, indent: usize) -> String {
    let words = line.trim_start_matches(' ');
    let own = line.len() - words.len();
    let mut text = " ".repeat(own);
    let mut column = own;
    for (index, word) in words.split(' ').enumerate() {
        let length = columns(word);
        if index > 0 && column + 1 + length > width {
            text.push('\n');
            text.push_str(&" ".repeat(own + indent));
            column = own + indent;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text
}

/// Returns the columns of a text on a terminal, without styles.
pub(crate) fn columns(text: &str) -> usize {
    strip_str(text).map(UnicodeWidthStr::width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::output::{PLAIN, RED};

    #[test]
    fn a_pipe_wraps_nothing() {
        let long = "word ".repeat(100);
        assert_eq!(wrap(&long, None, 2), long);
    }

    #[test]
    fn lines_break_at_spaces_and_are_indented() {
        let text = "  ! aaaa bbbb cccc dddd eeee\nffff";
        assert_eq!(
            wrap(text, Some(20), 2),
            "  ! aaaa bbbb cccc\n    dddd eeee\nffff"
        );
    }

    #[test]
    fn a_long_word_overflows_and_styles_take_no_columns() {
        let long = "x".repeat(30);
        assert_eq!(
            wrap(&format!("a {long} b"), Some(20), 0),
            format!("a\n{long}\nb")
        );
        let styled = format!("{RED}error:{PLAIN} abcdef ghijkl");
        assert_eq!(wrap(&styled, Some(20), 2), styled);
        assert_eq!(columns(&format!("{RED}ä{PLAIN}")), 1);
        assert_eq!(columns("日本"), 4);
    }
}
