//! The lab's transports, and their sockets.

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
    /// Multipath TCP; the first subflow is TCP on the wire.
    Mptcp,
    /// UDP.
    Udp,
    /// UDP-Lite, with its own protocol number (136), which guards judge as UDP.
    UdpLite,
    /// SCTP with a single stream, in the one-to-one style (RFC 6458), read like TCP.
    Sctp,
}

impl Transport {
    /// Whether connections are accepted, rather than datagrams received.
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Mptcp | Self::Sctp)
    }

    /// The protocol in the counters.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Tcp | Self::Mptcp => Protocol::Tcp,
            Self::Udp | Self::UdpLite => Protocol::Udp,
            Self::Sctp => Protocol::Sctp,
        }
    }

    /// A fresh non-blocking socket for an address's family.
    pub(crate) fn socket(self, address: SocketAddr) -> io::Result<OwnedFd> {
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
            Self::Sctp => (SocketType::STREAM, ipproto::SCTP),
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
