//! The interfaces of this network namespace, and the plan of wire guards for them.
//!
//! ```text
//! list       every interface, and the host's settings
//! facts      Interface (from `netlink`), Host
//! framing    the first header of a packet, by the type of the interface
//! relations  interfaces above and below each other
//! plan       the decision: wire guards, their hooks, and uncovered interfaces
//! ```
//!
//! [`plan()`] is a pure function: on new facts the caller computes a new plan and carries out the
//! difference.

mod facts;
mod framing;
mod list;
mod plan;
mod relations;

#[cfg(test)]
mod tests;

pub use facts::{Host, Interface, MacvlanMode, XdpAttached, XdpMode};
pub use list::{find, host, list};
pub use plan::{Hook, InterfaceOptions, Plan, Uncovered, WireGuard, plan};
