//! Frames: described, built by etherparse, damaged on purpose.

use enforcer_ebpf::Link;
use etherparse::{
    IpAuthHeader, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, TcpHeader, UdpHeader,
};

pub(crate) mod choices;
mod hosts;
pub(crate) mod named;

use choices::Choices;

/// The description of a packet.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) link: Link,
    /// The ethertype of each VLAN tag, and priority and id, outermost first. A link without an
    /// Ethernet header has no room for the first ethertype.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) mac: [u8; 6],
    pub(crate) ip: Ip,
    /// The IP protocol number of the transport.
    pub(crate) protocol: u8,
    pub(crate) port: u16,
    /// TCP: SYN without ACK. SCTP: an INIT chunk.
    pub(crate) opens: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Ip {
    V4 {
        addresses: ([u8; 4], [u8; 4]),
        /// The length of the options in 4-byte words, 0 to 10.
        options: usize,
        fragment: Fragment,
    },
    V6 {
        addresses: ([u8; 16], [u8; 16]),
        /// The low bits of the flow label.
        flow: u16,
        extensions: Vec<Extension>,
    },
    /// An ethertype that is not IP.
    None(u16),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    /// In units of 8 bytes.
    pub(crate) offset: u16,
    pub(crate) more: bool,
    /// Sets the reserved bits: IPv4's "evil bit" and the three fields of IPv6's header, all ignored
    /// by the stack.
    pub(crate) reserved: bool,
}

impl Fragment {
    pub(crate) const WHOLE: Self = Self::at(0, false);
    pub(crate) const FIRST: Self = Self::at(0, true);
    pub(crate) const LATER: Self = Self::at(185, true);
    pub(crate) const LAST: Self = Self::at(1, false);

    pub(crate) const fn at(offset: u16, more: bool) -> Self {
        Self {
            offset,
            more,
            reserved: false,
        }
    }

    pub(crate) const fn with_reserved_bits(self) -> Self {
        Self {
            reserved: true,
            ..self
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Extension {
    /// Hop-by-hop options (0), routing (43) or destination options (60), with the number of 8-byte
    /// units behind the first.
    Options(u8, usize),
    /// AH, with the length of the integrity check value in 4-byte words.
    Auth(usize),
    Fragment(Fragment),
}

impl Extension {
    fn number(self) -> u8 {
        match self {
            Self::Options(number, _) => number,
            Self::Auth(_) => 51,
            Self::Fragment(_) => 44,
        }
    }

    fn bytes(self, next: u8, fill: u8) -> Vec<u8> {
        let next = IpNumber(next);
        match self {
            Self::Options(_, units) => Ipv6RawExtHeader::new_raw(next, &vec![fill; 6 + 8 * units])
                .unwrap()
                .to_bytes()
                .to_vec(),
            Self::Auth(words) => IpAuthHeader::new(next, 1, 2, &vec![fill; 4 * words])
                .unwrap()
                .to_bytes()
                .to_vec(),
            Self::Fragment(fragment) => {
                let offset = IpFragOffset::try_new(fragment.offset).unwrap();
                let header = Ipv6FragmentHeader::new(next, offset, fragment.more, 7);
                let mut bytes = header.to_bytes();
                if fragment.reserved {
                    bytes[1] = 0xff;
                    bytes[3] |= 6;
                }
                bytes.to_vec()
            }
        }
    }
}

/// The bytes of a frame, and the offset of the IP header.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) link: Link,
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: usize,
}

impl Spec {
    pub(crate) fn build(&self) -> Frame {
        let mut bytes = self.link_header();
        let header = bytes.len();
        let transport = self.transport();
        match &self.ip {
            Ip::None(_) => bytes.extend_from_slice(&transport),
            Ip::V4 {
                addresses,
                options,
                fragment,
            } => {
                let mut ip =
                    Ipv4Header::new(0, 64, IpNumber(self.protocol), addresses.0, addresses.1)
                        .unwrap();
                ip.options = Ipv4Options::try_from(&vec![1; 4 * options][..]).unwrap();
                ip.set_payload_len(transport.len()).unwrap();
                ip.dont_fragment = !fragment.more;
                ip.more_fragments = fragment.more;
                ip.fragment_offset = IpFragOffset::try_new(fragment.offset).unwrap();
                ip.header_checksum = ip.calc_header_checksum();
                bytes.extend_from_slice(&ip.to_bytes());
                if fragment.reserved {
                    bytes[header + 6] |= 0x80;
                }
                bytes.extend_from_slice(&transport);
            }
            Ip::V6 {
                addresses,
                flow,
                extensions,
            } => {
                let mut payload = transport;
                let mut next = self.protocol;
                for extension in extensions.iter().rev() {
                    // Filled so that a reader at a wrong offset finds a tempting port 9200.
                    let mut with_header = extension.bytes(next, 0x23);
                    with_header.append(&mut payload);
                    payload = with_header;
                    next = extension.number();
                }
                let ip = Ipv6Header {
                    payload_length: u16::try_from(payload.len()).unwrap(),
                    next_header: IpNumber(next),
                    hop_limit: 64,
                    flow_label: Ipv6FlowLabel::try_new(u32::from(*flow)).unwrap(),
                    source: addresses.0,
                    destination: addresses.1,
                    ..Ipv6Header::default()
                };
                bytes.extend_from_slice(&ip.to_bytes());
                bytes.append(&mut payload);
            }
        }
        Frame {
            link: self.link,
            bytes,
            header,
        }
    }

    fn link_header(&self) -> Vec<u8> {
        let ethertype = match self.ip {
            Ip::V4 { .. } => 0x0800,
            Ip::V6 { .. } => 0x86dd,
            Ip::None(ethertype) => ethertype,
        };
        let mut bytes = Vec::new();
        for (tag_type, control) in &self.tags {
            bytes.extend_from_slice(&tag_type.to_be_bytes());
            bytes.extend_from_slice(&control.to_be_bytes());
        }
        bytes.extend_from_slice(&ethertype.to_be_bytes());
        match self.link {
            // Neither addresses nor the first ethertype.
            Link::Ip => bytes.split_off(2),
            Link::Ethernet => {
                let mut header = self.mac.to_vec();
                header.extend_from_slice(&[2, 0, 0, 0, 0, 1]);
                header.append(&mut bytes);
                header
            }
        }
    }

    fn transport(&self) -> Vec<u8> {
        let source = 40_000;
        match self.protocol {
            6 => {
                let mut tcp = TcpHeader::new(source, self.port, 1, 1024);
                tcp.syn = true;
                tcp.ack = !self.opens;
                tcp.to_bytes().to_vec()
            }
            17 | 136 => {
                let udp = UdpHeader {
                    source_port: source,
                    destination_port: self.port,
                    length: 12,
                    checksum: 0,
                };
                [&udp.to_bytes()[..], b"ping"].concat()
            }
            // SCTP's common header: ports, tag, checksum. Other protocols get the same bytes: a
            // parser that ignores the protocol finds a port.
            _ => {
                let mut bytes = source.to_be_bytes().to_vec();
                bytes.extend_from_slice(&self.port.to_be_bytes());
                bytes.extend_from_slice(&[1; 8]);
                let chunk = if self.opens { 1 } else { 10 };
                bytes.extend_from_slice(&[chunk, 0, 0, 4]);
                bytes
            }
        }
    }
}

impl Frame {
    /// A frame of a hostile neighbour.
    pub(crate) fn arbitrary(choices: &mut Choices) -> Self {
        let mut frame = choices.spec().build();
        match choices.below(16) {
            0..=6 => {}
            7 => frame.bytes.truncate(choices.below(129)),
            8 => {
                let bound = choices.pick(&[24, 24, 24, 3]);
                frame.bytes.truncate(choices.below(bound));
            }
            9 => frame.cut_near_the_end(choices),
            10 => {
                let padding = vec![choices.byte(); choices.below(60)];
                frame.bytes.extend_from_slice(&padding);
            }
            11 | 12 => frame.lie_about_the_length(choices),
            13 => {
                frame.flip(choices);
                // The version and the header length, a rare target of random flips.
                let byte = choices.pick(&[
                    None,
                    None,
                    Some(0x44),
                    Some(0x40),
                    Some(0x4f),
                    Some(0x66),
                    Some(0x50),
                ]);
                if let (Some(first), Some(byte)) = (frame.bytes.get_mut(frame.header), byte) {
                    *first = byte;
                }
            }
            14 => {
                frame.lie_about_the_length(choices);
                frame.flip(choices);
                frame.bytes.truncate(choices.below(129));
            }
            _ => {
                let length = choices.below(129);
                frame.bytes = (0..length).map(|_| choices.byte()).collect();
            }
        }
        frame
    }

    /// Cuts near the end of the headers, a rare target of uniform lengths, and may repair the
    /// length.
    fn cut_near_the_end(&mut self, choices: &mut Choices) {
        let keep = self.bytes.len().saturating_sub(choices.below(28));
        self.bytes.truncate(keep);
        if choices.chance(128) {
            self.set_length(self.bytes.len().saturating_sub(self.header));
        }
    }

    /// Claims a wrong length, and may pad the frame up to that length.
    fn lie_about_the_length(&mut self, choices: &mut Choices) {
        let real = self.bytes.len().saturating_sub(self.header);
        let claimed = match choices.below(8) {
            7 => 40 + choices.pick(&[0x4500, 0x4000, 0x6000, 0x1000]),
            0 => 0,
            1 => choices.below(real + 1),
            2 => real + choices.below(200),
            // Lengths whose sums overflow the field.
            3 => 65_535 - choices.below(60),
            4 => 40 + choices.below(17),
            _ => real.saturating_sub(choices.below(24)),
        };
        self.set_length(claimed);
        if choices.chance(128) {
            self.bytes
                .extend_from_slice(&[0x23, 0xf0].repeat(choices.below(30)));
        }
    }

    /// Writes the length of the IP packet, header included, to the field of the IP version.
    fn set_length(&mut self, length: usize) {
        let (field, length) = match self.bytes.get(self.header).map(|byte| byte >> 4) {
            Some(6) if length >= 40 => (4, length - 40),
            Some(6) => (4, 0),
            _ => (2, length),
        };
        let length = u16::try_from(length).unwrap().to_be_bytes();
        if let Some(bytes) = self
            .bytes
            .get_mut(self.header + field..self.header + field + 2)
        {
            bytes.copy_from_slice(&length);
        }
    }

    fn flip(&mut self, choices: &mut Choices) {
        for _ in 0..=choices.below(4) {
            let at = choices.below(self.bytes.len().max(1));
            let with = choices.byte();
            if let Some(byte) = self.bytes.get_mut(at) {
                *byte ^= with;
            }
        }
    }

    /// The first `length` bytes of the frame.
    pub(crate) fn cut(&self, length: usize) -> Self {
        Self {
            bytes: self.bytes[..length].to_vec(),
            ..self.clone()
        }
    }

    /// The same frame with the true length, which the stack accepts.
    pub(crate) fn repaired(&self) -> Self {
        let mut frame = self.clone();
        frame.set_length(self.bytes.len().saturating_sub(self.header));
        frame
    }

    pub(crate) fn hex(&self) -> String {
        let hex: Vec<String> = self
            .bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{:?} {}", self.link, hex.concat())
    }
}
