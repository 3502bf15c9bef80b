//! The contract between the kernel programs and all other crates: the words, the decision table
//! ([`decide`]), the parser and the layout of the maps.
//!
//! `no_std` and free of aya, so that the guards, the command line and the tests compile the same
//! lines. The hooks are in the binary `guards` of this package.
#![cfg_attr(not(test), no_std)]

mod address;
mod decision;
pub mod layout;
mod packet;
mod words;

pub use address::{Address, Family, MAX_PEERS, PeerSet};
pub use decision::{Decision, Interface, NO_SLOT, Policy, Service, at_socket, decide};
pub use packet::{
    Bytes, Kind, Link, MAX_EXTENSION_HEADERS, MAX_PRIORITY_TAGS, Packet, Transport, claimed_length,
    destination, parse, source, source_port,
};
pub use words::{Guard, Mode, Protocol, Reason, Verdict};
