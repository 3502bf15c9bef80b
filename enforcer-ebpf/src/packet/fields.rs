//! Further fields of a parsed packet: addresses, length, source port.

use super::{Bytes, Kind, Packet, version, word};
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

/// The source port of the packet with the IP header at `ip_offset`, for display only.
///
/// `None` behind IPv6 extension headers, in later fragments, and for protocols without ports.
pub fn source_port<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> Option<u16> {
    let ip_offset = usize::from(ip_offset);
    let (offset, protocol) = match version(bytes, ip_offset)? {
        4 => {
            let [first, _] = bytes.read(ip_offset)?;
            let [high, low, _, protocol] = bytes.read(ip_offset + 6)?;
            if u16::from_be_bytes([high, low]) & 0x1fff != 0 {
                return None;
            }
            (ip_offset + usize::from(first & 0x0f) * 4, protocol)
        }
        6 => {
            let [next, _] = bytes.read(ip_offset + 6)?;
            (ip_offset + 40, next)
        }
        _ => return None,
    };
    Protocol::from_ip_number(protocol)?;
    bytes.read(offset).map(u16::from_be_bytes)
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
