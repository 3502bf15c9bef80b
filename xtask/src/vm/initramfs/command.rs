//! The command that a guest runs.

use std::fmt::Write as _;

use super::cpio::Archive;

/// The archive of what a guest is there for: a line of shell.
pub(super) fn archive(line: &str) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.file("etc/guest", line.as_bytes());
    archive.finish()
}

/// A line of shell in which each word stays as it is.
pub(crate) fn quote(words: &[&str]) -> String {
    let mut line = String::new();
    for word in words {
        let quoted = word.replace('\'', r"'\''");
        write!(line, "'{quoted}' ").ok();
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole() {
        assert_eq!(quote(&["a b", "it's", "$x"]), "'a b' 'it'\\''s' '$x' \n");
    }
}
