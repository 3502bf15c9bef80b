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
//! draft            one parsed file                 service, peer, interface: one table each
//! merge            checks across files: duplicates, clashes, limits
//! port_conflicts   ports of two services
//! report           collected diagnostics: 50 are told, all are counted
//! model            the validated registry
//! lints            warnings that need facts about this host
//! ```

mod diagnostic;
mod draft;
mod duplicate;
mod excerpt;
mod files;
mod interface;
mod lints;
mod loader;
mod merge;
mod model;
mod name;
mod open;
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

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Severity};
pub use files::{
    DEFAULT_PATH, EMBEDDED, FragmentFolder, Loaded, MissingFile, Origin, Place, Provenance,
    Rejected, Source, load, load_at, load_within,
};
pub use lints::lint;
pub use model::{
    Forward, HookChoice, Identity, InterfaceTable, MAX_INTERFACE_TABLES, MAX_PEERS, MAX_PORTS,
    MAX_PREFIXES, Peer, PortRange, Registry, Service, Side,
};
pub use public_key::PublicKey;
pub use reader::{READ_LIMIT, Reader, Trust};
pub use report::{Diagnostics, MAX_TOLD, render};
pub use source::{SourceFile, Span};
