//! Policies: what a registry means on this host.

mod compile;
mod tables;

pub use compile::{Attachment, Slots, compile};
pub use tables::{Description, InterfaceRow, PeerRow, Rule, ServiceRow, Tables};
