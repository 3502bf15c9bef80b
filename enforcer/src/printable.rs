//! Foreign names (of interfaces, files, units), made safe for a terminal.
//!
//! The kernel allows almost every byte in an interface name (`dev_valid_name`, net/core/dev.c) and
//! in a file name. The escapes here are reversible, so two names never look the same. Letters
//! that resemble letters of another script stay as they are.

use std::{
    borrow::Cow,
    fmt::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// Marks a byte outside UTF-8, in front of two hexadecimal digits.
const MARK: char = char::REPLACEMENT_CHARACTER;

/// The characters at most of a text's first line, which is the sentence, and names within.
pub(crate) const SENTENCE: usize = 4096;
/// The characters at most of a further line, which quotes another program.
pub(crate) const QUOTED: usize = 160;
/// The lines at most of a text: the first half and the last half.
pub(crate) const LINES: usize = 50;

/// Decodes a name without loss: a byte outside UTF-8 becomes U+FFFD and two hexadecimal digits. So
/// does a line feed, which would end the line of a text that quotes the name.
///
/// U+FFFD itself is decoded byte by byte, so that each name has a text of its own.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                MARK => push_bytes(&mut text, "\u{fffd}".as_bytes()),
                '\n' => push_bytes(&mut text, b"\n"),
                c => text.push(c),
            }
        }
        push_bytes(&mut text, chunk.invalid());
    }
    text
}

/// Decodes a path as [`decode`] does.
pub(crate) fn decode_path(path: &Path) -> String {
    decode(path.as_os_str().as_bytes())
}

fn push_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string does not fail.
        _ = write!(text, "{MARK}{byte:02x}");
    }
}

/// Returns a name with escapes in place of control characters (`\x1b`), invisible characters and
/// letters that run from right to left (`\u{202e}`), spaces at an end (`\x20`), backslashes (`\\`)
/// and the undecodable bytes of [`decode`] (`\xff`).
pub(crate) fn name(name: &str) -> Cow<'_, str> {
    let inner = name.trim_matches(' ');
    if inner.len() == name.len() {
        return escape(name);
    }
    // Spaces alone are all in front.
    let front = name.len() - name.trim_start_matches(' ').len();
    let end = name.len() - front - inner.len();
    let [front, end] = [front, end].map(|spaces| "\\x20".repeat(spaces));
    Cow::Owned(format!("{front}{}{end}", escape(inner)))
}

fn escape(line: &str) -> Cow<'_, str> {
    let is_plain = |c: char| matches!(c, ' '..='~') && c != '\\';
    if line.chars().all(is_plain) {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len() + 8);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            MARK => match hexadecimal(rest.as_str()) {
                Some(digits) => {
                    text.push_str("\\x");
                    text.push_str(digits);
                    rest = rest.as_str()[2..].chars();
                }
                None => text.push_str("\\u{fffd}"),
            },
            '\\' => text.push_str("\\\\"),
            '"' | '\'' => text.push(c),
            c if c.is_ascii_control() => _ = write!(text, "\\x{:02x}", u32::from(c)),
            c if misleads(c) => text.extend(c.escape_unicode()),
            c => text.extend(c.escape_debug()),
        }
    }
    Cow::Owned(text)
}

/// Whether a letter, for Rust printable, misleads the eye: a letter from right to left reorders the
/// text around (the bidirectional classes R and AL, Unicode Standard Annex 9), and a filler is blank.
fn misleads(c: char) -> bool {
    matches!(
        c,
        '\u{590}'..='\u{8ff}'
            | '\u{fb1d}'..='\u{fdff}'
            | '\u{fe70}'..='\u{feff}'
            | '\u{10800}'..='\u{10fff}'
            | '\u{1e800}'..='\u{1efff}'
            | '\u{115f}'..='\u{1160}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{ffa0}'
    )
}

/// Returns the first two characters of a text if [`decode`] wrote them behind a mark.
fn hexadecimal(text: &str) -> Option<&str> {
    let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    text.get(..2).filter(|digits| digits.chars().all(is_digit))
}

/// Decodes paths, joined by commas.
pub(crate) fn decoded(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| decode_path(path)).collect();
    paths.join(", ")
}

/// Returns a text that quotes names and programs, escaped like a name; line feeds stay. Of long
/// lines and of many lines a part is left out, with `…` in its place.
pub(crate) fn text(text: &str) -> String {
    let lines: Vec<&str> = text.split('\n').collect();
    let (front, back) = match lines.len() {
        0..=LINES => (&lines[..], &[][..]),
        many => (&lines[..LINES / 2], &lines[many - LINES / 2..]),
    };
    let mut shown: Vec<Cow<'_, str>> = Vec::new();
    for (number, line) in front.iter().enumerate() {
        let most = if number == 0 { SENTENCE } else { QUOTED };
        shown.push(clipped(line, most));
    }
    if !back.is_empty() {
        shown.push(format!("… {} lines are left out", lines.len() - LINES).into());
    }
    shown.extend(back.iter().map(|line| clipped(line, QUOTED)));
    shown.join("\n")
}

/// Returns a line, escaped, with `…` in place of the characters beyond `most`.
fn clipped(line: &str, most: usize) -> Cow<'_, str> {
    match line.char_indices().nth(most) {
        None => escape(line),
        Some((end, _)) => Cow::Owned(escape(&line[..end]).into_owned() + "…"),
    }
}

/// Decodes the output of another program, as a text may quote the output: lines of at most
/// [`QUOTED`] characters, a few of them, the last being the most telling.
pub(crate) fn quoted(output: &[u8]) -> String {
    const MOST: usize = 8;
    let lines: Vec<&[u8]> = output.trim_ascii().split(|&byte| byte == b'\n').collect();
    let last = lines.iter().skip(lines.len().saturating_sub(MOST));
    let clip = |line: &&[u8]| {
        let line = decode(line.trim_ascii_end());
        match line.char_indices().nth(QUOTED) {
            None => line,
            Some((end, _)) => line[..end].to_owned() + "…",
        }
    };
    last.map(clip).collect::<Vec<_>>().join("\n")
}

/// Returns JSON with `\u` escapes for characters that [`name`] would escape and JSON does not: the
/// value stays the same, and no name in a string can write to a terminal.
pub(crate) fn json(json: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| match c {
        // U+FFFD is the mark of `decode`.
        ' '..='~' | '\n' | MARK => false,
        c => misleads(c) || c.escape_debug().len() > 1,
    };
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        match is_unsafe(c) {
            false => text.push(c),
            // Writing to a string does not fail.
            true => c
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| _ = write!(text, "\\u{unit:04x}")),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay() {
        for plain in ["eth0", "br-1234", "wg.office", "größe", "日本", "a b'c\"d"] {
            assert_eq!(name(plain), plain);
            assert_eq!(decode(plain.as_bytes()), plain);
        }
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(name("eth\u{1b}[31m"), "eth\\x1b[31m");
        assert_eq!(name("a\nb\tc\u{7f}"), "a\\x0ab\\x09c\\x7f");
        assert_eq!(name("a\u{9b}31m"), "a\\u{9b}31m");
        assert_eq!(name("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
        assert_eq!(text("a\u{1b}\nb\\"), "a\\x1b\nb\\\\");
    }

    #[test]
    fn what_the_eye_misses_becomes_visible() {
        for (hidden, shown) in [
            (" a", "\\x20a"),
            ("a  ", "a\\x20\\x20"),
            ("  ", "\\x20\\x20"),
            ("a\u{a0}b", "a\\u{a0}b"),
            ("a\u{3164}", "a\\u{3164}"),
            ("1\u{5d0}", "1\\u{5d0}"),
            ("\u{5d0}1", "\\u{5d0}1"),
            ("e\u{301}", "e\\u{301}"),
        ] {
            assert_eq!(name(hidden), shown);
        }
        assert_eq!(text("  indented"), "  indented");
    }

    #[test]
    fn a_line_feed_in_a_name_ends_no_line() {
        let quoted = format!("no file {}", decode(b"a\nerror: b"));
        assert_eq!(text(&quoted), "no file a\\x0aerror: b");
    }

    #[test]
    fn long_texts_are_clipped() {
        let long = "x".repeat(5000);
        let shown = text(&format!("{long}\n{long}\nend"));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], format!("{}…", &long[..SENTENCE]));
        assert_eq!(lines[1], format!("{}…", &long[..QUOTED]));
        assert_eq!(lines[2], "end");
        let many: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        let shown = text(&many.join("\n"));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), LINES + 1);
        assert_eq!(lines[24..27], ["24", "… 950 lines are left out", "975"]);
        let exact = many[..LINES].join("\n");
        assert_eq!(text(&exact), exact);
    }

    #[test]
    fn programs_are_quoted_in_short() {
        assert_eq!(quoted(b" oh\xff\r\nno\n\n"), "oh\u{fffd}ff\nno");
        let many = "a\n".repeat(100) + &"é".repeat(QUOTED + 1);
        let shown = quoted(many.as_bytes());
        assert_eq!(shown.lines().count(), 8);
        let last = shown.lines().last().unwrap();
        assert_eq!(last, "é".repeat(QUOTED) + "…");
    }

    #[test]
    fn json_says_the_same_without_raw_characters() {
        let value = "\u{9b}2J \u{202e}\u{7f} größe \u{e0041} \u{fffd}ff \n\u{1b}";
        let plain = serde_json::to_string_pretty(&[value]).unwrap();
        let shown = json(&plain);
        assert!(
            shown.contains("\\u009b2J \\u202e\\u007f größe \\udb40\\udc41"),
            "{shown}"
        );
        let back: [String; 1] = serde_json::from_str(&shown).unwrap();
        assert_eq!(back, [value]);
        assert!(matches!(json("{\n  \"a\": \"größe\"\n}"), Cow::Borrowed(_)));
    }

    #[test]
    fn names_that_differ_look_different() {
        let names: [&[u8]; 8] = [
            b"a\xff",
            b"a\xfe",
            b"a\\xff",
            b"a\xef\xbf\xbd",
            b"a\xef\xbf\xbdff",
            b"a\\u{fffd}",
            b"aff",
            b"a\xc3\xbf",
        ];
        let shown = names.map(|bytes| name(&decode(bytes)).into_owned());
        for (index, one) in shown.iter().enumerate() {
            assert!(!shown[..index].contains(one), "{one}");
        }
        assert_eq!(shown[0], "a\\xff");
        assert_eq!(shown[2], "a\\\\xff");
        let paths = [PathBuf::from("/etc/\u{7}"), PathBuf::from("b")];
        assert_eq!(name(&decoded(&paths)), "/etc/\\x07, b");
    }

    /// Reads the escapes back.
    fn undo(shown: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = shown;
        while let Some((plain, escape)) = rest.split_once('\\') {
            bytes.extend(plain.bytes());
            let kind = escape.chars().next().expect("an escape");
            let end = match kind {
                'x' => {
                    bytes.push(u8::from_str_radix(&escape[1..3], 16).unwrap());
                    3
                }
                'u' => {
                    let end = escape.find('}').expect("the end of an escape");
                    let number = u32::from_str_radix(&escape[2..end], 16).unwrap();
                    let mut buffer = [0; 4];
                    let c = char::from_u32(number).unwrap();
                    bytes.extend(c.encode_utf8(&mut buffer).bytes());
                    end + 1
                }
                _ => {
                    bytes.push(b'\\');
                    1
                }
            };
            rest = &escape[end..];
        }
        bytes.extend(rest.bytes());
        bytes
    }

    proptest! {
        #[test]
        fn escapes_are_reversible(bytes in any::<Vec<u8>>()) {
            let shown = name(&decode(&bytes)).into_owned();
            prop_assert!(!shown.contains(char::is_control));
            prop_assert_eq!(undo(&shown), bytes);
        }

        #[test]
        fn escapes_of_texts_are_reversible(text: String) {
            let shown = name(&decode(text.as_bytes())).into_owned();
            prop_assert_eq!(undo(&shown), text.into_bytes());
        }
    }
}
