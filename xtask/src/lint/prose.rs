//! Pronouns in comments and documents.
//!
//! A sentence whose subject is a pronoun can be understood only by readers of the code beside it.
//! The check counts the words of [`PRONOUNS`] per 100 words, for each crate and for the documents.

use std::{fmt, fs, ops::AddAssign, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// The counted words: pronouns, and relatives that stand for a noun.
const PRONOUNS: [&str; 9] = [
    "it", "its", "that", "what", "which", "those", "one", "whoever", "whose",
];

/// More counted words: persons without a name.
const PERSONS: [&str; 2] = ["nobody", "somebody"];

/// The highest passing rate, per 100 words.
const LIMIT: usize = 4;

/// How many files a failure names for each area.
const NAMED_FILES: usize = 3;

/// A part of the tree with a rate of its own.
struct Area {
    name: &'static str,
    /// Files and folders, relative to the root of the tree.
    paths: &'static [&'static str],
    extensions: &'static [&'static str],
}

const AREAS: [Area; 5] = [
    Area::of_crate("enforcer", &["enforcer"]),
    Area::of_crate("enforcer-ebpf", &["enforcer-ebpf"]),
    Area::of_crate("tests", &["tests"]),
    Area::of_crate("xtask", &["xtask"]),
    Area {
        name: "docs",
        paths: &["README.md", "CONTRIBUTING.md", "docs"],
        extensions: &["md", "8", "5"],
    },
];

impl Area {
    const fn of_crate(name: &'static str, paths: &'static [&'static str]) -> Self {
        Self {
            name,
            paths,
            extensions: &["rs"],
        }
    }

    /// Counts every file of the area, in the order of their names.
    fn tallies(&self, workspace: &Workspace) -> Result<Vec<(String, Tally)>> {
        let mut tallies = Vec::new();
        for path in self.paths {
            for file in workspace.files(path, self.extensions)? {
                let text = fs::read_to_string(workspace.path(&file))
                    .with_context(|| format!("failed to read {file}"))?;
                let tally = Tally::of(&prose(&file, &text));
                tallies.push((file, tally));
            }
        }
        Ok(tallies)
    }
}

/// Prints the rate of each area, and fails if a rate is above the limit.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let mut rates = Vec::new();
    let mut failures = Vec::new();
    for area in AREAS {
        let tallies = area.tallies(workspace)?;
        let mut sum = Tally::default();
        for (_, tally) in &tallies {
            sum += *tally;
        }
        rates.push(format!("{} {sum}", area.name));
        if sum.is_above_limit() {
            failures.push(format!("{}: {}", area.name, worst(tallies).join(", ")));
        }
    }
    println!(
        "pronouns per 100 words, at most {LIMIT}: {}",
        rates.join(", ")
    );
    if !failures.is_empty() {
        bail!(
            "too many pronouns in comments or documents: give sentences a noun as their subject, \
             first in\n  {}",
            failures.join("\n  ")
        );
    }
    Ok(())
}

/// The files that raise an area's rate most, with their own rates.
fn worst(mut tallies: Vec<(String, Tally)>) -> Vec<String> {
    tallies.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.excess()));
    tallies
        .iter()
        .take(NAMED_FILES)
        .map(|(file, tally)| format!("{file} ({tally})"))
        .collect()
}

/// Words and counted words of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    words: usize,
    pronouns: usize,
}

impl Tally {
    fn of(prose: &str) -> Self {
        let mut tally = Self::default();
        for word in words(prose) {
            let word = word.to_ascii_lowercase();
            tally.words += 1;
            let counts = |list: &[&str]| list.contains(&word.as_str());
            tally.pronouns += usize::from(counts(&PRONOUNS) || counts(&PERSONS));
        }
        tally
    }

    fn is_above_limit(self) -> bool {
        self.pronouns * 100 > self.words * LIMIT
    }

    /// Pronouns above the limit, times 100.
    fn excess(self) -> usize {
        (self.pronouns * 100).saturating_sub(self.words * LIMIT)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.words += other.words;
        self.pronouns += other.pronouns;
    }
}

impl fmt::Display for Tally {
    /// The rate per 100 words, rounded to hundredths.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words.max(1);
        let hundredths = (self.pronouns * 10_000 + words / 2) / words;
        write!(f, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

/// The prose of `file`: comments of Rust, the text of a manual page, a whole document; code
/// blocks and code spans are left out.
fn prose(file: &str, text: &str) -> String {
    let extension = Path::new(file).extension().and_then(|name| name.to_str());
    let mut lines = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        let prose = match extension {
            Some("rs") => comment(line),
            Some("8" | "5") => manual_text(line),
            _ => Some(line),
        };
        let Some(prose) = prose else { continue };
        if prose.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            lines.push(prose);
        }
    }
    without_code_spans(&lines.join("\n"))
}

/// The comment on a line of Rust: the whole line, or the end of a line of code.
fn comment(line: &str) -> Option<&str> {
    if let Some(rest) = line.trim_start().strip_prefix("//") {
        let rest = rest.strip_prefix(['/', '!']).unwrap_or(rest);
        return Some(rest.strip_prefix(char::is_whitespace).unwrap_or(rest));
    }
    line.match_indices("//").find_map(|(at, slashes)| {
        let (code, rest) = (line.get(..at)?, line.get(at + slashes.len()..)?);
        let ends_code = code.trim_end().ends_with([';', '{', '}', ',', ')']);
        let is_apart = code.ends_with(char::is_whitespace);
        (ends_code && is_apart)
            .then(|| rest.strip_prefix(char::is_whitespace))
            .flatten()
    })
}

/// The text of a line of mdoc(7): no comment, and no macro name at the start.
fn manual_text(line: &str) -> Option<&str> {
    if line.starts_with(".\\\"") {
        return None;
    }
    let mut start = line.chars();
    let is_macro = start.next() == Some('.')
        && start.next().is_some_and(|c| c.is_ascii_uppercase())
        && start.next().is_some_and(|c| c.is_ascii_lowercase());
    Some(if is_macro { start.as_str() } else { line })
}

/// `text` with a space for each code span; a lone backtick at the end starts none.
fn without_code_spans(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once('`') {
        let Some((_, after)) = after.split_once('`') else {
            break;
        };
        kept.push_str(before);
        kept.push(' ');
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// The words of `text`: letters, with apostrophes after the first of them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphabetic() && c != '\'' && c != '’')
        .map(|word| word.trim_start_matches(['\'', '’']))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(file: &str, text: &str) -> (usize, usize) {
        let tally = Tally::of(&prose(file, text));
        (tally.words, tally.pronouns)
    }

    #[test]
    fn comments_count_and_code_does_not() {
        let text = "\
//! It says what.
/// Which one?
let it = what(); // that
let it = \"http://which\";
    // plain words, `it` and `what
    // it` left out
/// ```
/// let it = what;
/// ```
fn which() {}
";
        assert_eq!(tally("a.rs", text), (11, 5));
    }

    #[test]
    fn a_word_is_whole_and_of_any_case() {
        assert_eq!(tally("a.md", "ITS items: italics, it's that don't"), (6, 2));
        assert_eq!(
            tally("a.md", "whoever whose nobody Somebody those one"),
            (6, 6)
        );
    }

    #[test]
    fn a_document_counts_outside_of_code_blocks() {
        let text = "One line.\n```sh\nit what\n```\nNo more than `it` that.\n";
        assert_eq!(tally("a.md", text), (6, 2));
    }

    #[test]
    fn a_manual_page_counts_without_macro_names() {
        let text = ".\\\" it is a comment\n.It Fl check\n.Nm\nwrites what.\n";
        assert_eq!(tally("a.8", text), (4, 1));
    }

    #[test]
    fn a_rate_is_rounded_and_compared_exactly() {
        let rate = |pronouns, words| Tally { words, pronouns };
        assert_eq!(rate(1, 3).to_string(), "33.33");
        assert_eq!(rate(2, 3).to_string(), "66.67");
        assert_eq!(rate(0, 0).to_string(), "0.00");
        assert!(!rate(4, 100).is_above_limit());
        assert!(rate(5, 124).is_above_limit());
    }

    #[test]
    fn the_files_with_most_pronouns_above_the_limit_are_named() {
        let file = |name: &str, pronouns, words| (name.to_owned(), Tally { words, pronouns });
        let files = vec![
            file("tiny.rs", 1, 2),
            file("good.rs", 3, 100),
            file("long.rs", 90, 1000),
            file("short.rs", 9, 100),
            file("fair.rs", 5, 100),
        ];
        assert_eq!(
            worst(files),
            ["long.rs (9.00)", "short.rs (9.00)", "fair.rs (5.00)"]
        );
    }
}
