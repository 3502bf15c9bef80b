//! The command of a guest.

use std::fmt::Write as _;

use super::cpio::Archive;

/// Returns the archive with the guest's command: a line of shell.
pub(super) fn archive(line: &str) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.file("etc/guest", line.as_bytes());
    archive.finish()
}

/// Returns a line of shell that leaves each word unchanged.
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
