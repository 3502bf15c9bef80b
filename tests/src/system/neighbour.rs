//! Attack A9, seen from outside: a host on the guest's wire that tries its ports from the first
//! frame of the boot on.
//!
//! QEMU's `-netdev stream` carries frames over a Unix socket, each after its length in four bytes,
//! big-endian (qemu/net/stream.c). Nothing here needs root.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

use super::listener::PORTS;
use crate::lab::frames::{self, Ends, IPV4, IPV6, Mac, number};

/// The guest; `cargo xtask vm --system` gives it this MAC address, and systemd-networkd these
/// addresses.
pub(super) const GUEST_MAC: Mac = [0x52, 0x54, 0, 0, 0x78, 1];
const GUEST: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 1);
const GUEST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 1);
/// The neighbour.
const MAC: Mac = [0x52, 0x54, 0, 0, 0x78, 2];
const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 2);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 2);

/// Pause between two rounds; a round is a SYN over IPv4 and another over IPv6 to each port.
const PACE: Duration = Duration::from_millis(30);
/// Limit of the rounds, however long the guest lives.
const MOST: u64 = 60_000;

/// Result of the attack.
#[derive(Default)]
pub(super) struct Tally {
    syns: AtomicU64,
    frames: AtomicU64,
    resolved: AtomicU64,
    syn_acks: AtomicU64,
    bytes: AtomicU64,
    over: AtomicBool,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "neighbour: syns={} frames={} resolved={} syn-acks={} bytes={}",
            get(&self.syns),
            get(&self.frames),
            get(&self.resolved),
            get(&self.syn_acks),
            get(&self.bytes)
        )
    }
}

/// Waits for a guest and attacks until the guest is gone.
pub(super) fn run(path: &Path) -> Result<Tally> {
    let listener =
        UnixListener::bind(path).with_context(|| format!("failed to make {}", path.display()))?;
    println!("neighbour: waiting");
    let (stream, _) = listener.accept().context("no guest came")?;
    let sender = stream.try_clone()?;
    let tally = Tally::default();
    thread::scope(|scope| {
        scope.spawn(|| attack(&sender, &tally));
        let done = attend(&stream, &tally);
        tally.over.store(true, Ordering::Relaxed);
        done
    })
    .context("the wire broke")?;
    Ok(tally)
}

/// Sends round after round, each from fresh ports.
fn attack(stream: &UnixStream, tally: &Tally) {
    let ends = [Ends::V4(OWN, GUEST), Ends::V6(OWN6, GUEST6)];
    let mut source = 20_000;
    let mut next = Instant::now();
    while !tally.over.load(Ordering::Relaxed) && tally.syns.load(Ordering::Relaxed) < MOST {
        for (port, ends) in PORTS.iter().flat_map(|port| ends.map(|ends| (port, ends))) {
            let segment = frames::tcp_syn(ends, source, *port);
            let packet = ends.packet(number::TCP, &segment);
            if send(stream, ends.ethertype(), &packet).is_err() {
                return;
            }
            tally.syns.fetch_add(1, Ordering::Relaxed);
            source = if source < 60_000 { source + 1 } else { 20_000 };
        }
        // Rounds that a slow QEMU missed are not made up for.
        next = (next + PACE).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Answers address queries, and counts the guest's packets.
fn attend(stream: &UnixStream, tally: &Tally) -> io::Result<()> {
    let mut reader = io::BufReader::new(stream);
    let mut open = BTreeSet::new();
    loop {
        let mut length = [0; 4];
        match reader.read_exact(&mut length) {
            Ok(()) => {}
            // The guest is gone.
            Err(_) => return Ok(()),
        }
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or(0)];
        if reader.read_exact(&mut frame).is_err() {
            return Ok(());
        }
        tally.frames.fetch_add(1, Ordering::Relaxed);
        if let Some((ethertype, answer)) = arp_reply(&frame).or_else(|| advertisement(&frame)) {
            tally.resolved.fetch_add(1, Ordering::Relaxed);
            send(stream, ethertype, &answer).ok();
        } else if let Some((ethertype, answer)) = converse(&frame, &mut open, tally) {
            send(stream, ethertype, &answer).ok();
        }
    }
}

/// Counts SYN-ACKs and later segments, and plays a client that goes on.
fn converse(
    frame: &[u8],
    open: &mut BTreeSet<(bool, u16, u16)>,
    tally: &Tally,
) -> Option<(u16, Vec<u8>)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let is_v4 = matches!(packet.net, Some(NetSlice::Ipv4(_)));
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
        return None;
    };
    if !PORTS.contains(&tcp.source_port()) {
        return None;
    }
    let connection = (is_v4, tcp.source_port(), tcp.destination_port());
    if tcp.syn() && tcp.ack() {
        tally.syn_acks.fetch_add(1, Ordering::Relaxed);
        open.insert(connection);
    } else if open.contains(&connection) {
        let bytes = u64::try_from(tcp.payload().len()).unwrap_or(0);
        tally.bytes.fetch_add(bytes, Ordering::Relaxed);
        return None;
    } else {
        return None;
    }
    let builder = if is_v4 {
        PacketBuilder::ipv4(OWN.octets(), GUEST.octets(), 64)
    } else {
        PacketBuilder::ipv6(OWN6.octets(), GUEST6.octets(), 64)
    };
    let builder = builder
        .tcp(
            tcp.destination_port(),
            tcp.source_port(),
            tcp.acknowledgment_number(),
            0xffff,
        )
        .ack(tcp.sequence_number().wrapping_add(1));
    let mut answer = Vec::new();
    builder.write(&mut answer, &[]).ok()?;
    Some((if is_v4 { IPV4 } else { IPV6 }, answer))
}

const ARP: u16 = 0x0806;
const ICMPV6: u8 = 58;

/// The answer to an ARP request (RFC 826) for our address.
fn arp_reply(frame: &[u8]) -> Option<(u16, Vec<u8>)> {
    let request = frame.get(14..42)?;
    let asks = frame.get(12..14)? == ARP.to_be_bytes()
        && request.get(6..8)? == [0, 1]
        && request.get(24..28)? == OWN.octets();
    if !asks {
        return None;
    }
    let mut reply = vec![0, 1, 8, 0, 6, 4, 0, 2];
    reply.extend(MAC);
    reply.extend(OWN.octets());
    reply.extend(request.get(8..18)?);
    Some((ARP, reply))
}

/// The answer to a neighbour solicitation (RFC 4861, 4.3 and 4.4) for our address.
fn advertisement(frame: &[u8]) -> Option<(u16, Vec<u8>)> {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    /// Flags: solicited, override.
    const SOLICITED: [u8; 4] = [0x60, 0, 0, 0];
    /// Only packets that no router has passed on count.
    const HOPS: u8 = 255;
    let is_v6 = frame.get(12..14)? == IPV6.to_be_bytes();
    let asks = is_v6
        && *frame.get(20)? == ICMPV6
        && *frame.get(54)? == SOLICITATION
        && frame.get(62..78)? == OWN6.octets();
    if !asks {
        return None;
    }
    let asker: [u8; 16] = frame.get(22..38)?.try_into().ok()?;
    // The target, and our MAC address as an option of eight bytes.
    let mut body = OWN6.octets().to_vec();
    body.extend([2, 1]);
    body.extend(MAC);
    let mut answer = Vec::new();
    PacketBuilder::ipv6(OWN6.octets(), asker, HOPS)
        .icmpv6_raw(ADVERTISEMENT, 0, SOLICITED)
        .write(&mut answer, &body)
        .ok()?;
    Some((IPV6, answer))
}

fn send(mut stream: &UnixStream, ethertype: u16, packet: &[u8]) -> io::Result<()> {
    let frame = frames::ethernet(GUEST_MAC, MAC, &[], ethertype, packet);
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    // A single write, as two threads send.
    let mut message = length.to_be_bytes().to_vec();
    message.extend(frame);
    stream.write_all(&message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_is_answered_for_our_address_only() {
        let mut frame = vec![0xff; 6];
        frame.extend(GUEST_MAC);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(GUEST_MAC);
        frame.extend(GUEST.octets());
        frame.extend([0; 6]);
        frame.extend(OWN.octets());
        let (ethertype, reply) = arp_reply(&frame).unwrap();
        assert_eq!((ethertype, reply.len()), (ARP, 28));
        assert_eq!(reply[18..24], GUEST_MAC);
        assert_eq!(reply[24..28], GUEST.octets());
        frame[41] = 9;
        assert!(arp_reply(&frame).is_none());
    }

    #[test]
    fn a_syn_ack_is_counted_and_acknowledged() {
        let syn_ack = |port: u16| {
            let mut frame = Vec::new();
            PacketBuilder::ethernet2(GUEST_MAC, MAC)
                .ipv4(GUEST.octets(), OWN.octets(), 64)
                .tcp(port, 20_000, 7, 100)
                .syn()
                .ack(2)
                .write(&mut frame, &[])
                .unwrap();
            frame
        };
        let (mut open, tally) = (BTreeSet::new(), Tally::default());
        let (ethertype, answer) = converse(&syn_ack(9200), &mut open, &tally).unwrap();
        assert_eq!(ethertype, IPV4);
        let packet = SlicedPacket::from_ip(&answer).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
            panic!("{packet:?}");
        };
        assert_eq!((tcp.acknowledgment_number(), tcp.sequence_number()), (8, 2));
        assert!(converse(&syn_ack(22), &mut open, &tally).is_none());
        assert!(tally.to_string().contains("syn-acks=1 bytes=0"), "{tally}");
    }
}
