//! Policies: what a registry means on this host.

mod cite;
mod compile;
mod diff;
mod packet;
mod prefixes;
mod tables;

#[cfg(test)]
mod tests;

pub use cite::{Citation, cite};
pub use compile::{PolicyInterface, Slots, compile};
pub use diff::{Change, changes};
pub use packet::Frame;
pub use tables::{InterfaceRow, PacketSpec, PeerRow, PolicyTables, Rule, ServiceRow};
