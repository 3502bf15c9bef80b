//! The table `[unregistered]`.

use enforcer_ebpf::{Mode, Protocol};

use super::super::UnregisteredAction;
use super::{accepts, rejects, summary};

const SERVICE: &str = "[services.a]\nports = [1]\n";
const PEER: &str = "[peers.p]\ninterface = \"wg0\"\naddresses = [\"any\"]\n";

#[test]
fn every_protocol_has_an_action_of_its_own() {
    let text = format!(
        "{SERVICE}[unregistered]\ntcp = \"drop\"\nudp = \"pass\"\nsctp = \"audit\"\n\
         allow = [\"p\"]\n{PEER}"
    );
    let loaded = accepts(&text);
    assert!(loaded.warnings.is_empty());
    let unregistered = loaded.registry.unregistered();
    let actions = Protocol::ALL.map(|protocol| unregistered.action(protocol));
    assert_eq!(
        actions,
        [
            UnregisteredAction::Drop,
            UnregisteredAction::Pass,
            UnregisteredAction::Audit
        ]
    );
    let modes = actions.map(UnregisteredAction::mode);
    assert_eq!(modes, [Some(Mode::Enforce), None, Some(Mode::Audit)]);
    assert_eq!(modes.map(UnregisteredAction::from), actions);
    assert!(unregistered.allow.names().eq(["p"]));

    let lines = Protocol::ALL.map(|protocol| unregistered.action_at(protocol).unwrap().line());
    assert_eq!(lines, [4, 5, 6]);
    assert_eq!(unregistered.at.as_ref().unwrap().line(), 3);
    assert_eq!(unregistered.allow.at.as_ref().unwrap().line(), 7);
    let item = unregistered.allow.at_of("p").unwrap();
    assert_eq!((item.line(), item.column()), (7, 10));
    assert!(unregistered.allow.at_of("q").is_none());
}

#[test]
fn absent_keys_pass() {
    for text in ["", "[unregistered]\n", "[unregistered]\nudp = \"pass\"\n"] {
        let registry = accepts(&format!("{SERVICE}{text}")).registry;
        let unregistered = registry.unregistered();
        for protocol in Protocol::ALL {
            assert_eq!(unregistered.action(protocol), UnregisteredAction::Pass);
        }
        assert_eq!(unregistered.at.is_some(), !text.is_empty());
        assert!(unregistered.allow.is_empty());
    }
}

#[test]
fn allow_without_a_drop_is_warned_of() {
    let loaded = accepts(&format!(
        "{SERVICE}[unregistered]\ntcp = \"pass\"\nallow = [\"p\"]\n{PEER}"
    ));
    assert_eq!(
        summary(&loaded.warnings),
        [
            "5:1 `allow` of `[unregistered]` opens nothing, since every protocol passes -- write `tcp = \"drop\"` to close the ports that no service names to all but these peers, or remove `allow`"
        ]
    );
    let dropped = format!("{SERVICE}[unregistered]\nsctp = \"drop\"\nallow = [\"p\"]\n{PEER}");
    assert!(accepts(&dropped).warnings.is_empty());
}

#[test]
fn wrong_keys_and_words() {
    rejects(
        r#"
[services.a]
ports = [1]
[unregistered]
tcp = "dorp"
udp = "enforce"
sctp = true
icmp = "drop"
allow = ["p", "any"]
[peers.q]
interface = "wg0"
addresses = ["any"]
"#,
        &[
            "4:7 unknown tcp `dorp` -- did you mean `drop`?",
            "5:7 unknown udp `enforce` -- `udp` is one of `pass`, `audit` and `drop`",
            r#"6:8 `sctp` is a boolean, not a string -- write "pass" or "audit" or "drop""#,
            "7:1 unknown key `icmp` in `[unregistered]` -- the keys of `[unregistered]` are `tcp`, `udp`, `sctp` and `allow`",
            "8:10 unknown peer `p` -- did you mean `q`?",
            r#"8:15 unknown peer `any` -- write "pass" for a protocol whose unregistered ports anyone may reach"#,
        ],
    );
}

#[test]
fn udp_is_closed_like_the_others() {
    for (word, action) in [
        ("drop", UnregisteredAction::Drop),
        ("audit", UnregisteredAction::Audit),
    ] {
        let loaded = accepts(&format!("{SERVICE}[unregistered]\nudp = \"{word}\"\n"));
        let unregistered = loaded.registry.unregistered();
        assert_eq!(unregistered.action(Protocol::Udp), action);
        assert_eq!(unregistered.action(Protocol::Tcp), UnregisteredAction::Pass);
    }
}

#[test]
fn no_table() {
    rejects(
        "unregistered = \"drop\"\n[services.a]\nports = [1]\n",
        &["1:16 `unregistered` is a string, not a table -- write a table `[unregistered]`"],
    );
    rejects(
        "[[unregistered]]\ntcp = \"drop\"\n[services.a]\nports = [1]\n",
        &[
            "1:1 `unregistered` is written as an array of tables -- write its header in single brackets, `[` and `]`",
        ],
    );
}
