//! The interfaces of this network namespace, and the plan of wire guards for them.
//!
//! ```text
//! netlink    queries to the kernel        message   parsing of the replies
//! facts      the results: Interface, Host
//! framing    the first header of a packet, by the type of the interface
//! plan       the decision: wire guards, their hooks, and uncovered interfaces
//! ```
//!
//! [`plan()`] is a pure function: on new facts the caller computes a new plan and carries out the
//! difference.

mod facts;
mod framing;
mod message;
mod netlink;
mod plan;

#[cfg(test)]
mod tests;

pub use facts::{Host, Interface, XdpAttached, XdpMode};
pub(crate) use message::{each_attribute, text};
pub(crate) use netlink::Socket;
pub use netlink::{host, list, settings};
pub use plan::{Hook, InterfaceOptions, Plan, Uncovered, WireGuard, plan};
