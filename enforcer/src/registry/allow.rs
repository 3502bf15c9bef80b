//! The key `allow`: names of peers.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::diagnostic::Fault;
use super::model::Allow;
use super::read::TableReader;
use super::suggest::quoted;

const EXAMPLE: &str = "`allow = [\"collector\"]`, with the names of peers";

/// Reads the key `allow` of a table.
pub(super) fn read(reader: &mut TableReader<'_>, table: &DeTable<'_>) -> Allow {
    let mut allow = Allow {
        peers: Vec::new(),
        at: reader.place_of(table, "allow"),
    };
    let value = table.get("allow");
    let Some(items) = value.and_then(|value| reader.array("`allow`", value, EXAMPLE)) else {
        return allow;
    };
    let mut seen = BTreeSet::new();
    for item in items {
        let Some(peer) = reader.string("an item of `allow`", item, EXAMPLE) else {
            continue;
        };
        if seen.insert(peer) {
            let at = reader.place(item.span());
            allow.peers.push((peer.to_owned(), at));
        } else {
            let fault = || {
                Fault::new(
                    format!("peer {} is listed twice", quoted(peer)),
                    "remove one",
                )
            };
            reader.warning(item.span(), fault());
        }
    }
    allow
}
