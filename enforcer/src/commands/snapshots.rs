//! Snapshots: the human outputs as plain files, without colours, at 80 and at 40 columns.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p enforcer --lib` writes the files anew.

use std::{fmt::Write as _, fs, path::PathBuf};

use anstream::adapter::strip_str;

use super::wrap::Width;
use crate::printable::decode_path;

/// Compares an output with `snapshots/NAME.txt`.
///
/// # Panics
/// The output differs from the file.
pub(crate) fn assert_snapshot(name: &str, output: impl Fn(Width) -> String) {
    let mut text = String::new();
    for width in [80, 40] {
        let shown = strip_str(&output(Some(width))).to_string();
        // Writing to a string does not fail.
        _ = writeln!(text, "=== {width} columns");
        for line in shown.trim_end().lines() {
            _ = writeln!(text, "{}", line.trim_end());
        }
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/commands/snapshots");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        fs::write(&path, &text).expect("a writable snapshot");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs (UPDATE_SNAPSHOTS=1 writes the output there):\n{}",
        decode_path(&path),
        difference(&expected, &text)
    );
}

/// Returns the lines between the common start and the common end of two texts.
fn difference(expected: &str, text: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), text.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[start..], &new[start..]);
    let end = old.iter().rev().zip(new.iter().rev());
    let end = end.take_while(|(a, b)| a == b).count();
    let removed = old[..old.len() - end]
        .iter()
        .map(|line| format!("-{line}\n"));
    let added = new[..new.len() - end]
        .iter()
        .map(|line| format!("+{line}\n"));
    removed.chain(added).collect()
}

#[test]
fn a_difference_is_the_lines_that_differ() {
    assert_eq!(difference("a\nb\nc\n", "a\nx\ny\nc\n"), "-b\n+x\n+y\n");
    assert_eq!(difference("", "a\n"), "+a\n");
    assert_eq!(difference("a\na\n", "a\n"), "-a\n");
}
