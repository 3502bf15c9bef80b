//! Foreign names (of interfaces, files, units), made safe for a terminal.
//!
//! The kernel allows almost every byte in an interface name (`dev_valid_name`, net/core/dev.c) and
//! in a file name. The escapes here are reversible, so two names never look the same.

use std::{
    borrow::Cow,
    fmt::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// Marks a byte outside UTF-8, in front of two hexadecimal digits.
const MARK: char = char::REPLACEMENT_CHARACTER;

/// Decodes a name without loss: a byte outside UTF-8 becomes U+FFFD and two hexadecimal digits.
///
/// U+FFFD itself is decoded byte by byte, so that each name has a text of its own.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                MARK => push_bytes(&mut text, "\u{fffd}".as_bytes()),
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

/// Returns a name with escapes in place of control characters (`\x1b`), invisible characters
/// (`\u{202e}`), backslashes (`\\`) and the undecodable bytes of [`decode`] (`\xff`).
pub(crate) fn name(name: &str) -> Cow<'_, str> {
    let is_plain = |c: char| matches!(c, ' '..='~') && c != '\\';
    if name.chars().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let mut text = String::with_capacity(name.len() + 8);
    let mut rest = name.chars();
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
            c => text.extend(c.escape_debug()),
        }
    }
    Cow::Owned(text)
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

/// Returns a text that quotes names, escaped like a name; line feeds stay.
pub(crate) fn text(text: &str) -> String {
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(name).collect();
    lines.join("\n")
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
