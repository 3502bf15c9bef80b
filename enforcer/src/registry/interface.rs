//! The `[interfaces.…]` tables.

use toml::Spanned;
use toml::de::{DeString, DeTable};

use super::diagnostic::Fault;
use super::model::{Forward, HookChoice, InterfaceTable, Side};
use super::name;
use super::read::{Shape, TableReader};
use super::suggest::quoted;

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
            keys: &["side", "forward", "hook"],
        },
    );
    InterfaceTable {
        pattern: pattern.to_owned(),
        side: table
            .get("side")
            .and_then(|value| reader.choice("side", value, &Side::ALL, Side::name)),
        forward: table
            .get("forward")
            .and_then(|value| reader.boolean("forward", value))
            .map_or(Forward::Auto, |always| match always {
                true => Forward::True,
                false => Forward::False,
            }),
        forward_at: reader.place_of(table, "forward"),
        hook: table
            .get("hook")
            .and_then(|value| reader.choice("hook", value, &HookChoice::ALL, HookChoice::name))
            .unwrap_or_default(),
        at: reader.place(key.span()),
    }
}
