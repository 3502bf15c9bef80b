//! Ports and port ranges in a service's `ports`.

use std::ops::RangeInclusive;

use toml::de::DeInteger;

use super::diagnostic::Fault;
use super::suggest::quoted;

const LIMITS: &str = "a port is a number from 1 to 65535";
const RANGE: &str = "a range is written as \"9000-9001\"";

/// Reads a port written as a number.
pub(super) fn from_integer(integer: &DeInteger<'_>) -> Result<u16, Fault> {
    match u16::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(0) => Err(zero()),
        Ok(port) => Ok(port),
        // `-0` is TOML, and a zero like any other.
        Err(_) if i8::from_str_radix(integer.as_str(), integer.radix()) == Ok(0) => Err(zero()),
        Err(_) => Err(out_of_range(&integer.to_string())),
    }
}

/// Reads a range written as a text: "9000-9001".
pub(super) fn from_text(text: &str) -> Result<RangeInclusive<u16>, Fault> {
    let Some((first, last)) = text.split_once('-') else {
        return Err(match number(text.trim()) {
            Some(_) => Fault::new(
                format!("port {} is written as a string", quoted(text)),
                format!("write `{}`, without quotes", text.trim()),
            ),
            None => Fault::new(format!("invalid port range {}", quoted(text)), RANGE),
        });
    };
    let (Some(first), Some(last)) = (number(first.trim()), number(last.trim())) else {
        return Err(Fault::new(
            format!("invalid port range {}", quoted(text)),
            RANGE,
        ));
    };
    let port = |digits: &str| match digits.parse() {
        Ok(0) => Err(zero()),
        Ok(port) => Ok::<u16, _>(port),
        Err(_) => Err(out_of_range(digits)),
    };
    let range = port(first)?..=port(last)?;
    let written = format!("{first}-{last}");
    if range.is_empty() {
        return Err(Fault::new(
            format!("reversed port range {}", quoted(text)),
            format!("write the lower port first: \"{last}-{first}\""),
        ));
    }
    if written != text {
        return Err(Fault::new(
            format!("invalid port range {}", quoted(text)),
            format!("write \"{written}\", without spaces"),
        ));
    }
    Ok(range)
}

/// Returns the text of a decimal number without sign and leading zeros, as in TOML.
fn number(text: &str) -> Option<&str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (text == "0" || !text.starts_with('0'))).then_some(text)
}

fn zero() -> Fault {
    Fault::new("port 0 cannot be registered", LIMITS)
}

fn out_of_range(number: &str) -> Fault {
    Fault::new(format!("port {} is out of range", quoted(number)), LIMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_both_ends() {
        assert_eq!(from_text("9000-9001"), Ok(9000..=9001));
        assert_eq!(from_text("1-65535"), Ok(1..=65535));
        assert_eq!(from_text("7-7"), Ok(7..=7));
    }

    #[test]
    fn what_is_no_range_says_what_would_be() {
        for (text, message, help) in [
            ("", "invalid port range ``", RANGE),
            ("-", "invalid port range `-`", RANGE),
            ("http", "invalid port range `http`", RANGE),
            ("9000-", "invalid port range `9000-`", RANGE),
            (
                "9000-9001-9002",
                "invalid port range `9000-9001-9002`",
                RANGE,
            ),
            ("+1-2", "invalid port range `+1-2`", RANGE),
            ("01-2", "invalid port range `01-2`", RANGE),
            ("0-2", "port 0 cannot be registered", LIMITS),
            ("1-65536", "port `65536` is out of range", LIMITS),
            (
                "9200",
                "port `9200` is written as a string",
                "write `9200`, without quotes",
            ),
            (
                "2-1",
                "reversed port range `2-1`",
                "write the lower port first: \"1-2\"",
            ),
            (
                "1 - 2",
                "invalid port range `1 - 2`",
                "write \"1-2\", without spaces",
            ),
        ] {
            assert_eq!(from_text(text), Err(Fault::new(message, help)), "{text:?}");
        }
    }
}
