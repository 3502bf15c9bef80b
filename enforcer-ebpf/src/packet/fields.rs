//! What else a parsed packet holds, for whoever asks: addresses, length, source port.

use super::{Bytes, version, word};
use crate::{address::Address, words::Protocol};

/// The source address of the IP header at offset `header`.
///
/// `None` for what is neither IPv4 nor IPv6, or ends before the address does.
#[inline(always)]
pub fn source<B: Bytes + ?Sized>(bytes: &B, header: u8) -> Option<Address> {
    let header = usize::from(header);
    match version(bytes, header)? {
        4 => bytes.read(header + 12).map(Address::v4),
        6 => bytes.read(header + 8).map(v6),
        _ => None,
    }
}

/// The length in bytes from the first byte to the end that the IP header at offset `header` claims.
///
/// `None` where it claims none: 0 stands in segments of over 64 KiB after receive offload ("BIG
/// TCP", Linux 6.3 for IPv4) and in jumbograms (RFC 2675).
#[inline(always)]
pub fn claimed_length<B: Bytes + ?Sized>(bytes: &B, header: u8) -> Option<usize> {
    let header = usize::from(header);
    let (length, start) = match version(bytes, header)? {
        4 => (bytes.read(header + 2)?, header),
        6 => (bytes.read(header + 4)?, header + 40),
        _ => return None,
    };
    match u16::from_be_bytes(length) {
        0 => None,
        length => Some(start + usize::from(length)),
    }
}

/// The destination address of the IP header at offset `header`, as [`source`].
#[inline(always)]
pub fn destination<B: Bytes + ?Sized>(bytes: &B, header: u8) -> Option<Address> {
    let header = usize::from(header);
    match version(bytes, header)? {
        4 => bytes.read(header + 16).map(Address::v4),
        6 => bytes.read(header + 24).map(v6),
        _ => None,
    }
}

#[inline(always)]
const fn v6(octets: [u8; 16]) -> Address {
    Address::v6(word(&octets, 0), word(&octets, 8))
}

/// The source port of the packet whose IP header is at offset `header`, for a person to read.
///
/// `None` behind IPv6 extension headers, in later fragments and where there is none.
pub fn source_port<B: Bytes + ?Sized>(bytes: &B, header: u8) -> Option<u16> {
    let header = usize::from(header);
    let (offset, protocol) = match version(bytes, header)? {
        4 => {
            let [first, _] = bytes.read(header)?;
            let [high, low, _, protocol] = bytes.read(header + 6)?;
            if u16::from_be_bytes([high, low]) & 0x1fff != 0 {
                return None;
            }
            (header + usize::from(first & 0x0f) * 4, protocol)
        }
        6 => {
            let [next, _] = bytes.read(header + 6)?;
            (header + 40, next)
        }
        _ => return None,
    };
    Protocol::from_ip_number(protocol)?;
    bytes.read(offset).map(u16::from_be_bytes)
}
