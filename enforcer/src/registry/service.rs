//! The `[services.…]` tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use enforcer_ebpf::{Mode, Protocol};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::Fault;
use super::model::{Allow, PortRange};
use super::read::{Shape, TableReader};
use super::source::Span;
use super::suggest::quoted;
use super::{allow, host_address, name, port};

const PORTS_EXAMPLE: &str = "`ports = [9200]` or `ports = [\"9000-9001\"]`";
const PROTOCOL_EXAMPLE: &str = "`protocol = \"tcp\"` or `protocol = [\"tcp\", \"udp\"]`";

/// The values of `mode`.
pub(super) const MODES: [Mode; 2] = [Mode::Enforce, Mode::Audit];

/// A service as read from a file, without invalid parts.
#[derive(Debug)]
pub(super) struct ServiceDraft {
    pub(super) name: String,
    pub(super) protocols: BTreeSet<Protocol>,
    pub(super) ranges: Vec<PortRange>,
    pub(super) on: BTreeMap<IpAddr, Span>,
    pub(super) on_at: Option<Span>,
    pub(super) mode: Option<Mode>,
    pub(super) mode_at: Option<Span>,
    pub(super) public: bool,
    pub(super) public_at: Option<Span>,
    pub(super) allow: Allow,
    pub(super) at: Span,
}

pub(super) fn read(
    reader: &mut TableReader<'_>,
    key: &Spanned<DeString<'_>>,
    table: &DeTable<'_>,
) -> ServiceDraft {
    let name = key.get_ref().as_ref();
    let owner = format!("service {}", quoted(name));
    reader.noted(key.span(), name::check("service", name));
    reader.refuse_unknown_keys(
        table,
        &Shape {
            owner: &owner,
            keys: &["ports", "protocol", "on", "mode", "public", "allow"],
        },
    );
    let ranges = match table.get("ports") {
        Some(value) => ranges(reader, value),
        None => {
            reader.error(
                key.span(),
                Fault::new(
                    format!("{owner} has no `ports`"),
                    format!("write {PORTS_EXAMPLE}"),
                ),
            );
            Vec::new()
        }
    };
    let protocols = match table.get("protocol") {
        Some(value) => protocols(reader, value),
        None => BTreeSet::from([Protocol::Tcp]),
    };
    let public = table
        .get("public")
        .and_then(|value| reader.boolean("public", value))
        .unwrap_or(false);
    let allow = allow::read(reader, table);
    if let (true, Some(key)) = (public, &allow.at) {
        reader.report.error(key, public_and_allow(&owner));
    }
    ServiceDraft {
        name: name.to_owned(),
        protocols,
        ranges,
        on: match table.get("on") {
            Some(value) => host_address::read(reader, value),
            None => BTreeMap::new(),
        },
        on_at: reader.place_of(table, "on"),
        mode: table
            .get("mode")
            .and_then(|value| reader.choice("mode", value, &MODES, Mode::name)),
        mode_at: reader.place_of(table, "mode"),
        public,
        public_at: reader.place_of(table, "public"),
        allow,
        at: reader.place(key.span()),
    }
}

fn public_and_allow(owner: &str) -> Fault {
    Fault::new(
        format!("{owner} is public and has `allow`"),
        "remove `public = true` if only these peers may reach it, or `allow` if anyone may",
    )
}

fn ranges(reader: &mut TableReader<'_>, value: &Spanned<DeValue<'_>>) -> Vec<PortRange> {
    let Some(items) = reader.array("`ports`", value, PORTS_EXAMPLE) else {
        return Vec::new();
    };
    if items.is_empty() {
        reader.error(
            value.span(),
            Fault::new("`ports` is empty", format!("write {PORTS_EXAMPLE}")),
        );
    }
    let mut ranges = Vec::new();
    for item in items {
        let range = match item.get_ref() {
            DeValue::Integer(number) => port::from_integer(number).map(|port| port..=port),
            DeValue::String(text) => port::from_text(text),
            _ => {
                reader.wrong_type("an item of `ports`", item, "a port", PORTS_EXAMPLE);
                continue;
            }
        };
        if let Some(range) = reader.noted(item.span(), range) {
            ranges.push(PortRange {
                first: *range.start(),
                last: *range.end(),
                at: reader.place(item.span()),
            });
        }
    }
    ranges
}

fn protocols(reader: &mut TableReader<'_>, value: &Spanned<DeValue<'_>>) -> BTreeSet<Protocol> {
    let one = |reader: &mut TableReader<'_>, item| {
        reader.choice("protocol", item, &Protocol::ALL, Protocol::name)
    };
    let items = match value.get_ref() {
        DeValue::String(_) => return one(reader, value).into_iter().collect(),
        DeValue::Array(items) => items,
        _ => {
            reader.wrong_type("`protocol`", value, "a protocol", PROTOCOL_EXAMPLE);
            return BTreeSet::new();
        }
    };
    if items.is_empty() {
        reader.error(
            value.span(),
            Fault::new(
                "`protocol` is empty",
                format!("write {PROTOCOL_EXAMPLE}, or leave it out for tcp"),
            ),
        );
    }
    let mut protocols = BTreeSet::new();
    for item in items {
        if let Some(protocol) = one(reader, item)
            && !protocols.insert(protocol)
        {
            reader.warning(
                item.span(),
                Fault::new(format!("`{protocol}` is listed twice"), "remove one"),
            );
        }
    }
    protocols
}
