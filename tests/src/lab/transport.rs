//! The transports that the lab speaks, and their sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use enforcer_ebpf::Protocol;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};

/// A transport with ordinary sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// Multipath TCP; its first subflow is TCP on the wire.
    Mptcp,
    /// UDP.
    Udp,
    /// UDP-Lite, a protocol number of its own (136), which guards judge as UDP.
    UdpLite,
}

impl Transport {
    /// Whether connections are accepted, rather than datagrams received.
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Mptcp)
    }

    /// The protocol that counters show for it.
    pub fn protocol(self) -> Protocol {
        if self.is_stream() {
            Protocol::Tcp
        } else {
            Protocol::Udp
        }
    }

    /// Whether this kernel has such sockets.
    pub fn is_supported(self) -> bool {
        self.socket(SocketAddr::from(([0, 0, 0, 0], 0))).is_ok()
    }

    /// A fresh non-blocking socket for an address's family.
    pub(super) fn socket(self, address: SocketAddr) -> io::Result<OwnedFd> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let (kind, protocol) = match self {
            Self::Tcp => (SocketType::STREAM, ipproto::TCP),
            Self::Mptcp => (SocketType::STREAM, ipproto::MPTCP),
            Self::Udp => (SocketType::DGRAM, ipproto::UDP),
            Self::UdpLite => (SocketType::DGRAM, ipproto::UDPLITE),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, kind, flags, Some(protocol))?;
        if self.is_stream() {
            sockopt::set_socket_reuseaddr(&socket, true)?;
        } else {
            sockopt::set_socket_broadcast(&socket, true)?;
        }
        Ok(socket)
    }
}
