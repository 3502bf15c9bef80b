//! The registry as a whole: from texts and files to a model or diagnostics.

mod accepted;
mod addresses;
mod doctor;
mod documents;
mod etc;
mod files;
mod kinds;
mod limits;
mod lints;
mod mutations;
mod networks;
mod peers;
mod rendering;
mod services;
mod sources;
mod syntax;
mod tables;
mod trust;
mod unregistered;
mod vanished;

use super::files::load_texts;
use super::{Diagnostic, Loaded, Rejected};

/// Returns each diagnostic as `line:column message -- help`.
fn summary(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics
        .iter()
        .map(|it| {
            let (line, column, message) = (it.line(), it.column(), it.message());
            format!(
                "{line}:{column} {message} -- {}",
                it.help().unwrap_or_default()
            )
        })
        .collect()
}

fn load_text(text: &str) -> Result<Loaded, Rejected> {
    load_texts(&[("r.toml", text)])
}

#[track_caller]
fn accepts(text: &str) -> Loaded {
    load_text(text.trim_start_matches('\n'))
        .unwrap_or_else(|rejected| panic!("rejected:\n{rejected}"))
}

/// Checks that the text is rejected with exactly these errors, with either line ending.
#[track_caller]
fn rejects(text: &str, expected: &[&str]) {
    let text = text.trim_start_matches('\n');
    for text in [text.to_owned(), text.replace('\n', "\r\n")] {
        match load_text(&text) {
            Ok(_) => panic!("accepted:\n{text}"),
            Err(rejected) => assert_eq!(summary(&rejected.errors), expected),
        }
    }
}
