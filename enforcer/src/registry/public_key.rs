//! WireGuard public keys.

use std::fmt;

use super::diagnostic::Fault;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The length of the base64 text of 32 bytes: 43 digits and one `=`.
const TEXT_LEN: usize = 44;
const HELP: &str = "`wg show INTERFACE peers` lists the public keys of an interface's peers";

/// A WireGuard public key: the 32 bytes of a Curve25519 point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Returns the bytes in the order of netlink's `WGPEER_A_PUBLIC_KEY`.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses the canonical base64 text (RFC 4648, section 4) of a key, as `wg` does.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let invalid = |why: &str| Fault::new(format!("invalid public key: {why}"), HELP);
        let count = text.chars().count();
        if count != TEXT_LEN {
            return Err(invalid(&format!(
                "it has {count} characters, not {TEXT_LEN}"
            )));
        }
        let not_base64 = "it is not the base64 text of 32 bytes";
        let digits = text.strip_suffix('=').ok_or_else(|| invalid(not_base64))?;
        let key = decode(digits.as_bytes()).ok_or_else(|| invalid(not_base64))?;
        if key == [0; 32] {
            return Err(invalid("all its bytes are zero, which is no key"));
        }
        Ok(Self(key))
    }
}

/// Decodes 43 digits to 32 bytes. Returns `None` also if the last digit has bits beyond the last
/// byte: two texts would denote one key, which a text comparison elsewhere would miss.
fn decode(digits: &[u8]) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let mut bytes = key.iter_mut();
    let mut held = 0u32;
    let mut bits = 0;
    for digit in digits {
        let value = ALPHABET.iter().position(|letter| letter == digit)?;
        held = held << 6 | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            *bytes.next()? = u8::try_from(held >> bits).ok()?;
            held &= (1 << bits) - 1;
        }
    }
    (held == 0 && bytes.next().is_none()).then_some(key)
}

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(TEXT_LEN);
        for chunk in self.0.chunks(3) {
            let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
            let group = byte(0) << 16 | byte(1) << 8 | byte(2);
            for index in 0..=3 {
                if index > chunk.len() {
                    text.push('=');
                } else {
                    let digit = group >> (18 - 6 * index) & 63;
                    text.push(char::from(ALPHABET[digit as usize]));
                }
            }
        }
        f.pad(&text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::Config;

    #[test]
    fn a_key_of_wg_is_read_and_written() {
        // RFC 7748, section 6.1: Alice's public key.
        let text = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        let key = PublicKey::parse(text).unwrap();
        assert_eq!(key.as_bytes()[..4], [0x85, 0x20, 0xf0, 0x09]);
        assert_eq!(key.as_bytes()[31], 0x6a);
        assert_eq!(key.to_string(), text);
        assert_eq!(format!("{key:>46}"), format!("  {text}"));
    }

    #[test]
    fn what_is_not_the_one_text_of_a_key_is_refused() {
        let good = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        let bad = [
            String::new(),
            good[..43].to_owned(),
            format!("{good}="),
            format!("{good} "),
            // The last digit has bits beyond the last byte: non-canonical.
            good.replace("mo=", "mp="),
            // 31 bytes, and 33.
            good.replace("mo=", "m=="),
            good.replace("mo=", "moA"),
            // The URL alphabet.
            good.replace('/', "_"),
            good.replace('1', "="),
            good.replace('1', "é"),
            "A".repeat(43) + "=",
        ];
        for text in bad {
            assert!(PublicKey::parse(&text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

        #[test]
        fn every_key_but_zero_survives_its_text(bytes: [u8; 32]) {
            let key = PublicKey(bytes);
            prop_assume!(bytes != [0; 32]);
            prop_assert_eq!(PublicKey::parse(&key.to_string()), Ok(key));
        }

        #[test]
        fn a_text_that_is_taken_is_the_text_that_is_shown(text in "[A-Za-z0-9+/]{42,43}=") {
            if let Ok(key) = PublicKey::parse(&text) {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
