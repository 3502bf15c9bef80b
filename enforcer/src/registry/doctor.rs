//! The table `[doctor]`: findings that `doctor` leaves out.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Fault;
use super::read::{Shape, TableReader};
use super::source::Span;
use super::{name, port};

const EXAMPLE: &str =
    "`ignore = [{ check = \"unregistered-listener\", port = 22, why = \"sshd, by key\" }]`";
const OWNER: &str = "an item of `ignore`";

/// A finding that is left out, with the operator's reason.
#[derive(Clone, Debug)]
pub struct IgnoredFinding {
    /// The name of the check that makes the finding.
    pub check: String,
    /// The port of the finding; `None` for every finding of the check.
    pub port: Option<u16>,
    /// The reason; not empty.
    pub why: String,
    /// The span of the item.
    pub at: Span,
}

/// Reads the table; `value` is the value of the key `doctor`.
pub(super) fn read(
    reader: &mut TableReader<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Vec<IgnoredFinding> {
    let Some(table) = reader.table("doctor", value) else {
        return Vec::new();
    };
    reader.refuse_unknown_keys(
        table,
        &Shape {
            owner: "`[doctor]`",
            keys: &["ignore"],
        },
    );
    let items = table.get("ignore");
    let Some(items) = items.and_then(|value| reader.array("`ignore`", value, EXAMPLE)) else {
        return Vec::new();
    };
    let read = |item| ignored(reader, item);
    items.iter().filter_map(read).collect()
}

/// Reads an item of `ignore`.
fn ignored(reader: &mut TableReader<'_>, item: &Spanned<DeValue<'_>>) -> Option<IgnoredFinding> {
    let DeValue::Table(table) = item.get_ref() else {
        reader.wrong_type(OWNER, item, "a table", EXAMPLE);
        return None;
    };
    reader.refuse_unknown_keys(
        table,
        &Shape {
            owner: OWNER,
            keys: &["check", "port", "why"],
        },
    );
    let check = text(reader, item, table, "check");
    let check = check.and_then(|(word, value)| {
        let checked = name::check("check", word);
        reader.noted(value.span(), checked.map(|()| word.to_owned()))
    });
    let port = table.get("port").map(|value| port_of(reader, value));
    let why = text(reader, item, table, "why").and_then(|(words, value)| {
        let empty = || {
            Fault::new(
                "`why` is empty",
                "write the reason to leave the finding out",
            )
        };
        let given = !words.trim().is_empty();
        let why = given.then(|| words.to_owned()).ok_or_else(empty);
        reader.noted(value.span(), why)
    });
    let port = match port {
        None => None,
        // A wrong port must not widen the item to every port.
        Some(port) => Some(port?),
    };
    Some(IgnoredFinding {
        check: check?,
        port,
        why: why?,
        at: reader.place(item.span()),
    })
}

/// Returns the text of a required key and its value, or reports the absence or another type.
fn text<'t, 'i>(
    reader: &mut TableReader<'_>,
    item: &Spanned<DeValue<'_>>,
    table: &'t DeTable<'i>,
    key: &str,
) -> Option<(&'t str, &'t Spanned<DeValue<'i>>)> {
    let Some(value) = table.get(key) else {
        let fault = Fault::new(
            format!("{OWNER} has no `{key}`"),
            format!("write {EXAMPLE}"),
        );
        reader.error(item.span(), fault);
        return None;
    };
    let text = reader.string(&format!("`{key}`"), value, EXAMPLE)?;
    Some((text, value))
}

fn port_of(reader: &mut TableReader<'_>, value: &Spanned<DeValue<'_>>) -> Option<u16> {
    let DeValue::Integer(number) = value.get_ref() else {
        reader.wrong_type("`port`", value, "a port", "`port = 22`");
        return None;
    };
    reader.noted(value.span(), port::from_integer(number))
}
