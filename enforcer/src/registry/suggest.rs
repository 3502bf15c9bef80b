//! Text helpers for messages: suggestions, lists, quotes and numbers.

/// The longest quote from a file in a message, in characters.
const QUOTE_CHARS: usize = 48;
/// The most words that are compared with a wrong one: a registry has at most 256 peers.
const MAX_CANDIDATES: usize = 256;

/// Returns the nearest candidate within the tolerance.
///
/// Case, and `_` for `-`, do not count as differences: they are the most common slips.
pub(super) fn nearest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = folded(given);
    let length = given.chars().count();
    // A third of the word may differ, as in rustc.
    let tolerance = (length / 3).max(1);
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        .filter(|candidate| {
            let other = candidate.chars().take(QUOTE_CHARS).count();
            length.abs_diff(other) <= tolerance
        })
        .map(|candidate| (strsim::osa_distance(&given, &folded(candidate)), candidate))
        .filter(|&(distance, _)| distance <= tolerance)
        .min()
        .map(|(_, candidate)| candidate)
}

fn folded(word: &str) -> String {
    // A long word resembles no candidate, and the distance costs the product of the lengths.
    word.chars()
        .take(QUOTE_CHARS)
        .map(|c| match c {
            '_' => '-',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

/// Returns "did you mean …?" if a candidate is near, else the caller's sentence.
pub(super) fn did_you_mean<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    otherwise: impl FnOnce() -> String,
) -> String {
    match nearest(given, candidates) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise(),
    }
}

/// Returns "`a`, `b` and `c`".
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>, joint: &str) -> String {
    let words: Vec<String> = words.into_iter().map(quoted).collect();
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} {joint} {last}", rest.join(", ")),
    }
}

/// Returns a text from a file in backticks, made safe by [`shown`].
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", shown(text))
}

/// Returns a text from a file: cut when long, control characters escaped.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == QUOTE_CHARS {
            shown.push('…');
            break;
        }
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// Returns a number with thousands separators: 10,000.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_forgives_case_and_underscores_but_not_another_word() {
        let keys = ["interface", "public-key", "addresses"];
        assert_eq!(nearest("Public_Key", keys), Some("public-key"));
        assert_eq!(nearest("adresses", keys), Some("addresses"));
        assert_eq!(nearest("address", keys), Some("addresses"));
        assert_eq!(nearest("A_B_C", ["a-b-c"]), Some("a-b-c"));
        assert_eq!(nearest("endpoint", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }

    #[test]
    fn quoted_disarms_control_characters_and_cuts() {
        assert_eq!(quoted("a\u{1b}[31m\"b\""), "`a\\u{1b}[31m\"b\"`");
        assert_eq!(
            quoted(&"é".repeat(49)),
            format!("`{}…`", "é".repeat(QUOTE_CHARS))
        );
    }

    #[test]
    fn grouped_sets_commas_every_three_digits() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(4096), "4,096");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn listed_joins_the_last_word() {
        assert_eq!(listed([], "and"), "");
        assert_eq!(listed(["a"], "and"), "`a`");
        assert_eq!(listed(["a", "b", "c"], "or"), "`a`, `b` or `c`");
    }
}
