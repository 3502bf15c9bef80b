//! Further fields of a parsed packet: addresses, length, source port, first packets.

use super::{Bytes, Kind, Packet, extension_headers, is_extension, version, word};
use crate::{address::Address, words::Protocol};

/// The source address in the IP header at `ip_offset`.
///
/// `None` where no IPv4 or IPv6 header stands there, or the bytes end within the address.
#[inline(always)]
pub fn source<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> Option<Address> {
    let ip_offset = usize::from(ip_offset);
    match version(bytes, ip_offset)? {
        4 => bytes.read(ip_offset + 12).map(Address::v4),
        6 => bytes.read(ip_offset + 8).map(v6),
        _ => None,
    }
}

/// The length in bytes from the first byte to the end of the packet, by the claim of the IP header
/// at `ip_offset`.
///
/// `None` without a claim: the field is 0 in segments of over 64 KiB after receive offload ("BIG
/// TCP", Linux 6.3 for IPv4) and in jumbograms (RFC 2675).
#[inline(always)]
pub fn claimed_length<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> Option<usize> {
    let ip_offset = usize::from(ip_offset);
    let (length, start) = match version(bytes, ip_offset)? {
        4 => (bytes.read(ip_offset + 2)?, ip_offset),
        6 => (bytes.read(ip_offset + 4)?, ip_offset + 40),
        _ => return None,
    };
    match u16::from_be_bytes(length) {
        0 => None,
        length => Some(start + usize::from(length)),
    }
}

/// The destination address in the IP header at `ip_offset`, as [`source`].
#[inline(always)]
pub fn destination<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> Option<Address> {
    let ip_offset = usize::from(ip_offset);
    match version(bytes, ip_offset)? {
        4 => bytes.read(ip_offset + 16).map(Address::v4),
        6 => bytes.read(ip_offset + 24).map(v6),
        _ => None,
    }
}

#[inline(always)]
const fn v6(octets: [u8; 16]) -> Address {
    Address::v6(word(&octets, 0), word(&octets, 8))
}

/// The source port of the packet with the IP header at `ip_offset`.
///
/// `None` in later fragments, behind a header chain that the parser refuses, and for protocols
/// without ports.
pub fn source_port<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> Option<u16> {
    let (_, offset) = transport_header(bytes, ip_offset)?;
    bytes.read(offset).map(u16::from_be_bytes)
}

/// The transport protocol behind the IP header at `ip_offset` and its IPv6 extension headers, and
/// the offset in bytes of the transport header; `None` as in [`source_port`].
#[inline(always)]
pub fn transport_header<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> Option<(Protocol, usize)> {
    let ip_header = usize::from(ip_offset);
    let (offset, number) = match version(bytes, ip_header)? {
        4 => {
            let [first, _] = bytes.read(ip_header)?;
            let [high, low, _, protocol] = bytes.read(ip_header + 6)?;
            if u16::from_be_bytes([high, low]) & 0x1fff != 0 {
                return None;
            }
            (ip_header + usize::from(first & 0x0f) * 4, protocol)
        }
        6 => {
            let [next, _] = bytes.read(ip_header + 6)?;
            if is_extension(next) {
                let packet = Packet::from_bits(extension_headers(bytes, ip_offset, next));
                let protocol = packet.transport.protocol().ok()?;
                return Some((protocol, packet.transport_offset.into()));
            }
            (ip_header + 40, next)
        }
        _ => return None,
    };
    Some((Protocol::from_ip_number(number)?, offset))
}

/// Whether an SCTP packet at a listening socket opens an association; `protocol` and `header` are
/// those of [`transport_header`].
///
/// A one-to-many socket (RFC 6458, 3) that listens also carries the associations that the socket
/// itself has opened, and its state stays LISTEN (`sctp_rcv` in net/sctp/input.c hands the
/// association's socket to the filter). INIT comes alone, and COOKIE ECHO comes first (RFC 9260,
/// 3.3.2 and 5.1) or behind its AUTH chunk (RFC 4895, 6.3; `sctp_endpoint_bh_rcv` in
/// net/sctp/endpointola.c). A packet whose chunks cannot be read counts as an opening one.
#[inline(always)]
pub fn opens_association<B: Bytes + ?Sized>(
    bytes: &B,
    (protocol, header): (Protocol, usize),
) -> bool {
    const INIT: u8 = 1;
    const COOKIE_ECHO: u8 = 10;
    const AUTH: u8 = 15;
    /// Bytes of the longest AUTH chunk that a peer sends: a header of eight, and an HMAC.
    const MAX_AUTH: u16 = 8 + 64;
    const UDP_HEADER: usize = 8;
    // RFC 6951: SCTP within UDP.
    let header = match protocol {
        Protocol::Udp => header + UDP_HEADER,
        _ => header,
    };
    let first_chunk = header + 12;
    let Some([kind, _, high, low]) = bytes.read(first_chunk) else {
        return true;
    };
    if kind != AUTH {
        return matches!(kind, INIT | COOKIE_ECHO);
    }
    let length = u16::from_be_bytes([high, low]);
    if length > MAX_AUTH {
        return true;
    }
    let second_chunk = first_chunk + usize::from(length).next_multiple_of(4);
    match bytes.read(second_chunk) {
        Some([kind, _]) => matches!(kind, INIT | COOKIE_ECHO),
        None => true,
    }
}

/// Whether a TCP or SCTP packet opens a connection.
///
/// TCP: SYN without ACK, whatever other flags are set (RFC 9293, 3.10.7.2). SCTP: the first chunk is
/// INIT, which comes alone (RFC 9260, 3.3.2). A packet that ends before these fields counts as an
/// opening one. UDP has no mark of a first packet: the answer here is `false`, and the guards ask for the
/// socket.
///
/// The packet ends where the IP header says, not where the frame does: behind a first fragment of
/// eight bytes the padding could show other flags than the next fragment brings.
#[inline(always)]
pub fn opens<B: Bytes + ?Sized>(bytes: &B, packet: &Packet) -> bool {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    const INIT: u8 = 1;
    let offset = usize::from(packet.transport_offset) + 12;
    if claimed_length(bytes, packet.ip_offset).is_some_and(|end| offset + 2 > end) {
        return matches!(packet.transport.kind, Kind::Tcp | Kind::Sctp);
    }
    // Two bytes, as in `version`.
    let fields = bytes.read(offset);
    match packet.transport.kind {
        Kind::Tcp => fields.is_none_or(|[_, flags]| flags & (SYN | ACK) == SYN),
        Kind::Sctp => fields.is_none_or(|[chunk, _]| chunk == INIT),
        _ => false,
    }
}

/// The TOS field of IPv4 (RFC 791), or the traffic class of IPv6 (RFC 8200), of the IP header at
/// `ip_offset`; 0 where the bytes end within it.
#[inline(always)]
pub fn traffic_class<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> u8 {
    match bytes.read(ip_offset.into()) {
        Some([first, second]) if first >> 4 == 4 => second,
        Some([first, second]) => first << 4 | second >> 4,
        None => 0,
    }
}
