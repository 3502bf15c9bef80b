//! Policies: what a registry means on this host.

mod cite;
mod compile;
mod frame;
mod prefixes;
mod tables;

#[cfg(test)]
mod tests;

pub use cite::{Citation, cite};
pub use compile::{Attachment, Slots, compile};
pub use frame::Frame;
pub use tables::{Description, InterfaceRow, PeerRow, Rule, ServiceRow, Tables};
