//! Packets built byte by byte, beyond the reach of ordinary sockets.
//!
//! Everything here is data in network order; nothing is clever. A packet is built from the inside
//! out: segment, then IP (whole or in fragments), then Ethernet with any tags.

use std::net::{Ipv4Addr, Ipv6Addr};

/// IP protocol numbers and IPv6 header types (IANA).
pub mod number {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite (RFC 3828).
    pub const UDP_LITE: u8 = 136;
}

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// The 802.1Q tag.
pub const DOT1Q: u16 = 0x8100;
/// The 802.1ad service tag.
pub const DOT1AD: u16 = 0x88a8;

/// A MAC address.
pub type Mac = [u8; 6];

/// The two ends, as the transport checksum covers them.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    /// Source and destination.
    V4(Ipv4Addr, Ipv4Addr),
    /// Source and destination.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    /// The EtherType of the family.
    pub fn ethertype(self) -> u16 {
        match self {
            Self::V4(..) => IPV4,
            Self::V6(..) => IPV6,
        }
    }

    /// A plain IP packet with this payload.
    pub fn packet(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(source, destination) => V4::new(source, destination).packet(protocol, payload),
            Self::V6(source, destination) => v6(source, destination, protocol, payload),
        }
    }

    fn pseudo_header(self, protocol: u8, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::V4(source, destination) => {
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend([0, protocol]);
                bytes.extend(short(length));
            }
            Self::V6(source, destination) => {
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend([0, 0]);
                bytes.extend(short(length));
                bytes.extend([0, 0, 0, protocol]);
            }
        }
        bytes
    }
}

/// TCP flags (RFC 9293, section 3.1).
pub mod flag {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// URG.
    pub const URG: u8 = 0x20;
    /// ECE and CWR, as clients with congestion notification set them (RFC 3168).
    pub const ECN: u8 = 0xc0;
}

/// A SYN with a maximum segment size, as any client sends.
pub fn tcp_syn(ends: Ends, source: u16, destination: u16) -> Vec<u8> {
    tcp_opening(ends, source, destination, flag::SYN, &[])
}

/// A first segment with any flags, and with data.
pub fn tcp_opening(ends: Ends, source: u16, destination: u16, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut segment = ports(source, destination);
    segment.extend([0, 0, 0, 1]); // sequence number
    segment.extend([0, 0, 0, 0]); // acknowledgement
    segment.extend([6 << 4, flags]); // six words of header
    segment.extend([0xff, 0xff, 0, 0, 0, 0]); // window, checksum, urgent pointer
    segment.extend([2, 4, 0x05, 0xb4]); // maximum segment size 1460
    segment.extend(data);
    with_checksum(ends, number::TCP, segment, 16)
}

/// A datagram.
pub fn udp(ends: Ends, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = ports(source, destination);
    datagram.extend(short(8 + payload.len()));
    datagram.extend([0, 0]);
    datagram.extend(payload);
    with_checksum(ends, number::UDP, datagram, 6)
}

/// A datagram of UDP-Lite, covered by the checksum as a whole (RFC 3828, section 3.1).
pub fn udp_lite(ends: Ends, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = ports(source, destination);
    datagram.extend(short(8 + payload.len()));
    datagram.extend([0, 0]);
    datagram.extend(payload);
    with_checksum(ends, number::UDP_LITE, datagram, 6)
}

/// The start of an SCTP association (RFC 9260); no stack here ever checks its CRC.
pub fn sctp_init(source: u16, destination: u16) -> Vec<u8> {
    let mut packet = ports(source, destination);
    packet.extend([0; 8]); // verification tag, checksum
    packet.extend([1, 0, 0, 20]); // INIT, 20 bytes
    packet.extend([0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    packet
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

fn with_checksum(ends: Ends, protocol: u8, mut segment: Vec<u8>, at: usize) -> Vec<u8> {
    let mut covered = ends.pseudo_header(protocol, segment.len());
    covered.extend(&segment);
    segment[at..at + 2].copy_from_slice(&checksum(&covered));
    segment
}

/// An IPv4 header with every field that a forger may want to change.
#[derive(Clone, Debug)]
pub struct V4 {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    options: Vec<u8>,
    identification: u16,
    service: u8,
}

impl V4 {
    /// A header without options.
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            source,
            destination,
            options: Vec::new(),
            identification: 0x4242,
            service: 0,
        }
    }

    /// Adds these option bytes, padded to whole words.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Sets the identification, which tells the fragments of two packets apart.
    pub fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    /// Sets the type of service, by which a rule of routing may choose.
    pub fn service(mut self, service: u8) -> Self {
        self.service = service;
        self
    }

    /// A whole packet.
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        self.fragment(protocol, payload, 0, false)
    }

    /// A fragment: `payload` stands at `offset` bytes, and `more` follow or not.
    pub fn fragment(&self, protocol: u8, payload: &[u8], offset: usize, more: bool) -> Vec<u8> {
        let words = 5 + self.options.len() / 4;
        let mut header = vec![0x40 | low_byte(words), self.service];
        header.extend(short(words * 4 + payload.len()));
        header.extend(self.identification.to_be_bytes());
        header.extend(short((offset / 8) | (usize::from(more) << 13)));
        header.extend([64, protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum);
        header.extend(payload);
        header
    }

    /// The packet cut into fragments of `size` bytes of payload (a multiple of 8).
    pub fn fragments(&self, protocol: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
        let last = payload.len().saturating_sub(1) / size;
        payload
            .chunks(size)
            .enumerate()
            .map(|(index, part)| self.fragment(protocol, part, index * size, index < last))
            .collect()
    }
}

/// An IPv6 packet whose payload starts with header or protocol `next`.
pub fn v6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(short(payload.len()));
    packet.extend([next, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// A chain of extension headers in front of `payload`: the first header's type, and the bytes.
///
/// Every header is 8 bytes: options headers of padding, or a routing header with nothing left.
pub fn chain(headers: &[u8], protocol: u8, payload: &[u8]) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    let following = headers.iter().skip(1).copied().chain([protocol]);
    for (&kind, next) in headers.iter().zip(following) {
        bytes.extend([next, 0]);
        bytes.extend(match kind {
            number::ROUTING => [0, 0, 0, 0, 0, 0],
            _ => [1, 4, 0, 0, 0, 0], // PadN
        });
    }
    bytes.extend(payload);
    (headers.first().copied().unwrap_or(protocol), bytes)
}

/// An IPv6 fragment header before its part of the packet.
pub fn v6_fragment(next: u8, part: &[u8], offset: usize, more: bool, id: u32) -> Vec<u8> {
    let mut bytes = vec![next, 0];
    bytes.extend(short(offset | usize::from(more)));
    bytes.extend(id.to_be_bytes());
    bytes.extend(part);
    bytes
}

/// A frame; `tags` are the EtherType and VLAN id of each tag, outermost first.
pub fn ethernet(
    destination: Mac,
    source: Mac,
    tags: &[(u16, u16)],
    ethertype: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [destination, source].concat();
    for (kind, id) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}

/// The low 16 bits of a length that this lab keeps small.
fn short(value: usize) -> [u8; 2] {
    let [.., high, low] = value.to_be_bytes();
    [high, low]
}

fn low_byte(value: usize) -> u8 {
    let [.., low] = value.to_be_bytes();
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 50);
    const B: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);

    #[test]
    fn a_built_syn_is_read_back_by_an_independent_parser() {
        let ends = Ends::V4(A, B);
        let packet = V4::new(A, B)
            .options(&[1, 1, 1])
            .packet(number::TCP, &tcp_syn(ends, 4000, 9200));
        let read = etherparse::SlicedPacket::from_ip(&packet).unwrap();
        let Some(etherparse::TransportSlice::Tcp(tcp)) = read.transport else {
            panic!("no TCP in {read:?}")
        };
        assert_eq!((tcp.source_port(), tcp.destination_port()), (4000, 9200));
        assert!(tcp.syn() && !tcp.ack());
        let sum = tcp.calc_checksum_ipv4(A.octets(), B.octets()).unwrap();
        assert_eq!(tcp.checksum(), sum);
    }

    #[test]
    fn fragments_cover_the_payload_and_only_the_last_says_so() {
        let parts = V4::new(A, B).fragments(number::UDP, &[7; 20], 8);
        assert_eq!(parts.len(), 3);
        let more: Vec<bool> = parts.iter().map(|part| part[6] & 0x20 != 0).collect();
        assert_eq!(more, [true, true, false]);
        assert_eq!(parts[2][7], 2, "the third stands at 16 bytes");
    }
}
