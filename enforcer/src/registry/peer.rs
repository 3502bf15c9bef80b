//! The `[peers.…]` tables.

use std::collections::HashSet;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::Fault;
use super::model::Identity;
use super::public_key::PublicKey;
use super::read::{Shape, TableReader};
use super::source::Span;
use super::suggest::quoted;
use super::{name, prefix};

const INTERFACE_EXAMPLE: &str = "`interface = \"wg0\"`";
const PATTERN_HELP: &str = "AllowedIPs belong to one device: name the device, and write one more peer for each further device";
const KEY_EXAMPLE: &str = "`public-key = \"…\"`, with the key that `wg show` prints";
const ADDRESSES_EXAMPLE: &str = "`addresses = [\"10.10.0.0/28\"]` or `addresses = [\"any\"]`";

/// A peer as read from a file; invalid parts are `None`.
#[derive(Debug)]
pub(super) struct PeerDraft {
    pub(super) name: String,
    pub(super) interface: Option<String>,
    pub(super) identity: Option<Identity>,
    pub(super) at: Span,
}

pub(super) fn read(
    reader: &mut TableReader<'_>,
    key: &Spanned<DeString<'_>>,
    table: &DeTable<'_>,
) -> PeerDraft {
    let name = key.get_ref().as_ref();
    let owner = format!("peer {}", quoted(name));
    reader.noted(key.span(), name::check("peer", name));
    reader.refuse_unknown_keys(
        table,
        &Shape {
            owner: &owner,
            keys: &["interface", "public-key", "addresses"],
        },
    );
    let interface = match table.get("interface") {
        Some(value) => interface(reader, value),
        None => {
            reader.error(
                key.span(),
                Fault::new(
                    format!("{owner} has no `interface`"),
                    format!("write the interface that it comes through: {INTERFACE_EXAMPLE}"),
                ),
            );
            None
        }
    };
    if let (Some(pattern), Some(value)) = (&interface, table.get("interface"))
        && pattern.ends_with('*')
        && table.contains_key("public-key")
    {
        let message = format!(
            "{owner} has a public key on the pattern {}",
            quoted(pattern)
        );
        reader.error(value.span(), Fault::new(message, PATTERN_HELP));
    }
    PeerDraft {
        name: name.to_owned(),
        interface,
        identity: identity(reader, key, table, &owner),
        at: reader.place(key.span()),
    }
}

fn interface(reader: &mut TableReader<'_>, value: &Spanned<DeValue<'_>>) -> Option<String> {
    let name = reader.string("`interface`", value, INTERFACE_EXAMPLE)?;
    reader.noted(value.span(), name::check_pattern(name))?;
    if name == "lo" {
        reader.error(
            value.span(),
            Fault::new(
                "a peer cannot be on `lo`",
                "remove the peer: programs on this host reach every service through lo",
            ),
        );
        return None;
    }
    Some(name.to_owned())
}

fn identity(
    reader: &mut TableReader<'_>,
    peer: &Spanned<DeString<'_>>,
    table: &DeTable<'_>,
    owner: &str,
) -> Option<Identity> {
    let key = table.get("public-key").map(|value| {
        let text = reader.string("`public-key`", value, KEY_EXAMPLE)?;
        let key = reader.noted(value.span(), PublicKey::parse(text))?;
        Some(Identity::Key(key))
    });
    let addresses = table
        .get_key_value("addresses")
        .map(|(key, value)| (key, addresses(reader, value)));
    match (key, addresses) {
        (Some(key), None) => key,
        (None, Some((_, prefixes))) => prefixes.map(Identity::Addresses),
        (None, None) => {
            reader.error(
                peer.span(),
                Fault::new(
                    format!("{owner} has neither `public-key` nor `addresses`"),
                    "give one of them: a key for a WireGuard peer, or the addresses that it uses",
                ),
            );
            None
        }
        (Some(_), Some((key, _))) => {
            reader.error(
                key.span(),
                Fault::new(
                    format!("{owner} has both `public-key` and `addresses`"),
                    "remove `addresses`, since the key's AllowedIPs are its addresses, or the key",
                ),
            );
            None
        }
    }
}

fn addresses(reader: &mut TableReader<'_>, value: &Spanned<DeValue<'_>>) -> Option<Vec<IpNet>> {
    let items = reader.array("`addresses`", value, ADDRESSES_EXAMPLE)?;
    if items.is_empty() {
        reader.error(
            value.span(),
            Fault::new("`addresses` is empty", format!("write {ADDRESSES_EXAMPLE}")),
        );
    }
    let mut prefixes = Vec::new();
    let mut seen = HashSet::new();
    let mut any = None;
    for item in items {
        let Some(text) = reader.string("an item of `addresses`", item, ADDRESSES_EXAMPLE) else {
            continue;
        };
        let new = if text == "any" {
            any.replace(item.span()).is_none()
        } else {
            let Some(net) = reader.noted(item.span(), prefix::parse(text)) else {
                continue;
            };
            if let Some(doubt) = prefix::doubt(net) {
                reader.warning(item.span(), doubt);
            }
            let new = seen.insert(net);
            if new {
                prefixes.push(net);
            }
            new
        };
        if !new {
            let shown = quoted(text);
            reader.warning(
                item.span(),
                Fault::new(format!("{shown} is listed twice"), "remove one"),
            );
        }
    }
    match any {
        None => Some(prefixes),
        Some(_)
            if items
                .iter()
                .all(|item| item.get_ref().as_str() == Some("any")) =>
        {
            Some(prefix::any().to_vec())
        }
        Some(span) => {
            reader.error(
                span,
                Fault::new(
                    "`any` stands beside other prefixes",
                    "write `addresses = [\"any\"]` alone, or only the prefixes",
                ),
            );
            None
        }
    }
}
