//! The chain of IPv6 extension headers.

use super::{Bytes, Kind, MAX_EXTENSION_HEADERS, Packet, transport};
use crate::words::Protocol;

/// Extension headers (RFC 8200, 4; IANA, IPv6 Extension Header Types) that Linux walks through.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Parses the extension headers and the transport behind the IPv6 header at `ip_offset`; `first` is
/// the type of the first extension header.
///
/// Not inlined in the kernel: few packets have such a chain, and the verifier walks this function
/// once, not once for each path that leads here. The result is the transport and the transport's
/// offset as [`Packet::to_bits`] has them: every byte of a number is written.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub(super) fn extension_headers<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8, first: u8) -> u64 {
    let none = |kind| Packet::none(kind).to_bits();
    let start = usize::from(ip_offset) + 40;
    let mut next = first;
    let mut offset = start;
    let mut end = usize::MAX;
    // The kind of a chain that ends too early.
    let mut short = Kind::Malformed;
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !is_extension(next) {
            break;
        }
        if offset + 8 > end {
            return none(short);
        }
        let Some([following, length, high, low]) = bytes.read(offset) else {
            return none(short);
        };
        offset += match next {
            FRAGMENT => {
                let offset_and_flags = u16::from_be_bytes([high, low]);
                if offset_and_flags >> 3 != 0 {
                    return none(Kind::Fragment);
                }
                if offset_and_flags & 1 == 1 {
                    // RFC 7112: the first fragment holds the whole chain. The bytes behind its
                    // payload are padding, and could show other ports than the next fragment
                    // brings.
                    short = Kind::HeaderChain;
                    let Some(payload) = payload_length(bytes, ip_offset) else {
                        return none(short);
                    };
                    end = start + payload;
                }
                8
            }
            // RFC 4302, 2.2: the length in words of four bytes, minus two.
            AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        next = following;
        offset = bytes.unknown_offset(offset);
    }
    if is_extension(next) {
        return none(Kind::HeaderChain);
    }
    if offset + 4 > end && Protocol::from_ip_number(next).is_some() {
        return none(short);
    }
    let (transport, transport_offset) = transport(bytes, offset, next, short);
    Packet {
        transport_offset,
        transport,
        ..Packet::none(Kind::Malformed)
    }
    .to_bits()
}

#[inline(always)]
pub(super) const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
    )
}

/// The payload length of the IPv6 header at `ip_offset`: the number of bytes behind that header.
///
/// A fragment with length 0 has no payload: a jumbogram has no Fragment header (RFC 2675, 3).
#[inline(always)]
fn payload_length<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> Option<usize> {
    bytes
        .read(usize::from(ip_offset) + 4)
        .map(|length| usize::from(u16::from_be_bytes(length)))
}
