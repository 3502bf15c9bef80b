//! Unknown keys, tables and words.

use super::{accepts, rejects};

#[test]
fn an_unknown_key_at_the_top() {
    rejects(
        r#"
[service.a]
ports = [1]
"#,
        &["1:2 unknown key `service` in the registry -- did you mean `services`?"],
    );
}

#[test]
fn a_service_without_its_prefix() {
    rejects(
        r#"
[elastic]
ports = [1]
"#,
        &[
            "1:2 unknown key `elastic` in the registry -- a service is written as `[services.elastic]`",
        ],
    );
}

#[test]
fn a_peer_without_its_prefix() {
    rejects(
        r#"
[services.a]
ports = [1]
[laptop]
interface = "wg0"
"#,
        &["3:2 unknown key `laptop` in the registry -- a peer is written as `[peers.laptop]`"],
    );
}

#[test]
fn an_unknown_key_of_a_service() {
    rejects(
        r#"
[services.a]
ports = [1]
protocols = "tcp"
image = "redis"
"#,
        &[
            "3:1 unknown key `protocols` in service `a` -- did you mean `protocol`?",
            "4:1 unknown key `image` in service `a` -- the keys of service `a` are `ports`, `protocol`, `on`, `mode`, `public` and `allow`",
        ],
    );
}

#[test]
fn an_unknown_key_of_a_peer() {
    rejects(
        r#"
[services.a]
ports = [1]
[peers.p]
interface = "wg0"
Addresses = ["any"]
public_key = "x"
endpoint = "x"
"#,
        &[
            "3:8 peer `p` has neither `public-key` nor `addresses` -- give one of them: a key for a WireGuard peer, or the addresses that it uses",
            "5:1 unknown key `Addresses` in peer `p` -- did you mean `addresses`?",
            "6:1 unknown key `public_key` in peer `p` -- did you mean `public-key`?",
            "7:1 unknown key `endpoint` in peer `p` -- the keys of peer `p` are `interface`, `public-key` and `addresses`",
        ],
    );
}

#[test]
fn an_unknown_key_of_an_interface_and_a_dot_in_a_name() {
    rejects(
        r#"
[services.a]
ports = [1]
[interfaces.eth0.100]
side = "inside"
[interfaces.eth1]
forwards = true
"#,
        &[
            "3:18 unknown key `100` in interface `eth0` -- the keys of interface `eth0` are `side`, `forward`, `hook`, `containers`, `routed`, `allow` and `mode`; a name with a dot is written in quotes",
            "6:1 unknown key `forwards` in interface `eth1` -- did you mean `forward`?",
        ],
    );
}

#[test]
fn a_dot_in_the_name_of_a_service() {
    rejects(
        r#"
[services.a.b]
ports = [1]
"#,
        &[
            r#"1:11 service `a` has no `ports` -- write `ports = [9200]` or `ports = ["9000-9001"]`"#,
            "1:13 unknown key `b` in service `a` -- the keys of service `a` are `ports`, `protocol`, `on`, `mode`, `public` and `allow`; a name with a dot is written in quotes",
        ],
    );
}

#[test]
fn names() {
    rejects(
        r#"
[services.Elastic_Search]
ports = [1]
[services.""]
ports = [2]
[services.abcdefghijklmnopqrstuvwxyz-0123456789]
ports = [3]
[peers."a b"]
interface = "wg0"
addresses = ["any"]
[peers.-a]
interface = "wg0"
addresses = ["any"]
"#,
        &[
            "1:11 invalid service name `Elastic_Search` -- a service's name has 1 to 32 of the characters a-z, 0-9 and `-`, and does not start with `-`: for example `elastic-search`",
            "3:11 invalid service name `` -- a service's name has 1 to 32 of the characters a-z, 0-9 and `-`, and does not start with `-`",
            "5:11 invalid service name `abcdefghijklmnopqrstuvwxyz-0123456789` -- a service's name has 1 to 32 of the characters a-z, 0-9 and `-`, and does not start with `-`: for example `abcdefghijklmnopqrstuvwxyz-01234`",
            "7:8 invalid peer name `a b` -- a peer's name has 1 to 32 of the characters a-z, 0-9 and `-`, and does not start with `-`: for example `a-b`",
            "10:8 invalid peer name `-a` -- a peer's name has 1 to 32 of the characters a-z, 0-9 and `-`, and does not start with `-`: for example `a`",
        ],
    );
}

#[test]
fn names_of_interfaces() {
    rejects(
        r#"
[services.a]
ports = [1]
[interfaces."e*h"]
[interfaces.".."]
[interfaces."a/b"]
[interfaces."eth 0"]
"#,
        &[
            "3:13 invalid interface name `e*h` -- `*` stands for the rest of a name, at the end alone: \"br-*\"",
            "4:13 invalid interface name `..` -- an interface's name has 1 to 127 bytes, without spaces, `/` and `:`, as `ip link` shows it",
            "5:13 invalid interface name `a/b` -- an interface's name has 1 to 127 bytes, without spaces, `/` and `:`, as `ip link` shows it",
            "6:13 invalid interface name `eth 0` -- an interface's name has 1 to 127 bytes, without spaces, `/` and `:`, as `ip link` shows it",
        ],
    );
}

#[test]
fn names_of_interfaces_are_as_long_as_alternative_names() {
    let text = |bytes: usize| {
        let name = "a".repeat(bytes);
        format!("[services.a]\nports = [1]\n[interfaces.{name}]\n[interfaces.\"{name}*\"]\n")
    };
    assert_eq!(accepts(&text(127)).registry.interfaces().len(), 2);
    let cut = "a".repeat(48);
    let error = |line| {
        format!(
            "{line}:13 invalid interface name `{cut}…` -- an interface's name has 1 to 127 bytes, without spaces, `/` and `:`, as `ip link` shows it"
        )
    };
    rejects(&text(128), &[&error(3), &error(4)]);
}

#[test]
fn wrong_words() {
    rejects(
        r#"
mode = "audti"
[services.a]
ports = [1]
mode = "drop"
protocol = "TCP"
[services.b]
ports = [1]
protocol = ["udplite", "icmp", 6]
[services.c]
ports = [3]
protocol = []
[services.d]
ports = [4]
protocol = 6
[interfaces.eth0]
side = "outsid"
hook = "xdp"
forward = 1
[interfaces.eth1]
side = "left"
hook = "xdp_native"
"#,
        &[
            "1:8 unknown mode `audti` -- did you mean `audit`?",
            "4:8 unknown mode `drop` -- `mode` is one of `enforce` and `audit`",
            "5:12 unknown protocol `TCP` -- did you mean `tcp`?",
            "8:13 unknown protocol `udplite` -- `protocol` is one of `tcp`, `udp` and `sctp`",
            "8:24 unknown protocol `icmp` -- `protocol` is one of `tcp`, `udp` and `sctp`",
            r#"8:32 `protocol` is an integer, not a string -- write "tcp" or "udp" or "sctp""#,
            r#"11:12 `protocol` is empty -- write `protocol = "tcp"` or `protocol = ["tcp", "udp"]`, or leave it out for tcp"#,
            r#"14:12 `protocol` is an integer, not a protocol -- write `protocol = "tcp"` or `protocol = ["tcp", "udp"]`"#,
            "16:8 unknown side `outsid` -- did you mean `outside`?",
            "17:8 unknown hook `xdp` -- `hook` is one of `auto`, `xdp-native`, `xdp-generic` and `tcx`",
            r#"18:11 `forward` is an integer, not "auto", true or false -- write `forward = "auto"`, `forward = true` or `forward = false`"#,
            "20:8 unknown side `left` -- `side` is one of `inside` and `outside`",
            "21:8 unknown hook `xdp_native` -- did you mean `xdp-native`?",
        ],
    );
}

#[test]
fn tables_that_are_none() {
    rejects(
        r#"
mode = 1
services = 1
peers = []
interfaces = "eth0"
"#,
        &[
            r#"1:8 `mode` is an integer, not a string -- write "enforce" or "audit""#,
            "2:12 `services` is an integer, not a table -- write tables such as `[services.NAME]`",
            "3:9 `peers` is a list, not a table -- write tables such as `[peers.NAME]`",
            "4:14 `interfaces` is a string, not a table -- write tables such as `[interfaces.NAME]`",
        ],
    );
}

#[test]
fn entries_that_are_no_tables() {
    rejects(
        r#"
[services]
a = 9200
[[services.b]]
ports = [1]
[peers]
p = "10.0.0.1"
"#,
        &[
            "2:5 `services.a` is an integer, not a table -- write a table `[services.a]`",
            "3:1 `services.b` is written as an array of tables -- write its header in single brackets, `[` and `]`",
            "6:5 `peers.p` is a string, not a table -- write a table `[peers.p]`",
        ],
    );
}

#[test]
fn no_services() {
    rejects(
        r#"
mode = "enforce"
"#,
        &[
            "1:1 the registry has no services -- add a table such as `[services.redis]` with `ports = [6379]`; to stop enforcing, run `enforcer down`",
        ],
    );
}

#[test]
fn an_empty_table_of_services() {
    rejects(
        r#"
[services]
"#,
        &[
            "1:1 the registry has no services -- add a table such as `[services.redis]` with `ports = [6379]`; to stop enforcing, run `enforcer down`",
        ],
    );
}
