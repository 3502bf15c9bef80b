//! Policies: what a registry means on this host.

mod cite;
mod compile;
mod diff;
mod frame;
mod prefixes;
mod tables;

#[cfg(test)]
mod tests;

pub use cite::{Citation, cite};
pub use compile::{PolicyInterface, Slots, compile};
pub use diff::{Change, changes};
pub use frame::Frame;
pub use tables::{InterfaceRow, OptionsRow, PacketSpec, PeerRow, PolicyTables, ServiceRow};
