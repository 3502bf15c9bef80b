//! Packet sockets: raw frames out of an interface, and the answers.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, Result};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with};

use super::command::timespec;
use super::frames::{IPV4, IPV6};
use super::netns::Netns;

/// An `AF_PACKET` socket on an interface.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    /// Whether packets begin with the IP header here: frames lose and get an Ethernet header on the
    /// way.
    bare: bool,
}

/// The length of an Ethernet header without tags.
const ETHERNET: usize = 14;

/// An answer from a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A listener accepted our SYN.
    SynAck,
    /// A datagram from the service.
    Datagram,
    /// A reset, or an ICMP error.
    Rejection,
}

impl Wire {
    /// Opens an Ethernet interface of a namespace.
    pub fn open(namespace: &Netns, interface: &str) -> Result<Self> {
        Self::open_any(namespace, interface, false)
    }

    /// Opens an interface for IP packets without a link-layer header, such as WireGuard's.
    ///
    /// Callers send and see Ethernet frames all the same: the header stays behind.
    pub fn open_ip(namespace: &Netns, interface: &str) -> Result<Self> {
        Self::open_any(namespace, interface, true)
    }

    fn open_any(namespace: &Netns, interface: &str, bare: bool) -> Result<Self> {
        let index = namespace.ifindex(interface)?;
        let socket = namespace
            .run(|| packet_socket(index))?
            .with_context(|| format!("failed to open a packet socket on {interface}"))?;
        Ok(Self { socket, bare })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.send_in_tries(frame).map(drop)
    }

    /// Sends a frame and returns the number of tries: a device reports an error for a dropped
    /// frame.
    pub fn send_in_tries(&self, frame: &[u8]) -> Result<u64> {
        let frame = if self.bare { &frame[ETHERNET..] } else { frame };
        let mut tries = 1;
        loop {
            match rustix::net::send(&self.socket, frame, SendFlags::empty()) {
                Ok(_) => return Ok(tries),
                // The queue is full: the interface catches up within a moment.
                Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) => {
                    tries += 1;
                    std::thread::yield_now();
                }
                Err(error) => return Err(error).context("failed to send a frame"),
            }
        }
    }

    /// Sends a frame if the interface takes it now: false while the interface is down, has no
    /// carrier, or has a full queue.
    pub fn try_send(&self, frame: &[u8]) -> Result<bool> {
        use rustix::io::Errno;
        let frame = if self.bare { &frame[ETHERNET..] } else { frame };
        match rustix::net::send(&self.socket, frame, SendFlags::empty()) {
            Ok(_) => Ok(true),
            Err(Errno::NOBUFS | Errno::AGAIN | Errno::NETDOWN | Errno::NXIO | Errno::NODEV) => {
                Ok(false)
            }
            Err(error) => Err(error).context("failed to send a frame"),
        }
    }

    /// The first value that `wanted` makes of a frame until `deadline`.
    pub fn expect<T>(
        &self,
        deadline: Instant,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut buffer = vec![0; 1 << 16];
        let start = if self.bare { ETHERNET } else { 0 };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut watched = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut watched, Some(&timespec(left))) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("failed to wait for a frame"),
            }
            match rustix::net::recv(&self.socket, &mut buffer[start..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    if self.bare {
                        let kind = if buffer[start] >> 4 == 6 { IPV6 } else { IPV4 };
                        buffer[start - 2..start].copy_from_slice(&kind.to_be_bytes());
                    }
                    if let Some(found) = wanted(&buffer[..start + length]) {
                        return Ok(Some(found));
                    }
                }
                // The interface went down, and may come up again.
                Err(
                    rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::NETDOWN,
                ) => {}
                Err(error) => return Err(error).context("failed to receive a frame"),
            }
        }
    }
}

/// The meaning of a frame to our `port`, if the frame comes from the service's port `from`.
pub fn reply_in(frame: &[u8], from: u16, port: u16) -> Option<Reply> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    match packet.transport? {
        TransportSlice::Tcp(tcp) => {
            let ours = tcp.source_port() == from && tcp.destination_port() == port;
            match (ours, tcp.rst(), tcp.syn() && tcp.ack()) {
                (true, true, _) => Some(Reply::Rejection),
                (true, false, true) => Some(Reply::SynAck),
                _ => None,
            }
        }
        TransportSlice::Udp(udp) => {
            let ours = udp.source_port() == from && udp.destination_port() == port;
            ours.then_some(Reply::Datagram)
        }
        // An error quotes the rejected packet: IP header, then both ports.
        TransportSlice::Icmpv4(icmp) => {
            quotes(icmp.payload(), port, from).then_some(Reply::Rejection)
        }
        TransportSlice::Icmpv6(icmp) => {
            quotes(icmp.payload(), port, from).then_some(Reply::Rejection)
        }
        _ => None,
    }
}

fn quotes(quoted: &[u8], source: u16, destination: u16) -> bool {
    let wanted = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    quoted.windows(4).any(|window| window == wanted)
}

/// The source address of an IP frame.
pub fn source(frame: &[u8]) -> Option<IpAddr> {
    match SlicedPacket::from_ethernet(frame).ok()?.net? {
        NetSlice::Ipv4(ip) => Some(ip.header().source_addr().into()),
        NetSlice::Ipv6(ip) => Some(ip.header().source_addr().into()),
        _ => None,
    }
}

fn packet_socket(index: u32) -> io::Result<OwnedFd> {
    // Protocol 0 hears nothing until bind names both protocol and interface.
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    // SAFETY: sockaddr_ll is plain integers, and zeroes are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL)
        .map_err(io::Error::other)?
        .to_be();
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the address is a whole sockaddr_ll, with the length given.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound == 0 {
        Ok(socket)
    } else {
        Err(io::Error::last_os_error())
    }
}
