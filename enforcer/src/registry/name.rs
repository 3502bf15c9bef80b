//! Names of services, peers and interfaces.

use super::diagnostic::Fault;
use super::suggest::quoted;

/// The longest name of a service or a peer, in characters.
const MAX_NAME: usize = 32;
/// The longest name of an interface, in bytes: ALTIFNAMSIZ less the NUL (linux/if.h). Names of more
/// than 15 bytes are alternative names (ip-link(8), `property add altname`).
const MAX_INTERFACE: usize = 127;

/// Checks a name against `[a-z0-9][a-z0-9-]{0,31}`. `what` is "service" or "peer".
pub(super) fn check(what: &str, name: &str) -> Result<(), Fault> {
    if is_name(name) {
        return Ok(());
    }
    let rule = format!(
        "a {what}'s name has 1 to {MAX_NAME} of the characters a-z, 0-9 and `-`, and does not start with `-`"
    );
    let near = tidied(name);
    let help = if is_name(&near) {
        format!("{rule}: for example `{near}`")
    } else {
        rule
    };
    Err(Fault::new(
        format!("invalid {what} name {}", quoted(name)),
        help,
    ))
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let Some(&first) = name.as_bytes().first() else {
        return false;
    };
    letter(first) && name.len() <= MAX_NAME && name.bytes().all(|byte| letter(byte) || byte == b'-')
}

/// Returns a valid name near one with capitals, dots or underscores.
fn tidied(name: &str) -> String {
    let tidy: String = name
        .chars()
        .take(MAX_NAME)
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => c,
            _ => '-',
        })
        .collect();
    tidy.trim_matches('-').to_owned()
}

/// Checks the name of one interface, by the kernel's `dev_valid_name`.
pub(super) fn check_interface(name: &str) -> Result<(), Fault> {
    check_interface_part(name, name)?;
    if name.is_empty() || name == "." || name == ".." {
        return Err(invalid_interface(name));
    }
    Ok(())
}

/// Checks the name of an interface, or the start of one followed by `*`.
pub(super) fn check_pattern(pattern: &str) -> Result<(), Fault> {
    match pattern.strip_suffix('*') {
        Some(prefix) => check_interface_part(prefix, pattern),
        None => check_interface(pattern),
    }
}

/// Returns whether a pattern, a name or the start of names followed by `*`, matches an interface.
pub fn pattern_matches(pattern: &str, interface: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => interface.starts_with(start),
        None => interface == pattern,
    }
}

/// Returns the entry for an interface among entries with patterns. The names are the interface's
/// name, then the alternative names: the first name that any pattern matches decides. For this name
/// an exact pattern beats a start of names, and a longer pattern a shorter one.
pub fn winning_pattern<'e, 'n, T>(
    entries: &'e [T],
    pattern: impl Fn(&T) -> &str,
    mut names: impl Iterator<Item = &'n str>,
) -> Option<&'e T> {
    let precedence = |entry: &&T| {
        let pattern = pattern(entry);
        (!pattern.ends_with('*'), pattern.len())
    };
    names.find_map(|name| {
        let matching = entries
            .iter()
            .filter(|entry| pattern_matches(pattern(entry), name));
        matching.max_by_key(precedence)
    })
}

fn check_interface_part(part: &str, whole: &str) -> Result<(), Fault> {
    if part.contains('*') {
        return Err(Fault::new(
            format!("invalid interface name {}", quoted(whole)),
            "`*` stands for the rest of a name, at the end alone: \"br-*\"",
        ));
    }
    // The kernel takes control characters and Unicode spaces, but they are always mistakes.
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | ':');
    // The kernel compares bytes, and the kernel's isspace() includes 0xa0, as in Latin-1.
    let latin_space = part.bytes().any(|byte| byte == 0xa0);
    if part.len() > MAX_INTERFACE || part.contains(forbidden) || latin_space {
        return Err(invalid_interface(whole));
    }
    Ok(())
}

fn invalid_interface(name: &str) -> Fault {
    Fault::new(
        format!("invalid interface name {}", quoted(name)),
        format!(
            "an interface's name has 1 to {MAX_INTERFACE} bytes, without spaces, `/` and `:`, as `ip link` shows it"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_pattern_of_the_design() {
        for good in ["a", "0", "a-b", "grafana", "a-", &"a".repeat(32)] {
            assert_eq!(check("service", good), Ok(()), "{good:?}");
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "ä", "a b", &"a".repeat(33)] {
            assert!(check("service", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_near_name_is_offered() {
        let help = |name| check("peer", name).unwrap_err().help.unwrap();
        assert!(help("My_Peer").ends_with(": for example `my-peer`"));
        assert!(help("__").ends_with("does not start with `-`"));
    }

    #[test]
    fn interfaces_are_what_the_kernel_accepts() {
        for good in [
            "eth0",
            "a",
            "wg-office",
            "eth0.100",
            "br@1",
            "...",
            &"a".repeat(127),
        ] {
            assert_eq!(check_interface(good), Ok(()), "{good:?}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a:1",
            "a\tb",
            "a\u{b}b",
            "a\0",
            "a\u{2000}b",
            "voil\u{e0}",
            "eth*",
            &"a".repeat(128),
        ] {
            assert!(check_interface(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn patterns_end_in_one_star() {
        for good in ["eth0", "eth*", "*", ".*", &format!("{}*", "a".repeat(127))] {
            assert_eq!(check_pattern(good), Ok(()), "{good:?}");
        }
        for bad in [
            "",
            "**",
            "e*h0",
            "*eth",
            &format!("{}*", "a".repeat(128)),
            "a b*",
        ] {
            assert!(check_pattern(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pattern_matches_the_starts_of_names() {
        for (pattern, matching, other) in [
            ("eth0", "eth0", "eth01"),
            ("eth*", "eth", "et"),
            ("eth*", "eth0.100", "veth0"),
            ("*", "wg0", ""),
        ] {
            assert!(pattern_matches(pattern, matching), "{pattern} {matching}");
            let is_all = pattern == "*";
            assert_eq!(pattern_matches(pattern, other), is_all, "{pattern} {other}");
        }
    }
}
