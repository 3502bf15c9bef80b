//! The link layer: Ethernet, tags, and links without a header of their own.

use super::{Bytes, Kind, MAX_PRIORITY_TAGS, MAX_TAG_BYTES, Packet, ipv4, ipv6};

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
    pub(super) const fn header_length(self) -> u8 {
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
