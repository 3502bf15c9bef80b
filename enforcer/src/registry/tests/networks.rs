//! Container networks and forwarding: keys of `[interfaces]` tables.

use enforcer_ebpf::Mode;

use super::super::Forward;
use super::{accepts, rejects, summary};

const SERVICE: &str = "[services.a]\nports = [1]\n";
const PEER: &str = "[peers.p]\ninterface = \"wg0\"\naddresses = [\"any\"]\n";

#[test]
fn a_container_network_has_peers_and_a_mode() {
    let loaded = accepts(&format!(
        "{SERVICE}[interfaces.\"podman*\"]\ncontainers = true\nrouted = false\nallow = [\"p\"]\n\
         mode = \"audit\"\n{PEER}"
    ));
    assert!(loaded.warnings.is_empty());
    let table = loaded
        .registry
        .interface_table(["podman7"].into_iter())
        .unwrap();
    assert_eq!(table.containers, Some(true));
    assert_eq!((table.routed, table.mode), (false, Some(Mode::Audit)));
    assert!(table.allow.names().eq(["p"]));
    let line = |at: &Option<super::super::Span>| at.as_ref().unwrap().line();
    assert_eq!(line(&table.containers_at), 4);
    assert_eq!(line(&table.routed_at), 5);
    assert_eq!(line(&table.allow.at), 6);
    assert_eq!(line(&table.mode_at), 7);
    assert_eq!(table.allow.at_of("p").unwrap().column(), 10);
}

#[test]
fn absent_keys_have_their_defaults() {
    let registry = accepts(&format!("{SERVICE}[interfaces.podman0]\n")).registry;
    let table = registry.interface_table(["podman0"].into_iter()).unwrap();
    assert_eq!((table.containers, table.routed), (None, false));
    assert_eq!((table.forward, table.mode), (Forward::Auto, None));
    assert!(table.allow.is_empty() && table.allow.at.is_none());
    assert!(table.containers_at.is_none() && table.routed_at.is_none());
}

#[test]
fn forward_is_a_word_or_a_boolean() {
    for (value, forward) in [
        ("\"auto\"", Forward::Auto),
        ("true", Forward::True),
        ("false", Forward::False),
    ] {
        let text = format!("{SERVICE}[interfaces.eth0]\nforward = {value}\n");
        let registry = accepts(&text).registry;
        let table = registry.interface_table(["eth0"].into_iter()).unwrap();
        assert_eq!((table.forward, forward.toml()), (forward, value));
        assert_eq!(table.forward_at.as_ref().unwrap().line(), 4);
    }
    rejects(
        r#"
[services.a]
ports = [1]
[interfaces.a]
forward = "true"
[interfaces.b]
forward = "Auto"
[interfaces.c]
forward = "always"
[interfaces.d]
forward = []
"#,
        &[
            "4:11 unknown forward `true` -- write `forward = true`, without quotes",
            "6:11 unknown forward `Auto` -- did you mean `auto`?",
            r#"8:11 unknown forward `always` -- write `forward = "auto"`, `forward = true` or `forward = false`"#,
            r#"10:11 `forward` is a list, not "auto", true or false -- write `forward = "auto"`, `forward = true` or `forward = false`"#,
        ],
    );
}

#[test]
fn wrong_words_and_unknown_peers() {
    rejects(
        r#"
[services.a]
ports = [1]
[interfaces.podman1]
containers = "yes"
routed = 1
allow = ["nobody", "any"]
mode = "drop"
"#,
        &[
            "4:14 `containers` is a string, not true or false -- write `containers = true` or `containers = false`, without quotes",
            "5:10 `routed` is an integer, not true or false -- write `routed = true` or `routed = false`, without quotes",
            "6:10 unknown peer `nobody` -- no peer is defined; a peer is a table such as `[peers.collector]`",
            "6:20 unknown peer `any` -- write `routed = true` instead of `allow` for a container network that anyone may reach",
            "7:8 unknown mode `drop` -- `mode` is one of `enforce` and `audit`",
        ],
    );
}

#[test]
fn keys_without_an_effect_are_warned_of() {
    let keys = "routed = true\nallow = [\"p\"]\nmode = \"audit\"\n";
    let loaded = accepts(&format!("{SERVICE}[interfaces.br0]\n{keys}{PEER}"));
    assert_eq!(
        summary(&loaded.warnings),
        [
            "5:1 `allow` has no effect beside `routed = true` -- anyone may reach the network: remove one of the two",
            "6:1 `mode` has no effect beside `routed = true` -- anyone may reach the network: remove one of the two",
        ]
    );
    let none = format!("{SERVICE}[interfaces.br0]\ncontainers = false\n{keys}{PEER}");
    assert_eq!(
        summary(&accepts(&none).warnings),
        [
            "5:1 `routed` has no effect beside `containers = false` -- no container network is behind it: remove one of the two",
            "6:1 `allow` has no effect beside `containers = false` -- no container network is behind it: remove one of the two",
            "7:1 `mode` has no effect beside `containers = false` -- no container network is behind it: remove one of the two",
        ]
    );
}
