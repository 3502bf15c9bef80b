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

pub use address::{Address, Family, MAX_PEERS, PeerSet, Peers};
pub use decision::{
    Arrival, Decision, FIRST_PORT_SLOT, Interface, NETWORK_SLOT, NO_SLOT, Network, Policy, Port,
    Route, Service, at_socket, decide, unregistered_slot,
};
pub use packet::{
    Bytes, Kind, Link, MAX_EXTENSION_HEADERS, MAX_PRIORITY_TAGS, NO_IP_HEADER, Packet, Transport,
    VlanIds, claimed_length, destination, opens, opens_association, parse, source, source_port,
    traffic_class, transport_header,
};
pub use words::{Guard, Mode, Protocol, Reason, Verdict};
