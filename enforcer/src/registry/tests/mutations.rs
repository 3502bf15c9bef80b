//! A valid registry with random damage: no input causes a panic, and every accepted one is valid.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;

use super::super::files::load_texts;
use super::super::{
    Allow, Diagnostics, HostFacts, Identity, Loaded, MAX_PEERS, MAX_PORTS, MAX_PORTS_AT_ADDRESSES,
    MAX_PREFIXES, Reader, Registry, Rejected, lint, load, render,
};

const GOOD: &str = include_str!("good.toml");

/// The main file beside a fragment.
const MAIN: &str = "[services.zz]\nports = [1]\n";

/// Returns the part of the registry that a fragment may hold.
fn good_fragment() -> String {
    let (fragment, _) = GOOD.split_once("# The main file alone").unwrap();
    fragment.replace("mode = \"enforce\"\n", "")
}

/// Damage of the kinds done by editors, disks and hands.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Delete(Index, usize),
    Insert(Index, String),
    SwapLines(Index, Index),
    CopyLine(Index, Index),
    Splice(Index, Index, usize),
    Truncate(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (at(), 1..40usize).prop_map(|(at, length)| Damage::Delete(at, length)),
        (at(), piece()).prop_map(|(at, text)| Damage::Insert(at, text)),
        (at(), at()).prop_map(|(a, b)| Damage::SwapLines(a, b)),
        (at(), at()).prop_map(|(a, b)| Damage::CopyLine(a, b)),
        (at(), at(), 1..60usize).prop_map(|(from, to, length)| Damage::Splice(from, to, length)),
        at().prop_map(Damage::Truncate),
    ]
}

/// Fragments of text with a meaning in a registry, and text that is hard to render.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "[",
            "]",
            "\"",
            "'''",
            "=",
            ",",
            "\n",
            "\r",
            "\r\n",
            "#",
            ".",
            "{",
            "}",
            "*",
            "any",
            "services.",
            "65535",
            "0",
            "-",
            "1-65535",
            "\u{feff}",
            "\u{0}",
            "\u{1b}[31m",
            "😀",
            "\u{301}",
            "\u{202e}",
            "\t",
            "[services.redis]",
            "\"\\u0000\"",
            "::ffff:1.2.3.4",
            "/33",
            "[unregistered]",
            "\"drop\"",
            "on = [\"192.168.1.10\"]",
            "127.0.0.1",
            "br-*",
            "\"auto\"",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,8}",
        any::<String>(),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let position = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Self::Flip(at, bits) => {
                let at = position(at, bytes);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Self::Delete(at, length) => {
                let start = position(at, bytes);
                let end = (start + length).min(bytes.len());
                bytes.drain(start..end);
            }
            Self::Insert(at, text) => {
                let at = position(at, bytes);
                bytes.splice(at..at, text.bytes());
            }
            Self::SwapLines(a, b) => {
                let mut lines: Vec<_> = bytes.split(|&byte| byte == b'\n').collect();
                let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                lines.swap(a, b);
                *bytes = lines.join(&b'\n');
            }
            Self::CopyLine(from, to) => {
                let mut lines: Vec<_> = bytes.split(|&byte| byte == b'\n').collect();
                let line = lines[from.index(lines.len())];
                lines.insert(to.index(lines.len()), line);
                *bytes = lines.join(&b'\n');
            }
            Self::Splice(from, to, length) => {
                let start = position(from, bytes);
                let piece = bytes[start..(start + length).min(bytes.len())].to_vec();
                let to = position(to, bytes);
                bytes.splice(to..to, piece);
            }
            Self::Truncate(at) => bytes.truncate(position(at, bytes)),
        }
    }
}

fn check(result: &Result<Loaded, Rejected>) {
    match result {
        Ok(loaded) => {
            check_registry(&loaded.registry);
            check_diagnostics(&loaded.warnings);
            let host = HostFacts {
                ephemeral: 1..=65535,
                interfaces: [("eth0", false), ("wg0", false)].into(),
                warnings: Vec::new(),
            };
            check_diagnostics(&lint(&loaded.registry, &host));
        }
        Err(rejected) => {
            assert!(!rejected.errors.is_empty());
            check_diagnostics(&rejected.errors);
            check_diagnostics(&rejected.warnings);
        }
    }
}

fn check_diagnostics(diagnostics: &Diagnostics) {
    for diagnostic in diagnostics.iter() {
        let plain = diagnostic.render(false);
        assert!(plain.contains(diagnostic.file()), "{plain}");
        assert!(
            !plain.contains(|c: char| c.is_control() && c != '\n'),
            "{plain:?}"
        );
        let place = format!(
            "{}:{}:{}\n",
            diagnostic.file(),
            diagnostic.line(),
            diagnostic.column()
        );
        let whole_file = format!("--> {}\n", diagnostic.file());
        assert!(
            plain.contains(&place) || plain.contains(&whole_file),
            "{place}\n{plain}"
        );
        assert!(
            !diagnostic.message().is_empty() && diagnostic.help().is_some(),
            "{plain}"
        );
        assert!(diagnostic.line() > 0 && diagnostic.column() > 0);
        diagnostic.render(true);
        serde_json::to_string(diagnostic).unwrap();
    }
    render(diagnostics, false);
}

/// Checks the documented promises of a registry, independently of the checking code.
fn check_registry(registry: &Registry) {
    let name = |name: &str| {
        let bytes = name.as_bytes();
        matches!(bytes.len(), 1..=32)
            && bytes[0] != b'-'
            && bytes
                .iter()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    assert!(!registry.services().is_empty());
    assert!(registry.services().is_sorted_by(|a, b| a.name < b.name));
    assert!(registry.peers().is_sorted_by(|a, b| a.name < b.name));
    assert!(
        registry
            .interfaces()
            .is_sorted_by(|a, b| a.pattern < b.pattern)
    );

    check_ports(registry);
    for service in registry.services() {
        assert!(name(&service.name) && !service.ports.is_empty());
        assert!(!service.public || service.allow.is_empty());
        check_allow(registry, &service.allow);
        assert!(service.ranges.iter().all(|range| range.first <= range.last));
    }
    assert!(registry.peers().len() <= MAX_PEERS);
    let mut prefixes = 0;
    for peer in registry.peers() {
        assert!(name(&peer.name) && is_pattern(&peer.interface) && peer.interface != "lo");
        match &peer.identity {
            Identity::Key(key) => {
                assert_ne!(key.as_bytes(), &[0; 32]);
                assert!(interface(&peer.interface));
            }
            Identity::Addresses(nets) => {
                assert!(!nets.is_empty() && nets.iter().all(|net| net.trunc() == *net));
                prefixes += nets.len();
            }
        }
    }
    assert!(prefixes <= MAX_PREFIXES);
    for table in registry.interfaces() {
        assert!(is_pattern(&table.pattern));
        check_allow(registry, &table.allow);
    }
    check_allow(registry, &registry.unregistered().allow);
}

fn check_ports(registry: &Registry) {
    let ports: Vec<_> = registry.registered_ports().collect();
    assert!(ports.len() <= MAX_PORTS);
    let mut places = BTreeSet::new();
    for (protocol, port, service) in ports {
        assert!(port > 0);
        let mut on: Vec<_> = service.on.keys().map(|address| Some(*address)).collect();
        if on.is_empty() {
            on.push(None);
        }
        for address in on {
            assert!(places.insert((protocol, port, address)));
            let found = registry.service_at(protocol, port, address);
            assert_eq!(found.map(|it| &it.name), Some(&service.name));
        }
    }
    let addresses: BTreeSet<_> = places.iter().filter_map(|place| place.2).collect();
    assert!(places.iter().filter(|place| place.2.is_some()).count() <= MAX_PORTS_AT_ADDRESSES);
    for address in addresses {
        assert!(!address.is_loopback() && !address.is_multicast() && !address.is_unspecified());
    }
}

fn check_allow(registry: &Registry, allow: &Allow) {
    assert!(allow.names().all(|peer| registry.peer(peer).is_some()));
    assert!(allow.names().all(|peer| allow.at_of(peer).is_some()));
}

fn is_pattern(pattern: &str) -> bool {
    interface(pattern.strip_suffix('*').unwrap_or(pattern)) || pattern.ends_with('*')
}

fn interface(name: &str) -> bool {
    matches!(name.len(), 1..=127)
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace())
}

#[test]
fn the_undamaged_registry_is_good() {
    let loaded = load_texts(&[("r.toml", GOOD)]);
    assert!(
        loaded
            .as_ref()
            .is_ok_and(|loaded| loaded.warnings.is_empty())
    );
    check(&loaded);
    let loaded = load_texts(&[("r.toml", MAIN), ("r.d/1.toml", &good_fragment())]);
    assert_eq!(loaded.as_ref().unwrap().registry.peers().len(), 3);
    check(&loaded);
}

proptest! {
    #![proptest_config(Config { cases: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_damaged_registry_is_rejected_or_good(damages in prop::collection::vec(damage(), 1..4)) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for damage in &damages {
            damage.apply(&mut bytes);
        }
        check(&load_texts(&[("r.toml", &String::from_utf8_lossy(&bytes))]));
    }

    #[test]
    fn a_damaged_fragment_is_rejected_or_good(damages in prop::collection::vec(damage(), 1..4)) {
        let mut bytes = good_fragment().into_bytes();
        for damage in &damages {
            damage.apply(&mut bytes);
        }
        check(&load_texts(&[("r.toml", MAIN), ("r.d/1.toml", &String::from_utf8_lossy(&bytes))]));
    }

    #[test]
    fn any_text_is_rejected_or_good(text in any::<String>()) {
        check(&load_texts(&[("r.toml", &text)]));
    }
}

proptest! {
    #![proptest_config(Config { cases: 200, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_bytes_in_a_file_are_rejected_or_good(
        damages in prop::collection::vec(damage(), 1..4),
        bytes in prop::collection::vec(any::<u8>(), 0..8),
        at: Index,
    ) {
        let mut file = GOOD.as_bytes().to_vec();
        for damage in &damages {
            damage.apply(&mut file);
        }
        let at = at.index(file.len() + 1);
        file.splice(at..at, bytes);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.toml");
        std::fs::write(&path, &file).unwrap();
        check(&load(&super::super::Source::Named(path), &Reader::NAMED));
    }
}
