//! The peers of WireGuard devices: their public keys and AllowedIPs.
//!
//! ```text
//! netlink       the kernel's devices: generic netlink      parse   the replies
//! uapi          userspace devices: a socket beside a tun interface
//! allowed_ips   the result
//! ```
//!
//! [`ask`] queries a device once, in the network namespace of the calling thread, and keeps no
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
mod uapi;

#[cfg(test)]
mod tests;

pub use allowed_ips::AllowedIps;

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

/// Queries the device behind an interface of this network namespace. Needs CAP_NET_ADMIN.
pub async fn ask(interface: &Interface) -> Answer {
    let answer = if interface.is_kind("wireguard") {
        netlink::ask(interface.index).await
    } else if let Some(socket) = uapi::socket_of(interface) {
        uapi::ask(&socket, uapi::TIMEOUT).await
    } else {
        return Answer::NotWireGuard;
    };
    match answer {
        Ok(allowed) => Answer::Device(allowed),
        Err(error) => Answer::Unknown(format!("{error:#}")),
    }
}

/// Returns whether [`ask`] gets an answer at once, from the kernel and not from a process.
pub fn answers_at_once(interface: &Interface) -> bool {
    interface.is_kind("wireguard") || uapi::socket_of(interface).is_none()
}

/// Returns whether [`ask`] would find a WireGuard device behind an interface.
pub fn is_device(interface: &Interface) -> bool {
    interface.is_kind("wireguard") || uapi::socket_of(interface).is_some()
}
