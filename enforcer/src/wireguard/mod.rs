//! The peers of WireGuard devices: their public keys and AllowedIPs.
//!
//! ```text
//! questions     many devices at the same time, with one time limit
//! netlink       the kernel's devices: generic netlink      parse   the replies
//! uapi          userspace devices: a socket beside a tun interface
//! allowed_ips   the result
//! ```
//!
//! [`ask_all`] queries devices once, in the network namespace of the calling thread, and keeps no
//! state: callers that watch WireGuard ask again and compare.
//!
//! The parser of the kernel's answers is the project's own, on the attributes of `crate::netlink`.
//! The crate netlink-packet-wireguard 0.5 panics on some bytes where a refusal is due, and
//! genetlink 0.3 drops a message that cannot be parsed. A prefix missing from a list of AllowedIPs
//! may be a hole in the prefix of a key that is granted something: here, a list is whole, or an
//! error.

mod allowed_ips;
mod netlink;
mod parse;
mod questions;
mod uapi;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::Result;

pub use allowed_ips::AllowedIps;
pub(crate) use netlink::listen_port;
pub use questions::{LIMIT, ask_all};

use crate::interfaces::Interface;

/// The answer to a query for the AllowedIPs of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The interface is a WireGuard device with these AllowedIPs.
    Device(AllowedIps),
    /// The interface is no WireGuard device, whatever the name.
    NotWireGuard,
    /// The interface is a WireGuard device, but the query failed for this reason.
    Unknown(String),
}

/// A WireGuard device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// The kernel's device of an ifindex; the kernel answers at once.
    Kernel(u32),
    /// A userspace device behind a socket; the process there may never answer.
    Userspace(PathBuf),
}

impl Device {
    /// Returns the WireGuard device behind an interface, if there is one.
    pub fn of(interface: &Interface) -> Option<Self> {
        match interface.is_kind("wireguard") {
            true => Some(Self::Kernel(interface.index)),
            false => uapi::socket_of(interface).map(Self::Userspace),
        }
    }

    /// Returns the socket of the userspace device that an interface may have, where this user may
    /// not look for the socket; [`Self::of`] finds no device then.
    pub(crate) fn hidden(interface: &Interface) -> Option<PathBuf> {
        uapi::hidden_socket_of(interface)
    }

    /// Queries the device, in the network namespace of the calling thread, without a time limit.
    /// Needs CAP_NET_ADMIN.
    async fn ask(self) -> Answer {
        let answer: Result<AllowedIps> = match self {
            Self::Kernel(ifindex) => netlink::ask(ifindex).await,
            Self::Userspace(socket) => uapi::ask(&socket).await,
        };
        match answer {
            Ok(allowed) => Answer::Device(allowed),
            Err(error) => Answer::Unknown(format!("{error:#}")),
        }
    }
}
