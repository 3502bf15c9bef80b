//! The registry: the operator's list of services, their ports and their allowed peers.
//!
//! A registry is one TOML file and any fragments. [`load`] reads the files and returns a validated
//! [`Registry`], or every error, each a [`Diagnostic`] with a source span. No other code makes a
//! `Registry`, so every `Registry` is valid.
//!
//! ```text
//! reader           the terms: pipes, trust, the policy in force
//! files            the place of a registry, and the result of reading one
//! loader           the files to read, and their order  open: one file
//! syntax           TOML errors, in the words of the registry
//! draft            one parsed file   service, peer, interface, unregistered, doctor: one table each
//! allow            lists of peers                  host_address: a service's `on`
//! merge            checks across files: duplicates, clashes, limits
//! port_conflicts   ports of two services at one address
//! report           collected diagnostics: 50 are told, all are counted
//! model            the validated registry          options: an `[interfaces]` table
//! lints            warnings that need facts about this host
//! ```

mod allow;
mod diagnostic;
mod doctor;
mod draft;
mod duplicate;
mod excerpt;
mod files;
mod host_address;
mod interface;
mod lints;
mod loader;
mod merge;
mod model;
mod name;
mod open;
mod options;
mod peer;
mod port;
mod port_conflicts;
mod prefix;
mod public_key;
mod read;
mod reader;
mod report;
mod service;
mod source;
mod suggest;
mod syntax;
mod unregistered;

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Severity};
pub use doctor::IgnoredFinding;
pub use files::{
    DEFAULT_PATH, EMBEDDED, FragmentFolder, Loaded, MissingFile, Origin, Place, Provenance,
    Rejected, Source, load, load_at, load_within,
};
pub use lints::{HostFacts, InterfaceWarning, lint};
pub use model::{
    Allow, Identity, MAX_INTERFACE_TABLES, MAX_PEERS, MAX_PORTS, MAX_PORTS_AT_ADDRESSES,
    MAX_PREFIXES, Peer, PortRange, Registry, Service,
};
pub use name::{pattern_matches, winning_pattern};
pub use options::{Forward, HookChoice, InterfaceTable, Side};
pub use public_key::PublicKey;
pub use reader::{READ_LIMIT, Reader, Trust};
pub use report::{Diagnostics, MAX_TOLD, render};
pub use source::{SourceFile, Span};
pub use unregistered::{Unregistered, UnregisteredAction};
