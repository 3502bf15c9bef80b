//! TOML syntax errors, in the words of an operator.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, Error};

use super::diagnostic::{Diagnostic, Fault, Severity};
use super::duplicate::Duplicates;
use super::read::TableReader;
use super::source::{SourceFile, Span};
use super::suggest::{grouped, quoted, shown};

/// The most syntax errors reported for one file. A file with more is no registry.
const MAX_ERRORS: usize = 20;
/// The most syntax errors examined, since each may cost a pass over the file.
const MAX_EXAMINED: usize = 200;

/// The most tokens of a file, such as a name, a number, `=`, a blank or the end of a line. The
/// parser keeps each, and some 600 bytes for each error.
const MAX_TOKENS: usize = 200_000;

/// Parses the text of a file. Reports syntax errors and returns `None` if there are any.
pub(super) fn parse<'t>(text: &'t str, reader: &mut TableReader<'_>) -> Option<DeTable<'t>> {
    if let Some(token) = toml_parser::Source::new(text).lex().nth(MAX_TOKENS) {
        let span = token.span();
        reader.error(span.start()..span.end(), too_long());
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Some(table.into_inner());
    }
    report(text, errors, reader);
    None
}

fn too_long() -> Fault {
    let limit = grouped(MAX_TOKENS);
    Fault::new(
        format!("this file has more than {limit} words, signs and blanks"),
        "split it into fragments, or check that it is the file that you meant",
    )
}

/// Reports one error for each line: the parser recovers after an error, which finds several
/// mistakes at once but also invents some.
fn report(text: &str, mut errors: Vec<Error>, reader: &mut TableReader<'_>) {
    errors.sort_by_key(|error| span(error).start);
    if let Some(open) = unclosed_array(text, &errors) {
        // The parser read the rest of the file as part of the array.
        errors.retain(|error| span(error).start < open);
        let fault = Fault::new("this list is not closed", "write `]` after its last item");
        reader.error(open..open + 1, fault);
    }
    errors.truncate(MAX_EXAMINED);
    let mut line = 0;
    let mut reported = 0;
    let mut doubled_header = None;
    let mut duplicates = Duplicates::new(text);
    for error in &errors {
        let span = span(error);
        if is_duplicate(error) {
            // In a table defined twice every key may be a duplicate: the header's error is enough.
            if let Some(header) = duplicates.header_at(span.start) {
                doubled_header = Some(header);
            } else if doubled_header.is_some()
                && duplicates.header_above(span.start) == doubled_header
            {
                continue;
            }
        }
        let place = reader.place(span.clone());
        if place.line() == line {
            continue;
        }
        line = place.line();
        reported += 1;
        if reported > MAX_ERRORS {
            let help = "correct the first ones, and check the file again";
            reader.error(span, Fault::new("there are more syntax errors", help));
            return;
        }
        reader
            .report
            .push(diagnostic(&mut duplicates, error, place, reader.file));
    }
}

fn diagnostic(
    duplicates: &mut Duplicates<'_>,
    error: &Error,
    place: Span,
    file: &Arc<SourceFile>,
) -> Diagnostic {
    let mut fault = explain(error, place.text());
    let first = is_duplicate(error)
        .then(|| duplicates.first_definition(span(error)))
        .flatten()
        .map(|first| Span::new(file, first));
    if let Some(first) = &first {
        fault.message = format!("{}, first at {first}", fault.message);
    }
    let diagnostic = Diagnostic::new(Severity::Error, place, fault);
    match first {
        Some(first) => diagnostic.related(first, "first written here"),
        None => diagnostic,
    }
}

fn span(error: &Error) -> Range<usize> {
    error.span().unwrap_or(0..0)
}

fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}

/// Returns the offset of the `[` of an unclosed array.
fn unclosed_array(text: &str, sorted: &[Error]) -> Option<usize> {
    let end = sorted
        .iter()
        .find(|error| error.message().starts_with("unclosed array"))?;
    let first = sorted
        .iter()
        .find(|error| error.message().contains("array"))
        .unwrap_or(end);
    let before = text.get(..span(first).start)?;
    before.rmatch_indices('=').find_map(|(equals, _)| {
        let value = before[equals + 1..].trim_start_matches([' ', '\t']);
        value.starts_with('[').then(|| before.len() - value.len())
    })
}

/// Rewrites the parser's message, which names the unexpected and then the expected.
fn explain(error: &Error, text: &str) -> Fault {
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, "nothing")) => (what, None),
        Some((what, expected)) => (what, Some(expected)),
        None => (error.message(), None),
    };
    let help = match what {
        "duplicate key" => {
            return Fault::new(
                format!("{} is written twice", quoted(text)),
                "a key or a table is written once; remove one, or join them",
            );
        }
        "string values must be quoted" | "invalid date" => {
            return Fault::new(
                format!("syntax error: {} is not a value", quoted(text)),
                value_suggestion(text),
            );
        }
        "invalid basic string" | "invalid literal string" if text.trim().is_empty() => {
            return Fault::new(
                "syntax error: this string is not closed",
                "write its closing quote on the same line",
            );
        }
        "invalid unquoted key" => {
            "a name with other characters than letters, digits, `-` and `_` is written in quotes, as in `[interfaces.\"eth*\"]`".to_owned()
        }
        "key with no value" => "write `key = value`".to_owned(),
        _ => match expected {
            Some(expected) => format!("expected {expected}"),
            None => "see https://toml.io for how values are written".to_owned(),
        },
    };
    Fault::new(format!("syntax error: {what}"), help)
}

/// Returns the probable meaning of a value written without quotes or commas.
fn value_suggestion(text: &str) -> String {
    let text = text.trim();
    let words: Vec<&str> = text.split_whitespace().collect();
    let numbers = words.iter().all(|word| word.parse::<u32>().is_ok());
    if ["yes", "no", "on", "off", "true", "false"].contains(&text.to_ascii_lowercase().as_str()) {
        "write `true` or `false`".to_owned()
    } else if numbers && words.len() > 1 {
        format!(
            "write commas between the items: {}",
            shown(&words.join(", "))
        )
    } else {
        format!("write it in quotes: \"{}\"", shown(text))
    }
}
