//! Rejected services.

use super::rejects;

#[test]
fn numbers_that_are_no_ports() {
    rejects(
        r#"
[services.a]
ports = [0, 65536, -1, 0x1_0000, 99999999999999999999, -0]
"#,
        &[
            "2:10 port 0 cannot be registered -- a port is a number from 1 to 65535",
            "2:13 port `65536` is out of range -- a port is a number from 1 to 65535",
            "2:20 port `-1` is out of range -- a port is a number from 1 to 65535",
            "2:24 port `0x10000` is out of range -- a port is a number from 1 to 65535",
            "2:34 port `99999999999999999999` is out of range -- a port is a number from 1 to 65535",
            "2:56 port 0 cannot be registered -- a port is a number from 1 to 65535",
        ],
    );
}

#[test]
fn texts_that_are_no_ranges() {
    rejects(
        r#"
[services.a]
ports = ["2-1", "1-65536", "0-1", "http", "9200", "1 - 2", "1-", ""]
"#,
        &[
            r#"2:10 reversed port range `2-1` -- write the lower port first: "1-2""#,
            "2:17 port `65536` is out of range -- a port is a number from 1 to 65535",
            "2:28 port 0 cannot be registered -- a port is a number from 1 to 65535",
            r#"2:35 invalid port range `http` -- a range is written as "9000-9001""#,
            "2:43 port `9200` is written as a string -- write `9200`, without quotes",
            r#"2:51 invalid port range `1 - 2` -- write "1-2", without spaces"#,
            r#"2:60 invalid port range `1-` -- a range is written as "9000-9001""#,
            r#"2:66 invalid port range `` -- a range is written as "9000-9001""#,
        ],
    );
}

#[test]
fn no_ports() {
    rejects(
        r#"
[services.a]
ports = []
[services.b]
"#,
        &[
            r#"2:9 `ports` is empty -- write `ports = [9200]` or `ports = ["9000-9001"]`"#,
            r#"3:11 service `b` has no `ports` -- write `ports = [9200]` or `ports = ["9000-9001"]`"#,
        ],
    );
}

#[test]
fn ports_of_a_wrong_type() {
    rejects(
        r#"
[services.a]
ports = 9200
[services.b]
ports = "9200"
[services.c]
ports = [1.5, true, [1], { a = 1 }, 2001-01-01]
"#,
        &[
            r#"2:9 `ports` is an integer, not a list -- write `ports = [9200]` or `ports = ["9000-9001"]`"#,
            r#"4:9 `ports` is a string, not a list -- write `ports = [9200]` or `ports = ["9000-9001"]`"#,
            r#"6:10 an item of `ports` is a float, not a port -- write `ports = [9200]` or `ports = ["9000-9001"]`"#,
            r#"6:15 an item of `ports` is a boolean, not a port -- write `ports = [9200]` or `ports = ["9000-9001"]`"#,
            r#"6:21 an item of `ports` is a list, not a port -- write `ports = [9200]` or `ports = ["9000-9001"]`"#,
            r#"6:26 an item of `ports` is a table, not a port -- write `ports = [9200]` or `ports = ["9000-9001"]`"#,
            r#"6:37 an item of `ports` is a date, not a port -- write `ports = [9200]` or `ports = ["9000-9001"]`"#,
        ],
    );
}

#[test]
fn one_port_in_two_services() {
    rejects(
        r#"
[services.b]
ports = [9200]
protocol = ["udp", "tcp"]
[services.a]
ports = ["9199-9201"]
protocol = ["sctp", "tcp", "udp"]
"#,
        &[
            "5:10 tcp and udp port 9200 is already registered for service `b`, at r.toml:2:10 -- a port belongs to one service; give one of them another port, or other addresses with `on`",
        ],
    );
}

#[test]
fn ranges_that_overlap_are_one_error_for_each_pair() {
    rejects(
        r#"
[services.a]
ports = ["1000-1999", "3000-3999"]
[services.b]
ports = ["1500-3500"]
"#,
        &[
            "4:10 tcp ports 1500-1999 are already registered for service `a`, at r.toml:2:10 -- a port belongs to one service; give one of them another port, or other addresses with `on`",
            "4:10 tcp ports 3000-3500 are already registered for service `a`, at r.toml:2:23 -- a port belongs to one service; give one of them another port, or other addresses with `on`",
        ],
    );
}

#[test]
fn an_unknown_peer() {
    rejects(
        r#"
[services.a]
ports = [1]
allow = ["colector", "bob", "any"]
[peers.collector]
interface = "wg0"
addresses = ["any"]
"#,
        &[
            "3:10 unknown peer `colector` -- did you mean `collector`?",
            "3:22 unknown peer `bob` -- known peers: `collector`",
            "3:29 unknown peer `any` -- write `public = true` instead of `allow` for a service that anyone may reach",
        ],
    );
}

#[test]
fn an_unknown_peer_where_there_are_none() {
    rejects(
        r#"
[services.a]
ports = [1]
allow = ["collector"]
"#,
        &[
            "3:10 unknown peer `collector` -- no peer is defined; a peer is a table such as `[peers.collector]`",
        ],
    );
}

#[test]
fn a_peer_that_is_wrong_is_not_unknown() {
    rejects(
        r#"
[services.a]
ports = [1]
allow = ["p"]
[peers.p]
interface = "wg0"
"#,
        &[
            "4:8 peer `p` has neither `public-key` nor `addresses` -- give one of them: a key for a WireGuard peer, or the addresses that it uses",
        ],
    );
}

#[test]
fn allow_of_a_wrong_type() {
    rejects(
        r#"
[services.a]
ports = [1]
allow = "p"
[services.b]
ports = [2]
allow = [1]
"#,
        &[
            r#"3:9 `allow` is a string, not a list -- write `allow = ["collector"]`, with the names of peers"#,
            r#"6:10 an item of `allow` is an integer, not a string -- write `allow = ["collector"]`, with the names of peers"#,
        ],
    );
}

#[test]
fn public_with_allow() {
    rejects(
        r#"
[services.a]
ports = [1]
public = true
allow = ["p"]
[peers.p]
interface = "wg0"
addresses = ["any"]
"#,
        &[
            "4:1 service `a` is public and has `allow` -- remove `public = true` if only these peers may reach it, or `allow` if anyone may",
        ],
    );
    rejects(
        r#"
[services.a]
ports = [1]
public = true
allow = []
"#,
        &[
            "4:1 service `a` is public and has `allow` -- remove `public = true` if only these peers may reach it, or `allow` if anyone may",
        ],
    );
}

#[test]
fn public_of_a_wrong_type() {
    rejects(
        r#"
[services.a]
ports = [1]
public = "true"
"#,
        &[
            "3:10 `public` is a string, not true or false -- write `public = true` or `public = false`, without quotes",
        ],
    );
}

#[test]
fn ranges_within_ranges_are_one_error_for_each_pair_too() {
    rejects(
        r#"
[services.a]
ports = ["5-6", "1-10"]
protocol = ["tcp", "udp"]
[services.b]
ports = ["1-10"]
protocol = ["tcp", "udp"]
"#,
        &[
            "5:10 tcp and udp ports 1-10 are already registered for service `a`, at r.toml:2:17 -- a port belongs to one service; give one of them another port, or other addresses with `on`",
            "5:10 tcp and udp ports 5-6 are already registered for service `a`, at r.toml:2:10 -- a port belongs to one service; give one of them another port, or other addresses with `on`",
        ],
    );
}
