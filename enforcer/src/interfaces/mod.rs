//! The interfaces of this network namespace: which of them are outside, and how each is guarded.
//!
//! ```text
//! list       every interface, and the host's settings
//! facts      Interface (from `netlink`), Host
//! framing    what a packet begins with, by the type of the interface
//! plan       the decision: which wire guards, by which hooks, and what stays uncovered
//! ```
//!
//! [`plan()`] is a pure function: whoever watches the interfaces calls it again with new facts and
//! carries out the difference.

mod facts;
mod framing;
mod list;
mod plan;

#[cfg(test)]
mod tests;

pub use facts::{Host, Interface, XdpAttached, XdpMode};
pub use list::{host, list};
pub use plan::{Hook, InterfaceOptions, Plan, Uncovered, WireGuard, plan};
