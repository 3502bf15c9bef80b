//! The interfaces of this network namespace: which of them are outside, and how each is guarded.
//!
//! ```text
//! netlink    asks the kernel        message   reads its answers
//! facts      what it said: Interface, Host
//! framing    what a packet begins with, by the type of the interface
//! plan       the decision: which wire guards, by which hooks, and what stays uncovered
//! ```
//!
//! [`plan()`] is a pure function: whoever watches the interfaces calls it again with new facts and
//! carries out the difference.

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
