//! The table `[doctor]`.

use super::{accepts, rejects};

const SERVICE: &str = "[services.a]\nports = [1]\n";

#[test]
fn findings_are_left_out_at_a_port_or_everywhere() {
    let registry = accepts(
        r#"
[services.a]
ports = [1]
[[doctor.ignore]]
check = "unregistered-listener"
port = 0x16
why = "sshd, by key"
[[doctor.ignore]]
check = "route-localnet"
why = "a lab"
"#,
    )
    .registry;
    let ignored = registry.ignored_findings().iter();
    let ignored: Vec<_> = ignored
        .map(|it| (it.check.as_str(), it.port, it.why.as_str(), it.at.line()))
        .collect();
    assert_eq!(
        ignored,
        [
            ("unregistered-listener", Some(22), "sshd, by key", 3),
            ("route-localnet", None, "a lab", 7),
        ]
    );
    for empty in ["[doctor]\n", "[doctor]\nignore = []\n"] {
        let registry = accepts(&format!("{SERVICE}{empty}")).registry;
        assert!(registry.ignored_findings().is_empty(), "{empty}");
    }
}

#[test]
fn an_item_is_a_check_with_a_reason() {
    const LINE: &str =
        "`ignore = [{ check = \"unregistered-listener\", port = 22, why = \"sshd, by key\" }]`";
    rejects(
        r#"
[services.a]
ports = [1]
[doctor]
ignore = [
  { check = "a", why = "" },
  { check = "a", why = " " },
  { check = "a" },
  { why = "b" },
  { check = "A b", why = 1 },
  { check = "a", why = "b", port = 0 },
  { check = "a", why = "b", port = "22" },
  { check = "a", why = "b", ports = [22] },
  "a",
]
"#,
        &[
            "5:24 `why` is empty -- write the reason to leave the finding out",
            "6:24 `why` is empty -- write the reason to leave the finding out",
            &format!("7:3 an item of `ignore` has no `why` -- write {LINE}"),
            &format!("8:3 an item of `ignore` has no `check` -- write {LINE}"),
            "9:13 invalid check name `A b` -- a check's name has 1 to 32 of the characters a-z, 0-9 and `-`, and does not start with `-`: for example `a-b`",
            &format!("9:26 `why` is an integer, not a string -- write {LINE}"),
            "10:36 port 0 cannot be registered -- a port is a number from 1 to 65535",
            "11:36 `port` is a string, not a port -- write `port = 22`",
            "12:29 unknown key `ports` in an item of `ignore` -- did you mean `port`?",
            &format!("13:3 an item of `ignore` is a string, not a table -- write {LINE}"),
        ],
    );
}

#[test]
fn the_table_has_one_key() {
    rejects(
        &format!("{SERVICE}[doctor]\nignored = []\ncheck = \"a\"\n"),
        &[
            "4:1 unknown key `ignored` in `[doctor]` -- did you mean `ignore`?",
            "5:1 unknown key `check` in `[doctor]` -- the key of `[doctor]` is `ignore`",
        ],
    );
    rejects(
        &format!("doctor = 1\n{SERVICE}"),
        &["1:10 `doctor` is an integer, not a table -- write a table `[doctor]`"],
    );
}
