//! The test that `docs/limits.md` and the code agree.

use std::fs;
use std::path::{Path, PathBuf};

/// A row of a table of limits.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    bound: String,
    value: String,
    /// The file or folder, and the constant if the row names one.
    place: (String, Option<String>),
    test: String,
}

/// The rows of all tables of a Markdown text, up to the bounds without a test.
fn parse(text: &str) -> Result<Vec<Row>, String> {
    let (text, _) = text.split_once("## Without a test").unwrap_or((text, ""));
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| ---");
    let lines = text.lines().filter(is_row);
    let rows = lines.filter(|line| !line.starts_with("| bound |"));
    rows.map(row).collect()
}

fn row(line: &str) -> Result<Row, String> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let &[bound, value, place, _, test] = cells.as_slice() else {
        return Err(format!("not five cells: {line}"));
    };
    let mut place = quoted(place).into_iter();
    Ok(Row {
        bound: bound.to_owned(),
        value: value.to_owned(),
        place: (place.next().ok_or(line)?, place.next()),
        test: quoted(test).into_iter().next().ok_or(line)?,
    })
}

/// The words in backticks.
fn quoted(cell: &str) -> Vec<String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// A number, or a time in milliseconds.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Number(u64),
    Time(u64),
}

/// The value of a cell, such as `1,024`, `2 MiB` or `100 ms`; `None` for other words.
fn value_of_cell(cell: &str) -> Option<Value> {
    let (number, unit) = cell.split_once(' ').unwrap_or((cell, ""));
    let number: u64 = number.replace(',', "").parse().ok()?;
    Some(match unit {
        "" => Value::Number(number),
        "KiB" => Value::Number(number << 10),
        "MiB" => Value::Number(number << 20),
        "ms" => Value::Time(number),
        "s" => Value::Time(number * 1000),
        _ => return None,
    })
}

/// The value of an expression of Rust; `None` for other than the simplest. `named` finds the
/// expression of another constant.
fn value_of_code<'a>(code: &'a str, named: &dyn Fn(&str) -> Option<&'a str>) -> Option<Value> {
    let time = |unit: &str| {
        let number = code.strip_prefix(&format!("Duration::from_{unit}("))?;
        integer(number.strip_suffix(')')?, named)
    };
    time("secs")
        .map(|seconds| Value::Time(seconds * 1000))
        .or_else(|| time("millis").map(Value::Time))
        .or_else(|| integer(code, named).map(Value::Number))
}

fn integer<'a>(code: &'a str, named: &dyn Fn(&str) -> Option<&'a str>) -> Option<u64> {
    let two = |sign: &str, of: fn(u64, u64) -> u64| {
        let (left, right) = split_outside(code, sign)?;
        Some(of(integer(left, named)?, integer(right, named)?))
    };
    let inside = || integer(code.strip_prefix('(')?.strip_suffix(')')?, named);
    let cast = || integer(code.strip_suffix(" as u32")?, named);
    // The name of a constant; its own expression has shorter ones only.
    let is_name = |code: &str| code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let constant = || integer(named(code).filter(|_| is_name(code))?, named);
    two(" << ", |left, right| left << right)
        .or_else(|| two(" + ", |left, right| left + right))
        .or_else(|| two(" * ", |left, right| left * right))
        .or_else(inside)
        .or_else(cast)
        .or_else(|| code.replace('_', "").parse().ok())
        .or_else(constant)
}

/// Splits at the first sign outside parentheses.
fn split_outside<'a>(code: &'a str, sign: &str) -> Option<(&'a str, &'a str)> {
    let depth = |before: &str| before.matches('(').count() - before.matches(')').count();
    let mut signs = code.match_indices(sign);
    let (at, _) = signs.find(|(at, _)| depth(&code[..*at]) == 0)?;
    Some((&code[..at], &code[at + sign.len()..]))
}

/// The expression of a constant in a file of Rust.
fn constant<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("const {name}: "))?;
    let (_, rest) = rest.split_once('=')?;
    Some(rest.split_once(';')?.0.trim())
}

/// The faults of a row, in words.
fn faults(row: &Row, root: &Path, code: &str) -> Option<String> {
    let Row {
        bound,
        value,
        place: (path, name),
        test,
    } = row;
    let is_test = |of: String| code.contains(&of);
    if !is_test(format!("fn {test}(")) && !is_test(format!("\"{test}\"")) {
        return Some(format!("{bound}: there is no test {test}"));
    }
    let Some(name) = name else {
        let exists = root.join(path).exists();
        return (!exists).then(|| format!("{bound}: there is no {path}"));
    };
    let text = fs::read_to_string(root.join(path)).unwrap_or_default();
    let Some(expression) = constant(&text, name) else {
        return Some(format!("{bound}: {path} has no constant {name}"));
    };
    let named = |name: &str| constant(&text, name).or_else(|| constant(code, name));
    match (value_of_cell(value), value_of_code(expression, &named)) {
        (Some(cell), Some(code)) if cell != code => Some(format!(
            "{bound}: the table says {value}, and {name} is {expression}"
        )),
        (Some(_), None) => Some(format!("{bound}: {name} is no plain number: {expression}")),
        _ => None,
    }
}

/// The text of all files of Rust in a folder.
fn code_in(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let text = |path: &PathBuf| match path.extension() {
        Some(extension) if extension == "rs" => fs::read_to_string(path).unwrap_or_default(),
        _ if path.is_dir() => code_in(path),
        _ => String::new(),
    };
    paths.iter().map(text).collect()
}

#[test]
fn every_limit_is_in_the_code_and_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = fs::read_to_string(root.join("docs/limits.md")).unwrap();
    let rows = parse(&table).unwrap();
    assert!(rows.len() > 30, "{} rows", rows.len());
    let folders = ["enforcer/src", "enforcer-ebpf", "tests/src"];
    let code: String = folders.map(|folder| code_in(&root.join(folder))).concat();
    let faults: Vec<String> = rows
        .iter()
        .filter_map(|row| faults(row, &root, &code))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn values_are_compared_across_their_units() {
    let named = |name: &str| match name {
        "BANKS" => Some("2"),
        "MOST" => Some("10_000"),
        _ => None,
    };
    let value_of_code = |code| value_of_code(code, &named);
    for (cell, code) in [
        ("4,096", "4_096"),
        ("2 MiB", "2 << 20"),
        ("512 KiB", "512 << 10"),
        ("8,193", "1 + 2 * 4096"),
        ("8,194", "BANKS as u32 + 2 * 4096"),
        ("56,384", "BANKS * (2 * MOST as u32 + 8192)"),
        ("500 ms", "Duration::from_millis(500)"),
        ("5 s", "Duration::from_secs(5)"),
        ("5 s", "Duration::from_millis(5_000)"),
    ] {
        assert_eq!(value_of_cell(cell), value_of_code(code), "{cell}");
        assert!(value_of_cell(cell).is_some(), "{cell}");
    }
    assert_ne!(value_of_cell("5"), value_of_cell("5 ms"));
    assert_eq!(value_of_cell("5 to 3,600"), None);
    assert_eq!(value_of_code("5..=3600"), None);
    assert_eq!(value_of_code("2 * OTHER"), None);
}

#[test]
fn a_row_without_its_constant_or_test_is_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let row = |value: &str, name: &str, test: &str| {
        let place = "enforcer/src/printable.rs";
        let line = format!("| x | {value} | `{place}` `{name}` | y | `{test}` |");
        faults(&parse(&line).unwrap()[0], &root, "fn there() {}")
    };
    assert_eq!(row("160", "QUOTED", "there"), None);
    assert!(row("161", "QUOTED", "there").unwrap().contains("says 161"));
    assert!(row("160", "NONE", "there").unwrap().contains("NONE"));
    assert!(
        row("160", "QUOTED", "here")
            .unwrap()
            .contains("no test here")
    );
}
