//! The documented limits, reached exactly and then exceeded.

use std::fmt::Write;

use super::super::{MAX_INTERFACE_TABLES, MAX_PEERS, MAX_PORTS, MAX_PREFIXES};
use super::{accepts, load_text, rejects, summary};

#[test]
fn ports_count_for_each_protocol() {
    let text = |last: usize| {
        format!(
            "[services.a]\nports = [\"1-2000\"]\nprotocol = [\"tcp\", \"udp\"]\n\
             [services.b]\nports = [\"3000-{last}\", \"3000-3001\"]\n[services.c]\nports = [7000]\n"
        )
    };
    // 4,000 of service a, one of service c.
    let last = 3000 + MAX_PORTS - 4_001 - 1;
    let registry = accepts(&text(last)).registry;
    assert_eq!(registry.registered_ports().count(), MAX_PORTS);
    rejects(
        &text(last + 1),
        &[
            "7:10 more than 4,096 ports are registered -- the limit is 4,096 ports in all, counted for each protocol; register fewer, or smaller ranges",
        ],
    );
}

#[test]
fn a_range_of_all_ports_in_many_services_is_told_in_a_few_errors() {
    let mut text = String::new();
    for index in 0..5 {
        let _ = writeln!(text, "[services.s{index}]\nports = [\"1-65535\"]");
    }
    let errors = load_text(&text).unwrap_err().errors;
    let lines: Vec<_> = errors.iter().map(|error| error.line()).collect();
    // The first range exceeds the limit; the others conflict with the first.
    assert_eq!(lines, [2, 4, 6, 8, 10]);
}

fn peers(count: usize) -> String {
    let mut text = "[services.a]\nports = [1]\n".to_owned();
    for index in 0..count {
        let _ = writeln!(
            text,
            "[peers.p{index}]\ninterface = \"wg0\"\naddresses = [\"10.0.0.1\"]"
        );
    }
    text
}

#[test]
fn peers_are_limited() {
    assert_eq!(accepts(&peers(MAX_PEERS)).registry.peers().len(), MAX_PEERS);
    rejects(
        &peers(MAX_PEERS + 1),
        &[
            "771:8 257 peers are defined -- the limit is 256 peers; put the addresses of several into one",
        ],
    );
}

fn prefixes(count: usize) -> String {
    let mut text = "[services.a]\nports = [1]\n[peers.p]\ninterface = \"wg0\"\naddresses = [\"any\"]\n[peers.q]\ninterface = \"wg0\"\naddresses = [".to_owned();
    for index in 0..count - 2 {
        let _ = write!(text, "\"10.{}.{}.0/24\", ", index / 256, index % 256);
    }
    text + "\"10.0.0.0/24\"]\n"
}

#[test]
fn prefixes_are_limited_and_one_written_twice_counts_once() {
    let loaded = accepts(&prefixes(MAX_PREFIXES));
    assert_eq!(loaded.warnings.len(), 1);
    rejects(
        &prefixes(MAX_PREFIXES + 1),
        &[
            "6:8 the peers have more than 10,000 address prefixes -- the limit is 10,000 in all; join them into wider prefixes",
        ],
    );
}

#[test]
fn a_file_full_of_errors_is_told_in_a_few() {
    let text = "[services.a]\nports = [1]\nports = [2]\n".to_owned() + &"x = = 1\n".repeat(20_000);
    let errors = load_text(&text).unwrap_err().errors;
    assert_eq!(errors.len(), 21);
    assert_eq!(
        summary(&errors[20..]),
        ["23:1 there are more syntax errors -- correct the first ones, and check the file again"]
    );
}

#[test]
fn interface_tables_are_limited() {
    let tables = |count: usize| {
        let mut text = "[services.a]\nports = [1]\n".to_owned();
        for index in 0..count {
            let _ = writeln!(text, "[interfaces.eth{index}]\nforward = true");
        }
        text
    };
    let most = accepts(&tables(MAX_INTERFACE_TABLES));
    assert_eq!(most.registry.interfaces().len(), MAX_INTERFACE_TABLES);
    rejects(
        &tables(MAX_INTERFACE_TABLES + 1),
        &[
            "515:13 257 `[interfaces]` tables are defined -- the limit is 256 tables; a name that ends \
             in `*` is for many interfaces",
        ],
    );
}

#[test]
fn words_signs_and_blanks_are_limited() {
    let head = "[services.a]\nports = [1]\n";
    // A comment and the end of a line are two.
    let tokens = |text: &str| toml_parser::Source::new(text).lex().count();
    let fits = format!("{head}{}", "#\n".repeat((200_000 - tokens(head)) / 2));
    assert!((199_998..=200_000).contains(&tokens(&fits)));
    accepts(&fits);
    let errors = load_text(&format!("{fits}#\n#\n")).unwrap_err().errors;
    assert_eq!(
        errors[0].message(),
        "this file has more than 200,000 words, signs and blanks"
    );
    assert_eq!(errors.total(), 1);
}

/// Texts that once took minutes or gigabytes end in a few errors, however long they are.
#[test]
fn long_texts_end_in_a_few_errors() {
    let tables: String = (0..100_000).fold(String::new(), |mut text, index| {
        let _ = writeln!(text, "[services.a{index}]");
        text
    });
    for text in ["=\n".repeat(1 << 20), "[".repeat(1 << 20), tables] {
        let errors = load_text(&text).unwrap_err().errors;
        assert_eq!(errors.total(), 1, "{}", &text[..20]);
    }
}

#[test]
fn ports_that_are_listed_again_and_again_are_refused() {
    let text = |count: usize| {
        let ranges = "\"1-4000\", ".repeat(count);
        format!("[services.a]\nports = [{ranges}]\n")
    };
    assert_eq!(accepts(&text(125)).warnings.total(), 124);
    let rejected = load_text(&text(126)).unwrap_err();
    assert_eq!(
        summary(&rejected.errors),
        [
            "2:1260 the ports, counted as often as they are listed, are more than 500,000 -- list each port once; the limit is 4,096 ports in all"
        ]
    );
    let one = format!("[services.a]\nports = [{}]\n", "1,".repeat(60_000));
    assert_eq!(accepts(&one).warnings.total(), 59_999);
}

#[test]
fn unknown_peers_are_counted_beyond_the_first() {
    let mut text = String::new();
    for index in 0..300 {
        let _ = writeln!(
            text,
            "[services.s{index}]\nports = [{}]\nallow = [\"p{index}\"]",
            index + 1
        );
    }
    let errors = load_text(&text).unwrap_err().errors;
    assert_eq!((errors.total(), errors.len()), (300, 200));
    assert_eq!((errors.told().len(), errors.untold()), (50, 250));
    assert_eq!(errors.told()[49].line(), 150);
}
