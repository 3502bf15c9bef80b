//! Attacks with raw frames: a probe with a fresh source port, and the answer to that port.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::lab::frames::{self, Ends, Mac, number};
use crate::lab::topology::{GHOST, GHOST6, HOST_LAN, HOST_LAN6, HOST_MAC, LAN_MAC};
use crate::lab::wire::{Reply, Wire, reply_in};
use crate::lab::{Lab, Outcome, Patience, Port};

use super::attack::Attempt;

/// An attacking packet before fragmentation, tags and encapsulation.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Source and destination address.
    pub ends: Ends,
    /// The number of the transport protocol.
    pub protocol: u8,
    /// A source port that no other probe has.
    pub source: u16,
    /// The port under attack.
    pub port: u16,
}

impl Probe {
    /// A probe from the ghost on the LAN to the host, over IPv4.
    pub fn v4(port: Port<'_>) -> Self {
        Self::between(Ends::V4(GHOST, HOST_LAN), port)
    }

    /// A probe from the ghost on the LAN to the host, over IPv6.
    pub fn v6(port: Port<'_>) -> Self {
        Self::between(Ends::V6(GHOST6, HOST_LAN6), port)
    }

    /// A probe between any two addresses.
    pub fn between(ends: Ends, port: Port<'_>) -> Self {
        static SOURCE: AtomicU16 = AtomicU16::new(0);
        let protocol = match port.0 {
            "udp" => number::UDP,
            "sctp" => number::SCTP,
            _ => number::TCP,
        };
        Self {
            ends,
            protocol,
            source: 20_000 + SOURCE.fetch_add(1, Ordering::Relaxed) % 10_000,
            port: port.1,
        }
    }

    /// The same probe of another port.
    pub fn at(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// The transport segment: a SYN, a datagram or an INIT.
    pub fn segment(self) -> Vec<u8> {
        match self.protocol {
            number::UDP => frames::udp(self.ends, self.source, self.port, b"sixteen bytes...."),
            number::SCTP => frames::sctp_init(self.source, self.port),
            _ => frames::tcp_syn(self.ends, self.source, self.port),
        }
    }

    /// The IP packet.
    pub fn packet(self) -> Vec<u8> {
        self.ends.packet(self.protocol, &self.segment())
    }

    /// The packet in a frame to the host.
    pub fn frame(self) -> Vec<u8> {
        self.framed(&self.packet())
    }

    /// An IP packet of the caller's making, in a frame to the host.
    pub fn framed(self, packet: &[u8]) -> Vec<u8> {
        self.framed_to(HOST_MAC, packet)
    }

    /// An IP packet of the caller's making, in a frame to another MAC address.
    pub fn framed_to(self, mac: Mac, packet: &[u8]) -> Vec<u8> {
        frames::ethernet(mac, LAN_MAC, &[], self.ends.ethertype(), packet)
    }

    /// The packet behind tags, outermost first.
    pub fn tagged(self, tags: &[(u16, u16)]) -> Vec<u8> {
        frames::ethernet(
            HOST_MAC,
            LAN_MAC,
            tags,
            self.ends.ethertype(),
            &self.packet(),
        )
    }
}

/// Makes a probe and its frames.
pub trait Craft: Fn() -> (Probe, Vec<Vec<u8>>) + Send {}
impl<F: Fn() -> (Probe, Vec<Vec<u8>>) + Send> Craft for F {}

/// Probes from the LAN neighbour and looks for the answer there.
pub fn from_lan<'lab>(
    lab: &'lab Lab,
    keep: impl Send + 'lab,
    craft: impl Craft + 'lab,
) -> Result<Attempt<'lab>> {
    let wire = Wire::open(&lab.lan, "eth0")?;
    Ok(Box::new(move |patience| {
        let _services = &keep;
        send_probe(&wire, &wire, patience, &craft)
    }))
}

/// Probes from the LAN neighbour under the address of the trusted peer, where the answers go.
pub fn from_lan_as_peer<'lab>(
    lab: &'lab Lab,
    keep: impl Send + 'lab,
    craft: impl Craft + 'lab,
) -> Result<Attempt<'lab>> {
    let wire = Wire::open(&lab.lan, "eth0")?;
    let answers = Wire::open(&lab.peer, "wg0")?;
    Ok(Box::new(move |patience| {
        let _services = &keep;
        send_probe(&wire, &answers, patience, &craft)
    }))
}

/// Probes from the far end of the trusted link, and looks for the answer there.
pub fn from_peer<'lab>(
    lab: &'lab Lab,
    keep: impl Send + 'lab,
    craft: impl Craft + 'lab,
) -> Result<Attempt<'lab>> {
    let wire = Wire::open(&lab.peer, "wg0")?;
    Ok(Box::new(move |patience| {
        let _services = &keep;
        send_probe(&wire, &wire, patience, &craft)
    }))
}

/// Sends and listens, again and again if the patience is long.
pub fn send_probe(
    wire: &Wire,
    answers: &Wire,
    patience: Patience,
    craft: &impl Fn() -> (Probe, Vec<Vec<u8>>),
) -> Result<Outcome> {
    let end = Instant::now() + patience.limit();
    loop {
        let (probe, frames) = craft();
        for frame in &frames {
            wire.send(frame)?;
        }
        let deadline = end.min(Instant::now() + Duration::from_millis(500));
        match answers.expect(deadline, |frame| reply_in(frame, probe.port, probe.source))? {
            Some(Reply::SynAck) => return Ok(Outcome::Answered("a SYN-ACK".into())),
            Some(Reply::Datagram) => return Ok(Outcome::Answered("a datagram".into())),
            Some(Reply::Rejection) => return Ok(Outcome::Refused),
            None if Instant::now() >= end => return Ok(Outcome::Silent),
            None => {}
        }
    }
}

/// The Ethernet address of a multicast or broadcast address.
pub fn group_mac(group: IpAddr) -> Mac {
    match group {
        IpAddr::V4(group) if group.is_multicast() => {
            let [_, b, c, d] = group.octets();
            [0x01, 0, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V4(_) => [0xff; 6],
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}
