//! Drafts: the registry's files read key by key, before checks across files.

use enforcer_ebpf::Mode;
use toml::de::DeTable;

use super::diagnostic::Fault;
use super::doctor::{self, IgnoredFinding};
use super::interface;
use super::options::InterfaceTable;
use super::peer::{self, PeerDraft};
use super::read::{Shape, TableReader};
use super::service::{self, MODES, ServiceDraft};
use super::source::Span;
use super::unregistered::{self, Unregistered};
use crate::printable;

/// The role of a file, which decides the allowed keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role<'a> {
    /// The main file: all keys.
    Main,
    /// A fragment of the named main file: services and peers.
    Fragment(&'a str),
}

/// The contents of the files, in reading order. Invalid parts are left out, with an error reported
/// for each.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) mode: Option<Mode>,
    /// The span of the mode.
    pub(super) mode_at: Option<Span>,
    pub(super) services: Vec<ServiceDraft>,
    pub(super) unregistered: Unregistered,
    pub(super) peers: Vec<PeerDraft>,
    pub(super) interfaces: Vec<InterfaceTable>,
    pub(super) ignored: Vec<IgnoredFinding>,
}

impl Draft {
    /// Adds the contents of one file.
    pub(super) fn read(
        &mut self,
        reader: &mut TableReader<'_>,
        table: &DeTable<'_>,
        role: Role<'_>,
    ) {
        reader.refuse_unknown_keys(
            table,
            &Shape {
                owner: "the registry",
                keys: &[
                    "mode",
                    "services",
                    "unregistered",
                    "peers",
                    "interfaces",
                    "doctor",
                ],
            },
        );
        if let Some(value) = table.get("services") {
            for (key, table) in reader.named_tables("services", value) {
                self.services.push(service::read(reader, key, table));
            }
        }
        if let Some(value) = table.get("peers") {
            for (key, table) in reader.named_tables("peers", value) {
                self.peers.push(peer::read(reader, key, table));
            }
        }
        if let Role::Fragment(main) = role {
            refuse_global_keys(reader, table, main);
            return;
        }
        if let Some(value) = table.get("mode") {
            self.mode = reader.choice("mode", value, &MODES, Mode::name);
            self.mode_at = reader.place_of(table, "mode");
        }
        if let Some(value) = table.get("unregistered") {
            let at = reader.place_of(table, "unregistered");
            self.unregistered = unregistered::read(reader, at, value);
        }
        if let Some(value) = table.get("interfaces") {
            for (key, table) in reader.named_tables("interfaces", value) {
                self.interfaces.push(interface::read(reader, key, table));
            }
        }
        if let Some(value) = table.get("doctor") {
            self.ignored = doctor::read(reader, value);
        }
    }
}

fn refuse_global_keys(reader: &mut TableReader<'_>, table: &DeTable<'_>, main: &str) {
    for name in ["mode", "unregistered", "interfaces", "doctor"] {
        if let Some((key, _)) = table.get_key_value(name) {
            reader.error(
                key.span(),
                Fault::new(
                    format!("`{name}` does not belong in a fragment"),
                    format!(
                        "fragments hold services and peers; move it to {}",
                        printable::name(main)
                    ),
                ),
            );
        }
    }
}
