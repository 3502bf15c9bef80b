//! The `[interfaces.…]` tables.

use enforcer_ebpf::Mode;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::Fault;
use super::options::{Forward, HookChoice, InterfaceTable, Side};
use super::read::{Shape, TableReader};
use super::service::MODES;
use super::suggest::{did_you_mean, quoted};
use super::{allow, name};

const FORWARD_EXAMPLE: &str = "`forward = \"auto\"`, `forward = true` or `forward = false`";

pub(super) fn read(
    reader: &mut TableReader<'_>,
    key: &Spanned<DeString<'_>>,
    table: &DeTable<'_>,
) -> InterfaceTable {
    let pattern = key.get_ref().as_ref();
    let owner = format!("interface {}", quoted(pattern));
    reader.noted(key.span(), name::check_pattern(pattern));
    if pattern == "lo" {
        reader.warning(
            key.span(),
            Fault::new(
                "the table `[interfaces.lo]` has no effect",
                "remove it: lo is never guarded, everything on it passes",
            ),
        );
    }
    reader.refuse_unknown_keys(
        table,
        &Shape {
            owner: &owner,
            keys: &[
                "side",
                "forward",
                "hook",
                "containers",
                "routed",
                "allow",
                "mode",
            ],
        },
    );
    let options = options(reader, key, table);
    warn_of_idle_keys(reader, &options);
    options
}

/// Reads the keys of a table.
fn options(
    reader: &mut TableReader<'_>,
    key: &Spanned<DeString<'_>>,
    table: &DeTable<'_>,
) -> InterfaceTable {
    let boolean = |reader: &mut TableReader<'_>, key: &str| {
        let value = table.get(key);
        value.and_then(|value| reader.boolean(key, value))
    };
    let forward = table.get("forward");
    let forward = forward.and_then(|value| forward_of(reader, value));
    InterfaceTable {
        pattern: key.get_ref().as_ref().to_owned(),
        side: table
            .get("side")
            .and_then(|value| reader.choice("side", value, &Side::ALL, Side::name)),
        forward: forward.unwrap_or_default(),
        forward_at: reader.place_of(table, "forward"),
        hook: table
            .get("hook")
            .and_then(|value| reader.choice("hook", value, &HookChoice::ALL, HookChoice::name))
            .unwrap_or_default(),
        containers: boolean(reader, "containers"),
        containers_at: reader.place_of(table, "containers"),
        routed: boolean(reader, "routed").unwrap_or(false),
        routed_at: reader.place_of(table, "routed"),
        allow: allow::read(reader, table),
        mode: table
            .get("mode")
            .and_then(|value| reader.choice("mode", value, &MODES, Mode::name)),
        mode_at: reader.place_of(table, "mode"),
        at: reader.place(key.span()),
    }
}

/// Reads `forward`: `"auto"`, or a boolean.
fn forward_of(reader: &mut TableReader<'_>, value: &Spanned<DeValue<'_>>) -> Option<Forward> {
    let text = match value.get_ref() {
        DeValue::Boolean(true) => return Some(Forward::True),
        DeValue::Boolean(false) => return Some(Forward::False),
        DeValue::String(text) => text.as_ref(),
        _ => {
            reader.wrong_type(
                "`forward`",
                value,
                "\"auto\", true or false",
                FORWARD_EXAMPLE,
            );
            return None;
        }
    };
    if text == "auto" {
        return Some(Forward::Auto);
    }
    let help = match text {
        "true" | "false" => format!("write `forward = {text}`, without quotes"),
        _ => did_you_mean(text, ["auto"], || format!("write {FORWARD_EXAMPLE}")),
    };
    reader.error(
        value.span(),
        Fault::new(format!("unknown forward {}", quoted(text)), help),
    );
    None
}

/// Warns of keys of a container network where rule 4 judges no such network.
fn warn_of_idle_keys(reader: &mut TableReader<'_>, table: &InterfaceTable) {
    let (cause, remedy) = match (table.containers, table.routed) {
        (Some(false), _) => ("containers = false", "no container network is behind it"),
        (_, true) => ("routed = true", "anyone may reach the network"),
        _ => return,
    };
    let routed = table
        .routed_at
        .as_ref()
        .filter(|_| cause != "routed = true");
    let allow = table.allow.at.as_ref().filter(|_| !table.allow.is_empty());
    let keys = [
        ("routed", routed),
        ("allow", allow),
        ("mode", table.mode_at.as_ref()),
    ];
    for (key, at) in keys {
        let Some(at) = at else {
            continue;
        };
        reader.report.warning(
            at,
            Fault::new(
                format!("`{key}` has no effect beside `{cause}`"),
                format!("{remedy}: remove one of the two"),
            ),
        );
    }
}
