//! The registry: which ports are services, and who may reach them.
//!
//! A registry is one TOML file and its fragments. [`load`] reads them and answers with a validated
//! [`Registry`], or with everything that is wrong with it, each [`Diagnostic`] with its place.
//! Nothing in between gets out of this module: who holds a `Registry` holds a good one.
//!
//! ```text
//! files      which files are read, in which order
//! syntax     TOML errors, in the words of the registry
//! draft      one file, key by key           service, peer, interface: one table each
//! merge      what only shows when all files are seen: duplicates, clashes, limits
//! model      the result
//! lints      what is allowed, but needs facts about this host to be judged
//! ```

mod diagnostic;
mod draft;
mod duplicate;
mod files;
mod interface;
mod lints;
mod merge;
mod model;
mod name;
mod peer;
mod port;
mod port_conflicts;
mod prefix;
mod public_key;
mod read;
mod service;
mod source;
mod suggest;
mod syntax;

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Severity, render};
pub use files::{DEFAULT_PATH, Loaded, MissingFile, Origin, Provenance, Rejected, Source, load};
pub use lints::lint;
pub use model::{
    HookChoice, Identity, InterfaceTable, MAX_INTERFACE_TABLES, MAX_PEERS, MAX_PORTS, MAX_PREFIXES,
    Peer, PortRange, Registry, Service, Side,
};
pub use public_key::PublicKey;
pub use source::{SourceFile, Span};

/// The registry that applies where there is none: the text of `default.toml`, for packages and for
/// an operator who wants to start from it.
pub const EMBEDDED: &str = include_str!("default.toml");
