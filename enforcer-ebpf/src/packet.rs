//! From the bytes of a frame to what the decision asks of it.
//!
//! One walk serves the wire guards, which read packet memory under the verifier's eyes, and the
//! host, which reads a slice.

mod chain;
mod fields;

use chain::{extension_headers, is_extension};
pub use fields::{claimed_length, destination, source, source_port};

use crate::{
    address::Address,
    words::{Protocol, Reason},
};

/// Read access to a packet, by offset in bytes from its first byte.
pub trait Bytes {
    /// The `N` bytes at `offset`, `None` where the packet ends before.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The same offset, of which the verifier knows nothing any more but a bound.
    ///
    /// It would walk all that follows once for each value that it can tell apart; this makes them
    /// one, and a load takes a fraction of the time. On the host there is nobody to deceive.
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

/// What stands at the first byte of a packet, which only the interface's type can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header (IEEE 802.3).
    Ethernet,
    /// An IP header: WireGuard, tun and other devices without a link-layer header.
    Ip,
}

/// A packet, as far as every decision needs to know it.
///
/// The addresses stay where they are until somebody asks: most packets are judged without them.
/// Every field has a value in every case: the verifier wants each byte that a function returns to
/// be written, and LLVM packs a `Result` with bits that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whether the source or the destination is a loopback address.
    pub loopback: bool,
    /// The offset in bytes of the IP header, if it got that far: what [`source`] and
    /// [`destination`] ask for. One byte, so that the verifier sees its bound.
    pub ip_offset: u8,
    /// What it carries.
    pub transport: Transport,
}

/// What a packet carries, and where that wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The transport protocol, or why there is no port to judge by.
    pub kind: Kind,
    /// The destination port, in host byte order; 0 where the kind is no protocol.
    pub port: u16,
}

/// The kinds of [`Transport`]: a protocol, or the reason for having none.
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

    /// The protocol, or the reason for which there is none.
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
    /// What is not a packet with addresses.
    #[inline(always)]
    const fn none(kind: Kind) -> Self {
        Self {
            loopback: false,
            ip_offset: 0,
            transport: Transport::none(kind),
        }
    }

    /// All of it in one number, for [`Self::from_bits`].
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        (self.transport.kind as u64)
            | (self.ip_offset as u64) << 8
            | (self.transport.port as u64) << 16
            | (self.loopback as u64) << 32
    }

    /// The packet of [`Self::to_bits`]; a kind that there is not is malformed.
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
            transport: Transport {
                kind,
                port: (bits >> 16) as u16,
            },
        }
    }

    /// The same frame, before which one more priority tag stood that is not in its bytes.
    #[must_use]
    #[inline(always)]
    pub const fn with_outer_tag(self) -> Self {
        // That makes one too many if the bytes showed as many as are looked through.
        if self.ip_offset as usize == 14 + 4 * MAX_PRIORITY_TAGS {
            return Self::none(Kind::HeaderChain);
        }
        self
    }

    /// Whether the walk may have ended because the bytes did: who can see only the front of a
    /// packet may try again with all of it.
    #[inline(always)]
    pub const fn may_be_truncated(&self) -> bool {
        matches!(self.transport.kind, Kind::HeaderChain | Kind::Malformed)
    }
}

/// How many IPv6 extension headers are walked; Linux itself has no limit.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// How many priority tags (VLAN id 0) are looked through; Linux itself has no limit.
pub const MAX_PRIORITY_TAGS: usize = 4;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q and 802.1ad.
const ETHERTYPE_VLAN: [u16; 2] = [0x8100, 0x88a8];
/// The low 12 bits of a tag are the VLAN id; 0 marks a priority tag (IEEE 802.1Q, 9.6).
const VLAN_ID: u16 = 0x0fff;

/// Reads a packet up to its destination port.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(bytes: &B, link: Link) -> Packet {
    match link {
        Link::Ethernet => ethernet(bytes),
        Link::Ip => match version(bytes, 0) {
            Some(4) => ipv4(bytes, 0),
            Some(6) => ipv6(bytes, 0),
            Some(_) => Packet::none(Kind::OtherProtocol),
            None => Packet::none(Kind::Malformed),
        },
    }
}

/// Looks through priority tags.
#[inline(always)]
fn ethernet<B: Bytes + ?Sized>(bytes: &B) -> Packet {
    let Some(ethertype) = bytes.read(12) else {
        return Packet::none(Kind::Malformed);
    };
    let mut ethertype = u16::from_be_bytes(ethertype);
    let mut offset = 14u8;
    for _ in 0..MAX_PRIORITY_TAGS {
        if !ETHERTYPE_VLAN.contains(&ethertype) {
            break;
        }
        let Some([a, b, c, d]) = bytes.read(offset.into()) else {
            return Packet::none(Kind::Malformed);
        };
        if u16::from_be_bytes([a, b]) & VLAN_ID != 0 {
            return Packet::none(Kind::Tagged);
        }
        ethertype = u16::from_be_bytes([c, d]);
        offset += 4;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it came as a byte")]
    let offset = bytes.unknown_offset(offset.into()) as u8;
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(bytes, offset),
        ETHERTYPE_IPV6 => ipv6(bytes, offset),
        _ if ETHERTYPE_VLAN.contains(&ethertype) => Packet::none(Kind::HeaderChain),
        _ => Packet::none(Kind::OtherProtocol),
    }
}

/// The version field of the IP header at offset `header`.
#[inline(always)]
fn version<B: Bytes + ?Sized>(bytes: &B, header: usize) -> Option<u8> {
    // Two bytes, of which the second is not looked at: a comparison of the very first byte with
    // the packet's end teaches the verifier nothing (find_good_pkt_pointers in verifier.c).
    let [first, _] = bytes.read(header)?;
    Some(first >> 4)
}

/// RFC 791.
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
    Packet {
        // 127.0.0.0/8 (RFC 1122, 3.2.1.3).
        loopback: s0 == 127 || d0 == 127,
        ip_offset,
        transport: if fragment_offset == 0 {
            // The total length is not looked at: a first fragment that the stack accepts brings
            // eight bytes of payload (ip_frag_queue in net/ipv4/ip_fragment.c), ports and all.
            transport(bytes, offset + header_length, protocol, Kind::Malformed)
        } else {
            Transport::none(Kind::Fragment)
        },
    }
}

/// RFC 8200.
#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(bytes: &B, ip_offset: u8) -> Packet {
    let offset = usize::from(ip_offset);
    let Some([v, _, _, _, _, _, next, _]) = bytes.read(offset) else {
        return Packet::none(Kind::Malformed);
    };
    let Some(addresses) = bytes.read::<32>(offset + 8) else {
        return Packet::none(Kind::Malformed);
    };
    if v >> 4 != 6 {
        return Packet::none(Kind::Malformed);
    }
    let source = Address::v6(word(&addresses, 0), word(&addresses, 8));
    let destination = Address::v6(word(&addresses, 16), word(&addresses, 24));
    Packet {
        loopback: source.is_loopback() || destination.is_loopback(),
        ip_offset,
        transport: if is_extension(next) {
            extension_headers(bytes, ip_offset, next)
        } else {
            transport(bytes, offset + 40, next, Kind::Malformed)
        },
    }
}

/// The transport that starts at `offset`; `short` is the reason where its ports are missing.
///
/// TCP (RFC 9293), UDP (RFC 768), UDP-Lite (RFC 3828) and SCTP (RFC 9260) all begin with the
/// source port and the destination port, 16 bits each.
#[inline(always)]
fn transport<B: Bytes + ?Sized>(bytes: &B, offset: usize, protocol: u8, short: Kind) -> Transport {
    let Some(protocol) = Protocol::from_ip_number(protocol) else {
        return Transport::none(Kind::OtherProtocol);
    };
    let Some([_, _, high, low]) = bytes.read(offset) else {
        return Transport::none(short);
    };
    Transport::new(protocol, u16::from_be_bytes([high, low]))
}

/// The big-endian 64-bit word at `offset` of some bytes, which the caller knows to be there.
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
