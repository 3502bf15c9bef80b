//! Policies: a registry compiled for the interfaces of this host.
//!
//! ```text
//! compile    a registry and the host's interfaces to PolicyTables
//! tables     the tables, and the decision over them
//! rows       the rows of interfaces and of wire views
//! prefixes   longest-match prefixes of peers by address and by WireGuard key
//! cite       the registry lines behind a decision
//! diff       the changes between two policies
//! released   the ports that a policy no longer registers, as notes
//! frame      a described packet as bytes
//! ```

mod additions;
mod cite;
mod compile;
mod diff;
mod frame;
mod host;
mod networks;
mod port_set;
mod prefixes;
mod released;
mod rows;
mod tables;
mod view;

#[cfg(test)]
mod tests;

pub use cite::{Citation, cite};
pub(crate) use compile::local_rows;
pub use compile::{Slots, compile};
pub use diff::{Change, changes};
pub use frame::{Frame, SOURCE_PORT};
pub use host::{PolicyHost, PolicyInterface};
pub use port_set::PortSet;
pub(crate) use released::released;
pub use tables::{
    InterfaceRow, NetworkRow, OptionsRow, PacketSpec, PeerRow, PolicyTables, ServiceRow,
    UnregisteredRow,
};
