//! Policies: what a registry means on this host.

mod compile;
mod prefixes;
mod tables;

#[cfg(test)]
mod tests;

pub use compile::{Attachment, Slots, compile};
pub use tables::{Description, InterfaceRow, PeerRow, Rule, ServiceRow, Tables};
