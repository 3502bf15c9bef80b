//! Netlink requests to the kernel, in the network namespace of the calling thread (netlink(7)).
//!
//! ```text
//! framing    messages and attributes: parse and write      socket    requests, replies, notices
//! link       RTM_GETLINK: interfaces                       fdb       RTM_GETNEIGH: own MAC addresses
//! route      RTM_GETROUTE: one lookup in the FIB           address   RTM_GETADDR: addresses of the host
//! local      RTM_GETROUTE: the routes to the host itself   options   socket options
//! generic    generic netlink: families, headers
//! ```
//!
//! The socket and the parsers are the project's own. netlink-proto, below the crate rtnetlink,
//! drops a message with one unreadable attribute (`NetlinkCodec::decode`), and an interface
//! missing from a list would be an interface without a guard. Here a list is whole, or an error.

pub(crate) mod address;
pub(crate) mod fdb;
mod framing;
pub(crate) mod generic;
pub(crate) mod link;
mod link_info;
pub(crate) mod local;
mod options;
pub(crate) mod route;
mod socket;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use framing::each_attribute;
pub(crate) use link::may_be_up;
pub(crate) use socket::{ATTEMPTS, Protocol, Request, Socket};
