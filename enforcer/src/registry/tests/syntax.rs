//! Syntax errors.

use super::rejects;

#[test]
fn a_key_twice() {
    rejects(
        r#"
[services.a]
ports = [1]
ports = [2]
"#,
        &[
            "3:1 `ports` is written twice, first at r.toml:2:1 -- a key or a table is written once; remove one, or join them",
        ],
    );
}

#[test]
fn a_table_twice_is_one_error() {
    rejects(
        r#"
[services.a]
ports = [1]
[services.b]
ports = [1]
[services.a]
ports = [2]
mode = "audit"
[services.c]
ports = 1
"#,
        &[
            "5:11 `a` is written twice, first at r.toml:1:11 -- a key or a table is written once; remove one, or join them",
        ],
    );
}

#[test]
fn a_list_that_is_not_closed() {
    rejects(
        r#"
[services.a]
ports = [9200,
[services.b]
ports = [1]
"#,
        &["2:9 this list is not closed -- write `]` after its last item"],
    );
}

#[test]
fn a_string_that_is_not_closed() {
    rejects(
        r#"
[services.a]
ports = [1]
mode = "audit
"#,
        &[
            "3:14 syntax error: this string is not closed -- write its closing quote on the same line",
        ],
    );
}

#[test]
fn a_header_that_is_not_closed() {
    rejects(
        r#"
[services.a
ports = [1]
"#,
        &["1:12 syntax error: unclosed table -- expected `]`"],
    );
}

#[test]
fn values_without_quotes() {
    rejects(
        r#"
[services.a]
ports = [9000-9001]
public = yes
mode = audit
allow = [a, b]
[services.b]
ports = [1 2]
"#,
        &[
            r#"2:10 syntax error: `9000-9001` is not a value -- write it in quotes: "9000-9001""#,
            "3:10 syntax error: `yes` is not a value -- write `true` or `false`",
            r#"4:8 syntax error: `audit` is not a value -- write it in quotes: "audit""#,
            r#"5:10 syntax error: `a` is not a value -- write it in quotes: "a""#,
            "7:10 syntax error: `1 2` is not a value -- write commas between the items: 1, 2",
        ],
    );
}

#[test]
fn a_star_without_quotes() {
    rejects(
        r#"
[services.a]
ports = [1]
[interfaces.eth*]
"#,
        &[
            r#"3:16 syntax error: invalid unquoted key -- a name with other characters than letters, digits, `-` and `_` is written in quotes, as in `[interfaces."eth*"]`"#,
        ],
    );
}

#[test]
fn no_equals_sign() {
    rejects(
        r#"
[services.a]
ports [9200]
"#,
        &["2:7 syntax error: key with no value -- write `key = value`"],
    );
}

#[test]
fn a_column_counts_characters() {
    rejects(
        r#"
[services.a]
ports = [1]
allow = [ "ü€😀", 5 ]
"#,
        &[
            "3:11 unknown peer `ü€😀` -- no peer is defined; a peer is a table such as `[peers.collector]`",
            r#"3:18 an item of `allow` is an integer, not a string -- write `allow = ["collector"]`, with the names of peers"#,
        ],
    );
}

#[test]
fn the_end_of_a_file_is_the_end_of_its_last_line() {
    rejects(
        "[services.a]\nports = [1]\nmode = \"\"\"\naudit\n\n",
        &[r#"4:6 syntax error: invalid multi-line basic string -- expected `"`"#],
    );
}
