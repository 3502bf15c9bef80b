//! The parser: from the bytes of a frame to a [`Packet`] for the decision.
//!
//! The same code serves the wire guards, which read packet memory under the verifier's eyes, and
//! the host, which reads a slice.

mod chain;
mod fields;
mod link;
#[cfg(test)]
mod tests;

use chain::{extension_headers, is_extension};
pub use fields::{
    claimed_length, destination, opens, opens_association, source, source_port, traffic_class,
    transport_header,
};
pub use link::{Link, VlanIds, parse};

use crate::{
    address::Address,
    words::{Protocol, Reason},
};

/// Read access to a packet, by offset in bytes from its first byte.
pub trait Bytes {
    /// The `N` bytes at `offset`, `None` where the packet ends earlier.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The same offset as an unknown scalar below a bound.
    ///
    /// The verifier walks the code behind an offset once for each value that it tells apart. An
    /// unknown scalar is one value, and a load takes a fraction of the time. On the host the offset
    /// stays as it is.
    #[inline(always)]
    fn unknown_offset(&self, offset: usize) -> usize {
        offset
    }
}

impl Bytes for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// A parsed packet: the facts for every decision.
///
/// Addresses are read later, by [`source`] and [`destination`]: most packets are judged without
/// them. Every field always has a value: the verifier wants each byte of a return value to be
/// written, and LLVM packs a `Result` with bytes that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whether the source or the destination is a loopback address.
    pub loopback: bool,
    /// The offset in bytes of the IP header, for [`source`] and [`destination`], or
    /// [`NO_IP_HEADER`]. One byte, so that the verifier sees the bound.
    pub ip_offset: u8,
    /// The offset in bytes of the transport header, for [`opens`] and the source port; 0 where the
    /// parser found no port.
    pub transport_offset: u16,
    /// The transport protocol and the destination port.
    pub transport: Transport,
}

/// The offset of a packet without an IP header that the parser could read: no address is read
/// there. Offset 0 would read a MAC address, or one of two readings.
pub const NO_IP_HEADER: u8 = u8::MAX;

/// The transport protocol of a packet, and the destination port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The transport protocol, or the reason for the lack of a port.
    pub kind: Kind,
    /// The destination port in host byte order; 0 where the kind is no protocol.
    pub port: u16,
}

/// The kinds of [`Transport`]: a protocol, or the reason for the lack of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Protocol::Tcp`].
    Tcp,
    /// [`Protocol::Udp`].
    Udp,
    /// [`Protocol::Sctp`].
    Sctp,
    /// [`Reason::Fragment`].
    Fragment,
    /// [`Reason::Tagged`].
    Tagged,
    /// [`Reason::OtherProtocol`].
    OtherProtocol,
    /// [`Reason::HeaderChain`].
    HeaderChain,
    /// [`Reason::Malformed`].
    Malformed,
}

impl Transport {
    /// A transport protocol and its destination port.
    #[inline(always)]
    pub const fn new(protocol: Protocol, port: u16) -> Self {
        let kind = match protocol {
            Protocol::Tcp => Kind::Tcp,
            Protocol::Udp => Kind::Udp,
            Protocol::Sctp => Kind::Sctp,
        };
        Self { kind, port }
    }

    #[inline(always)]
    const fn none(kind: Kind) -> Self {
        Self { kind, port: 0 }
    }

    /// The protocol, or the reason for the lack of a port.
    ///
    /// # Errors
    /// `fragment`, `tagged`, `other-protocol`, `header-chain` or `malformed`.
    #[inline(always)]
    pub const fn protocol(&self) -> Result<Protocol, Reason> {
        match self.kind {
            Kind::Tcp => Ok(Protocol::Tcp),
            Kind::Udp => Ok(Protocol::Udp),
            Kind::Sctp => Ok(Protocol::Sctp),
            Kind::Fragment => Err(Reason::Fragment),
            Kind::Tagged => Err(Reason::Tagged),
            Kind::OtherProtocol => Err(Reason::OtherProtocol),
            Kind::HeaderChain => Err(Reason::HeaderChain),
            Kind::Malformed => Err(Reason::Malformed),
        }
    }
}

impl Packet {
    /// The packet of a frame without a readable IP header.
    #[inline(always)]
    const fn none(kind: Kind) -> Self {
        Self {
            loopback: false,
            ip_offset: NO_IP_HEADER,
            transport_offset: 0,
            transport: Transport::none(kind),
        }
    }

    /// All fields in one number, for [`Self::from_bits`].
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        (self.transport.kind as u64)
            | (self.ip_offset as u64) << 8
            | (self.transport.port as u64) << 16
            | (self.loopback as u64) << 32
            | (self.transport_offset as u64) << 40
    }

    /// The packet of [`Self::to_bits`]; an unknown kind is `malformed`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out")]
    pub const fn from_bits(bits: u64) -> Self {
        let kind = match bits as u8 {
            0 => Kind::Tcp,
            1 => Kind::Udp,
            2 => Kind::Sctp,
            3 => Kind::Fragment,
            4 => Kind::Tagged,
            5 => Kind::OtherProtocol,
            6 => Kind::HeaderChain,
            _ => Kind::Malformed,
        };
        Self {
            loopback: bits >> 32 & 1 != 0,
            ip_offset: (bits >> 8) as u8,
            transport_offset: (bits >> 40) as u16,
            transport: Transport {
                kind,
                port: (bits >> 16) as u16,
            },
        }
    }

    /// The same packet behind one more priority tag, which is not in the frame's bytes.
    #[must_use]
    #[inline(always)]
    pub const fn with_outer_tag(self, link: Link) -> Self {
        // One tag too many, if the bytes already hold the maximum.
        if self.ip_offset == link.header_length() + MAX_TAG_BYTES {
            return Self::none(Kind::HeaderChain);
        }
        self
    }

    /// Whether a VLAN id ended the parse.
    #[inline(always)]
    pub const fn is_tagged(&self) -> bool {
        matches!(self.transport.kind, Kind::Tagged)
    }

    /// Whether the parser may have run out of bytes: a reader of the linear part alone may parse
    /// again from the whole buffer.
    #[inline(always)]
    pub const fn may_be_truncated(&self) -> bool {
        matches!(self.transport.kind, Kind::HeaderChain | Kind::Malformed)
    }
}

/// The maximum number of IPv6 extension headers; Linux itself has no limit.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// The maximum number of priority tags (VLAN id 0); Linux itself has no limit.
pub const MAX_PRIORITY_TAGS: usize = 4;

/// The length in bytes of the maximum number of tags.
#[expect(clippy::cast_possible_truncation, reason = "4")]
const MAX_TAG_BYTES: u8 = 4 * MAX_PRIORITY_TAGS as u8;

/// The version field of the IP header at `ip_offset`.
#[inline(always)]
fn version<B: Bytes + ?Sized>(bytes: &B, ip_offset: usize) -> Option<u8> {
    if ip_offset == usize::from(NO_IP_HEADER) {
        return None;
    }
    // Two bytes, of which the second is unused: from a comparison of the first byte alone with the
    // packet's end the verifier learns nothing (find_good_pkt_pointers in verifier.c).
    let [first, _] = bytes.read(ip_offset)?;
    Some(first >> 4)
}

/// Parses an IPv4 packet (RFC 791).
#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> Packet {
    let offset = usize::from(ip_offset);
    let Some(fields) = bytes.read::<20>(offset) else {
        return Packet::none(Kind::Malformed);
    };
    let [h0, _, _, _, _, _, f0, f1, _, protocol, ..] = fields;
    let [.., s0, _, _, _, d0, _, _, _] = fields;
    let header_length = usize::from(h0 & 0x0f) * 4;
    if h0 >> 4 != 4 || header_length < 20 {
        return Packet::none(Kind::Malformed);
    }
    let fragment_offset = u16::from_be_bytes([f0, f1]) & 0x1fff;
    let (transport, transport_offset) = if fragment_offset == 0 {
        // Without the total length: a first fragment that the stack accepts brings eight bytes of
        // payload (ip_frag_queue in net/ipv4/ip_fragment.c), ports included.
        transport(bytes, offset + header_length, protocol, Kind::Malformed)
    } else {
        (Transport::none(Kind::Fragment), 0)
    };
    Packet {
        // 127.0.0.0/8 (RFC 1122, 3.2.1.3).
        loopback: s0 == 127 || d0 == 127,
        ip_offset,
        transport_offset,
        transport,
    }
}

/// Parses an IPv6 packet (RFC 8200).
#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> Packet {
    let offset = usize::from(ip_offset);
    let Some([v, _, _, _, _, _, next, _]) = bytes.read(offset) else {
        return Packet::none(Kind::Malformed);
    };
    // The header's end, before the single reads below.
    if bytes.read::<2>(offset + 38).is_none() || v >> 4 != 6 {
        return Packet::none(Kind::Malformed);
    }
    let (transport, transport_offset) = if is_extension(next) {
        let packet = Packet::from_bits(extension_headers(bytes, ip_offset, next));
        (packet.transport, packet.transport_offset)
    } else {
        transport(bytes, offset + 40, next, Kind::Malformed)
    };
    Packet {
        loopback: is_v6_loopback(bytes, offset + 8) || is_v6_loopback(bytes, offset + 24),
        ip_offset,
        transport_offset,
        transport,
    }
}

/// Whether the IPv6 address at `offset` is a loopback address.
///
/// Half by half: few addresses begin with zeros, and BPF loads an address byte by byte.
#[inline(always)]
fn is_v6_loopback<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> bool {
    bytes.read(offset) == Some([0; 8])
        && bytes
            .read(offset + 8)
            .is_some_and(|low| Address::v6(0, u64::from_be_bytes(low)).is_loopback())
}

/// The transport at `offset`, and the offset; `short` is the kind of a packet that ends before the
/// ports.
///
/// TCP (RFC 9293), UDP (RFC 768), UDP-Lite (RFC 3828) and SCTP (RFC 9260) all begin with the
/// source port and the destination port, 16 bits each.
#[inline(always)]
fn transport<B: Bytes + ?Sized>(
    bytes: &B,
    offset: usize,
    protocol: u8,
    short: Kind,
) -> (Transport, u16) {
    let Some(protocol) = Protocol::from_ip_number(protocol) else {
        return (Transport::none(Kind::OtherProtocol), 0);
    };
    let Some([_, _, high, low]) = bytes.read(offset) else {
        return (Transport::none(short), 0);
    };
    #[expect(clippy::cast_possible_truncation, reason = "headers are short")]
    let offset = offset as u16;
    (
        Transport::new(protocol, u16::from_be_bytes([high, low])),
        offset,
    )
}

/// The big-endian 64-bit word at `offset`, which must lie within the bytes.
#[inline(always)]
const fn word<const N: usize>(bytes: &[u8; N], offset: usize) -> u64 {
    u64::from_be_bytes([
        bytes[offset],
        bytes[offset + 1],
        bytes[offset + 2],
        bytes[offset + 3],
        bytes[offset + 4],
        bytes[offset + 5],
        bytes[offset + 6],
        bytes[offset + 7],
    ])
}
