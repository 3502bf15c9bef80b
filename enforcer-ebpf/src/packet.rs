//! The parser: from the bytes of a frame to a [`Packet`] for the decision.
//!
//! The same code serves the wire guards, which read packet memory under the verifier's eyes, and
//! the host, which reads a slice.

mod chain;
mod fields;
#[cfg(test)]
mod tests;

use chain::{extension_headers, is_extension};
pub use fields::{claimed_length, destination, opens, source, source_port, traffic_class};

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

/// The header at the first byte of a packet, known from the interface's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header (IEEE 802.3).
    Ethernet,
    /// An IP header: WireGuard, tun and other devices without a link-layer header.
    Ip,
}

impl Link {
    /// The length in bytes of the link-layer header.
    #[inline(always)]
    const fn header_length(self) -> u8 {
        match self {
            Self::Ethernet => 14,
            Self::Ip => 0,
        }
    }
}

/// The treatment of VLAN ids other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlanIds {
    /// The frame belongs to the VLAN device: [`Kind::Tagged`].
    Stop,
    /// The frame is parsed as behind a priority tag: br_netfilter does so on the members of a
    /// bridge while `bridge-nf-filter-vlan-tagged` is 1 (br_netfilter_hooks.c).
    LookThrough,
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

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q and 802.1ad.
const ETHERTYPE_VLAN: [u16; 2] = [0x8100, 0x88a8];
/// The low 12 bits of a tag are the VLAN id; 0 marks a priority tag (IEEE 802.1Q, 9.6).
const VLAN_ID: u16 = 0x0fff;

/// Parses a packet up to the destination port.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(bytes: &B, link: Link, ids: VlanIds) -> Packet {
    let first = match link {
        Link::Ethernet => match bytes.read(12) {
            Some(ethertype) => Ok((u16::from_be_bytes(ethertype), 14)),
            None => Err(Kind::Malformed),
        },
        Link::Ip => without_link_header(bytes),
    };
    match first {
        Ok((ethertype, offset)) => {
            let last = link.header_length() + MAX_TAG_BYTES;
            behind_tags(bytes, ethertype, offset, last, ids)
        }
        Err(kind) => Packet::none(kind),
    }
}

/// The EtherType of the first header of a packet without a link-layer header, and the offset in
/// bytes behind the EtherType's place.
///
/// The protocol of the first header is the tunnel's word (the sender's word for GRE, geneve and
/// tun with packet information), which XDP does not see, and priority tags may come first
/// (`__netif_receive_skb_core` in net/core/dev.c removes tags from the packets of any device).
/// An IPv4 header never begins as a priority tag does, with 12 bits of zeros behind the version.
/// An IPv6 header may; a packet that can be read both ways is `header-chain`.
#[inline(always)]
fn without_link_header<B: Bytes + ?Sized>(bytes: &B) -> Result<(u16, u8), Kind> {
    let [first, second, c, d] = bytes.read(0).ok_or(Kind::Malformed)?;
    let ethertype = u16::from_be_bytes([c, d]);
    let is_vlan = ETHERTYPE_VLAN.contains(&ethertype);
    let is_tag = first & 0x0f == 0
        && second == 0
        && (is_vlan || ethertype == ETHERTYPE_IPV4 || ethertype == ETHERTYPE_IPV6);
    match first >> 4 {
        6 if is_tag => {
            // What follows a tag: another one with id 0, or the header of the tag's protocol.
            let [next, low] = bytes.read(4).ok_or(Kind::Malformed)?;
            let is_readable = match ethertype {
                ETHERTYPE_IPV4 => next >> 4 == 4,
                ETHERTYPE_IPV6 => next >> 4 == 6,
                _ => next & 0x0f == 0 && low == 0,
            };
            match is_readable {
                true => Err(Kind::HeaderChain),
                false => Ok((ETHERTYPE_IPV6, 0)),
            }
        }
        _ if is_tag => Ok((ethertype, 4)),
        4 => Ok((ETHERTYPE_IPV4, 0)),
        6 => Ok((ETHERTYPE_IPV6, 0)),
        _ => Err(Kind::OtherProtocol),
    }
}

/// Parses what follows an EtherType, through priority tags; `offset` is the offset in bytes behind
/// the EtherType, and `last` is the offset behind as many tags as a guard looks through.
#[inline(always)]
fn behind_tags<B: Bytes + ?Sized>(
    bytes: &B,
    mut ethertype: u16,
    mut offset: u8,
    last: u8,
    ids: VlanIds,
) -> Packet {
    let is_id = |a, b| u16::from_be_bytes([a, b]) & VLAN_ID != 0 && matches!(ids, VlanIds::Stop);
    for _ in 0..MAX_PRIORITY_TAGS {
        if offset >= last || !ETHERTYPE_VLAN.contains(&ethertype) {
            break;
        }
        let Some([a, b, c, d]) = bytes.read(offset.into()) else {
            return Packet::none(Kind::Malformed);
        };
        if is_id(a, b) {
            return Packet::none(Kind::Tagged);
        }
        ethertype = u16::from_be_bytes([c, d]);
        offset += 4;
    }
    if ETHERTYPE_VLAN.contains(&ethertype) {
        // The frame of a VLAN device behind as many priority tags, or one tag too many.
        return match bytes.read(offset.into()) {
            Some([a, b]) if is_id(a, b) => Packet::none(Kind::Tagged),
            Some(_) => Packet::none(Kind::HeaderChain),
            None => Packet::none(Kind::Malformed),
        };
    }
    #[expect(clippy::cast_possible_truncation, reason = "a byte on its way in")]
    let offset = bytes.unknown_offset(offset.into()) as u8;
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(bytes, offset),
        ETHERTYPE_IPV6 => ipv6(bytes, offset),
        _ => Packet::none(Kind::OtherProtocol),
    }
}

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
