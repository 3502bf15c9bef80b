//! Sinks: sockets that record the packets of cells and never answer.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::sockopt::set_ipv6_v6only;

use crate::lab::{Netns, Transport, sockopt};

use super::cell::Port;

/// The multicast groups of the host's sockets.
pub(super) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
/// The group over IPv6, of site-local scope.
pub(super) const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0x12, 0x3456);

/// The namespace of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Host,
    Container,
    Guest,
    Foreign,
}

/// The number of arrivals of a cell, by the cell's number and the place of the socket.
pub(super) type Arrivals = BTreeMap<(u16, Place), u64>;

/// Open sockets in all places, until the drop of this value.
pub(super) struct Sinks<'a> {
    places: Vec<(Place, &'a Netns)>,
    datagrams: Vec<(Place, UdpSocket)>,
    _listeners: Vec<OwnedFd>,
    /// The source ports of the round's cells.
    marks: Range<u16>,
    /// The arrivals so far.
    received: Arrivals,
}

/// The room of a receive buffer in bytes, for all datagrams of all cells.
const ROOM: libc::c_int = 8 << 20;
/// The silence after which no more packets are on their way: macvlan and vxlan hand packets to a
/// work queue and a softirq.
const SILENCE: Duration = Duration::from_millis(400);

impl<'a> Sinks<'a> {
    /// Opens a socket for each port, family and transport in each place; sockets of the host join
    /// the groups on interfaces.
    pub(super) fn open(
        places: Vec<(Place, &'a Netns)>,
        groups: &[u32],
        marks: Range<u16>,
    ) -> Result<Self> {
        let mut datagrams = Vec::new();
        let mut listeners = Vec::new();
        for &(place, namespace) in &places {
            for transport in [Transport::Tcp, Transport::Udp, Transport::UdpLite] {
                if transport.needs().is_some_and(|feature| !feature.is_here()) {
                    continue;
                }
                for port in Port::ALL {
                    for any in ["0.0.0.0".parse()?, IpAddr::from(Ipv6Addr::UNSPECIFIED)] {
                        let address = SocketAddr::new(any, port.number());
                        let socket = namespace.run(|| bound(transport, address))?;
                        let socket = socket.with_context(|| {
                            format!("failed to bind {transport:?} to {address} in {place:?}")
                        })?;
                        if transport.is_stream() {
                            listeners.push(socket);
                            continue;
                        }
                        let socket = UdpSocket::from(socket);
                        if place == Place::Host {
                            join(&socket, any, groups).context("failed to join a group")?;
                        }
                        datagrams.push((place, socket));
                    }
                }
            }
        }
        Ok(Self {
            places,
            datagrams,
            _listeners: listeners,
            marks,
            received: Arrivals::new(),
        })
    }

    /// The arrivals so far: datagrams, and the SYNs for which a listener holds a request.
    fn arrivals(&mut self) -> Result<Arrivals> {
        let mut buffer = [0; 256];
        for (place, socket) in &self.datagrams {
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                if let Some(cell) = cell_of(&self.marks, from.port()) {
                    *self.received.entry((cell, *place)).or_default() += 1;
                }
            }
        }
        for (place, namespace) in &self.places {
            for mark in namespace.run(requests)?? {
                if let Some(cell) = cell_of(&self.marks, mark) {
                    self.received.insert((cell, *place), 1);
                }
            }
        }
        Ok(self.received.clone())
    }

    /// The arrivals once no packet is on the way: `expected` arrivals are waited for until `limit`.
    pub(super) fn settled(&mut self, expected: &Arrivals, limit: Duration) -> Result<Arrivals> {
        let deadline = Instant::now() + limit;
        let mut last = self.arrivals()?;
        loop {
            std::thread::sleep(SILENCE);
            let now = self.arrivals()?;
            let is_complete = expected
                .iter()
                .all(|(key, count)| now.get(key) >= Some(count));
            if now == last && (is_complete || Instant::now() >= deadline) {
                return Ok(now);
            }
            last = now;
        }
    }
}

fn bound(transport: Transport, address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = transport.socket(address)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    if !transport.is_stream() {
        sockopt::set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &ROOM)?;
    }
    rustix::net::bind(&socket, &address)?;
    if transport.is_stream() {
        // As many requests as cells: a full queue answers with cookies, and holds no request.
        rustix::net::listen(&socket, 4096)?;
    }
    Ok(socket)
}

fn join(socket: &UdpSocket, family: IpAddr, interfaces: &[u32]) -> io::Result<()> {
    for &index in interfaces {
        match family {
            IpAddr::V4(any) => rustix::net::sockopt::set_ip_add_membership_with_ifindex(
                socket, &GROUP, &any, index,
            )?,
            IpAddr::V6(_) => socket.join_multicast_v6(&GROUP6, index)?,
        }
    }
    Ok(())
}

/// The number of the cell with a source port.
fn cell_of(marks: &Range<u16>, mark: u16) -> Option<u16> {
    marks.contains(&mark).then(|| mark - marks.start)
}

/// The source ports of requests at listeners of the calling thread's namespace.
///
/// Source: proc_net_tcp.rst of Linux, state 03 (`TCP_SYN_RECV`).
fn requests() -> Result<Vec<u16>> {
    let mut marks = Vec::new();
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/thread-self/net/{table}");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(remote), Some(&"03")) = (fields.get(2), fields.get(3)) else {
                continue;
            };
            let port = remote.rsplit(':').next().unwrap_or_default();
            marks.push(u16::from_str_radix(port, 16).with_context(|| format!("in {path}"))?);
        }
    }
    Ok(marks)
}
