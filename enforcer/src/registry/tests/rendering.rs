//! Diagnostics as rendered for an operator and a script.

use super::super::files::load_texts;
use super::super::render;
use super::load_text;

#[track_caller]
fn shows(text: &str, expected: &str) {
    let errors = load_text(text).unwrap_err().errors;
    assert_eq!(render(&errors, false), expected.trim_matches('\n'));
}

#[test]
fn an_error_shows_its_line() {
    shows(
        "[services.redis]\nprots = [6379]\nports = [\"6380-6379\"]\n",
        r#"
error: unknown key `prots` in service `redis`
 --> r.toml:2:1
  |
2 | prots = [6379]
  | ^^^^^
  |
  = help: did you mean `ports`?

error: reversed port range `6380-6379`
 --> r.toml:3:10
  |
3 | ports = ["6380-6379"]
  |          ^^^^^^^^^^^
  |
  = help: write the lower port first: "6379-6380"
"#,
    );
}

#[test]
fn an_error_between_two_files_shows_both() {
    let main = "[services.redis]\nports = [6379]\n";
    let fragment = "# ours\n[services.cache]\nports = [80, 6379]\n";
    let rejected = load_texts(&[("r.toml", main), ("r.d/10-cache.toml", fragment)]).unwrap_err();
    assert_eq!(
        render(&rejected.errors, false),
        r#"
error: tcp port 6379 is already registered for service `redis`, at r.toml:2:10
 --> r.d/10-cache.toml:3:14
  |
3 | ports = [80, 6379]
  |              ^^^^
  |
 ::: r.toml:2:10
  |
2 | ports = [6379]
  |          ---- first registered here
  |
  = help: a port belongs to one service; give one of them another port, or other addresses with `on`
"#
        .trim_matches('\n')
    );
}

#[test]
fn tabs_wide_characters_and_the_end_of_a_line_are_underlined_where_they_are() {
    shows(
        "[services.a]\n\tports = [1]\t# 语\n\tallow = [\"语言\", 5]\n",
        r#"
error: unknown peer `语言`
 --> r.toml:3:11
  |
3 |     allow = ["语言", 5]
  |              ^^^^^^
  |
  = help: no peer is defined; a peer is a table such as `[peers.collector]`

error: an item of `allow` is an integer, not a string
 --> r.toml:3:17
  |
3 |     allow = ["语言", 5]
  |                      ^
  |
  = help: write `allow = ["collector"]`, with the names of peers
"#,
    );
    shows(
        "[services.a]\nmode = \"audit\n",
        r#"
error: syntax error: this string is not closed
 --> r.toml:2:14
  |
2 | mode = "audit
  |              ^
  |
  = help: write its closing quote on the same line
"#,
    );
}

#[test]
fn what_concerns_a_file_shows_no_line() {
    shows(
        "mode = \"audit\"\n",
        r#"
error: the registry has no services
--> r.toml
 = help: add a table such as `[services.redis]` with `ports = [6379]`; to stop enforcing, run `enforcer down`
"#,
    );
}

#[test]
fn a_warning_is_called_one() {
    let text = "[services.a]\nports = [1, 1]\n";
    let warnings = load_text(text).unwrap().warnings;
    assert!(render(&warnings, false).starts_with("warning: port 1 is listed twice"));
}

#[test]
fn colours_are_a_choice() {
    let errors = load_text("mode = 1\n").unwrap_err().errors;
    let plain = render(&errors, false);
    let styled = render(&errors, true);
    assert!(!plain.contains('\u{1b}'));
    assert!(styled.contains("\u{1b}["));
    assert_eq!(anstream::adapter::strip_str(&styled).to_string(), plain);
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let text = "[services.a]\nports = [1]\nallow = [\"\\u001b[31m\"]\n\"\\u001b]0;x\\u0007\" = 1 # \u{9b}31m\n";
    let errors = load_text(text).unwrap_err().errors;
    assert_eq!(errors.len(), 2);
    let shown = render(&errors, false);
    assert!(
        !shown.contains(|c: char| c.is_control() && c != '\n'),
        "{shown:?}"
    );
    assert!(shown.contains("unknown peer `\\u{1b}[31m`"));

    // A file's name stands in messages too.
    let text = "[services.a]\nports = [1]\nports = [2]\n";
    let rejected = load_texts(&[("r\u{9b}31m\u{1b}[31m.toml", text)]).unwrap_err();
    let shown = render(&rejected.errors, false);
    assert!(
        !shown.contains(|c: char| c.is_control() && c != '\n'),
        "{shown:?}"
    );
}

#[test]
fn json_has_exactly_the_keys_of_the_contract() {
    let rejected = load_texts(&[("etc/r.toml", "[services.a]\nports = [1]\nmode = \"adit\"\n")]);
    let errors = rejected.unwrap_err().errors;
    assert_eq!(
        serde_json::to_string(errors.told()).unwrap(),
        r#"[{"file":"etc/r.toml","line":3,"column":8,"message":"unknown mode `adit`","help":"did you mean `audit`?"}]"#
    );
}

#[test]
fn a_long_line_is_clipped_and_keeps_its_column() {
    let items = "1111, ".repeat(10_000);
    let text = format!("[services.a]\nports = [{items}0, {items}1]\n");
    let errors = load_text(&text).unwrap_err().errors;
    let shown = render(&errors, false);
    let expected = "\
error: port 0 cannot be registered
 --> r.toml:2:60010
  |
2 | …1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 0, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1111, 1…
  |                                                              ^
  |
  = help: a port is a number from 1 to 65535";
    assert_eq!(shown, expected);
}

#[test]
fn fifty_are_told_and_the_others_are_counted() {
    let text = |count: usize| {
        let items = "0, ".repeat(count);
        format!("[services.a]\nports = [{items}1]\n")
    };
    let shown = |count: usize| {
        let errors = load_text(&text(count)).unwrap_err().errors;
        assert_eq!(errors.total(), count);
        assert_eq!(errors.told().len(), count.min(50));
        render(&errors, false)
    };
    assert_eq!(shown(50).matches("error: port 0").count(), 50);
    assert!(!shown(50).contains("more"));
    assert!(shown(51).ends_with("\n\nand 1 more"));
    let many = shown(10_000);
    assert_eq!(many.matches("error: port 0").count(), 50);
    assert!(many.ends_with("\n\nand 9950 more"));
    // 50 blocks of a few lines, each of at most 160 characters.
    assert!(many.len() < 50 * 1000, "{}", many.len());
}
