//! The interfaces of this network namespace, and the plan of wire guards for them.
//!
//! ```text
//! list       every interface, and the host's settings
//! facts      Interface (from `netlink`), Host
//! framing    the first header of a packet, by the type of the interface
//! relations  interfaces above and below each other
//! sides      the decision: an interface needs a guard, or its master, or none
//! hooks      the decision: the hooks to try
//! guard      WireGuard, and what a guard needs to know of its interface
//! plan       all wire guards, and uncovered interfaces
//! ```
//!
//! [`plan()`] is a pure function: on new facts the caller computes a new plan and carries out the
//! difference.

mod facts;
mod framing;
mod guard;
mod hooks;
mod list;
mod plan;
mod relations;
mod sides;

#[cfg(test)]
mod tests;

pub use facts::{Host, Interface, MacvlanMode, XdpAttached, XdpMode};
pub use guard::{Hook, Uncovered, View, WireGuard};
pub use list::{find, host, list};
pub use plan::{InterfaceOptions, Plan, plan};
