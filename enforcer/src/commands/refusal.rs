//! The refusal of a command line, with escapes in place of what a terminal would obey.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _};

use clap::Parser as _;

use super::Cli;
use crate::printable;

impl Cli {
    /// Parses the words of a command line, the program's name first.
    ///
    /// # Errors
    /// The words are no command, or ask for help.
    pub(crate) fn of_words(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        Self::try_parse_from(&words).map_err(|error| refusal(&words).unwrap_or(error))
    }
}

/// Returns the refusal of the words in the form of [`printable::name`]. Clap quotes words as they
/// are, and shows a byte outside UTF-8 as U+FFFD.
fn refusal(words: &[OsString]) -> Option<clap::Error> {
    let decoded = words.iter().map(|word| printable::decode(word.as_bytes()));
    Cli::try_parse_from(decoded.map(|word| printable::name(&word).into_owned())).err()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// The refusal of a word in place of a command, with colours.
    fn shown(word: &[u8]) -> String {
        let words = [OsStr::new("enforcer"), OsStr::from_bytes(word)];
        let refused = Cli::of_words(words.map(OsStr::to_owned)).expect_err("no command");
        refused.render().ansi().to_string()
    }

    #[test]
    fn words_of_a_refused_line_are_quoted_with_escapes() {
        for (word, quote) in [
            (&b"a\x1b[2J"[..], r"a\x1b[2J"),
            (b"a\nerror: b", r"a\x0aerror: b"),
            (b"a\xff", r"a\xff"),
            (b"a\xfe", r"a\xfe"),
            (br"a\xff", r"a\\xff"),
            (b"upp", "upp"),
        ] {
            let shown = shown(word);
            assert!(shown.contains(quote), "{shown}");
            assert!(!shown.contains("\u{1b}[2J"), "{shown:?}");
        }
    }

    #[test]
    fn a_good_line_is_a_command() {
        let words = ["enforcer", "check"].map(OsString::from);
        assert!(Cli::of_words(words).is_ok());
    }
}
