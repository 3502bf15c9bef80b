//! Descriptions of packets, and their bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_ebpf::Link;

use crate::lab::frames::{self, Ends, Mac, V4, number};

/// The MAC address of every interface of the rig.
pub(crate) const OWN_MAC: Mac = [2, 0, 0, 0, 0x7e, 1];
/// The MAC address of another interface of the host, such as a bridge's port.
pub(crate) const PORTS_MAC: Mac = [2, 0, 0, 0, 0x7e, 3];
/// The MAC address of a macvlan device of the host.
pub(crate) const HOSTS_CHILD_MAC: Mac = [2, 0, 0, 0, 0x7e, 4];
/// The MAC address of the sender.
const SENDER_MAC: Mac = [2, 0, 0, 0, 0x7e, 2];
/// UDP-Lite (RFC 3828).
pub(super) const UDP_LITE: u8 = 136;
/// The authentication header (RFC 4302).
const AUTHENTICATION: u8 = 51;
/// Filler of all extension headers and of the bytes behind every transport header: a parser at a
/// wrong offset finds a public port.
const TEMPTING: [u8; 2] = 8080_u16.to_be_bytes();

/// The input of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) link: Link,
    pub(crate) bytes: Vec<u8>,
    /// Offset of the IP header.
    header: usize,
}

/// A packet before it is bytes.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    to: Mac,
    /// The ethertype and the id of each VLAN tag, outermost first.
    tags: Vec<(u16, u16)>,
    network: Network,
    protocol: u8,
    port: u16,
    /// Bytes behind the transport header.
    tail: usize,
}

#[derive(Clone, Debug)]
enum Network {
    V4 {
        header: V4,
        /// The offset in bytes, and whether more fragments follow.
        fragment: (usize, bool),
    },
    V6 {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        chain: Vec<Extension>,
    },
    /// An ethertype that is not IP.
    Other(u16),
}

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extension {
    /// Hop-by-hop (0), routing (43) or destination options (60), with the 8-byte units behind the
    /// first.
    Options(u8, u8),
    /// An authentication header, with the 4-byte words of its check value.
    Authentication(u8),
    /// A fragment header: the offset in bytes, and whether more follow.
    Fragment(usize, bool),
}

impl Extension {
    fn number(self) -> u8 {
        match self {
            Self::Options(number, _) => number,
            Self::Authentication(_) => AUTHENTICATION,
            Self::Fragment(..) => number::FRAGMENT,
        }
    }

    /// The header before `rest`, which begins with the header or transport `next`.
    fn before(self, next: u8, rest: &[u8]) -> Vec<u8> {
        let (length, fill) = match self {
            Self::Options(_, units) => (units, 6 + 8 * usize::from(units)),
            Self::Authentication(words) => (words + 1, 10 + 4 * usize::from(words)),
            Self::Fragment(offset, more) => {
                return frames::v6_fragment(next, rest, offset, more, 7);
            }
        };
        [&[next, length], &TEMPTING.repeat(fill / 2)[..], rest].concat()
    }
}

impl Packet {
    /// A SYN for a port, from and to addresses of the same family.
    ///
    /// # Panics
    /// The families differ: a mistake in a table.
    #[track_caller]
    pub(crate) fn tcp(source: &str, destination: &str, port: u16) -> Self {
        let network = match (source.parse(), destination.parse()) {
            (Ok(IpAddr::V4(source)), Ok(IpAddr::V4(destination))) => {
                Network::v4(source, destination)
            }
            (Ok(IpAddr::V6(source)), Ok(IpAddr::V6(destination))) => Network::V6 {
                source,
                destination,
                chain: Vec::new(),
            },
            _ => panic!("{source} and {destination} are not two addresses of one family"),
        };
        Self::over(network, port)
    }

    /// A frame that is not IP, with bytes that would be a SYN behind an ethertype of IP.
    pub(super) fn other(ethertype: u16, port: u16) -> Self {
        Self::over(Network::Other(ethertype), port)
    }

    fn over(network: Network, port: u16) -> Self {
        Self {
            to: OWN_MAC,
            tags: Vec::new(),
            network,
            protocol: number::TCP,
            port,
            // Long enough for every cut up to 128 bytes.
            tail: 100,
        }
    }

    /// Sets the transport protocol.
    pub(super) fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets the destination's MAC address.
    pub(crate) fn to(mut self, mac: Mac) -> Self {
        self.to = mac;
        self
    }

    /// Sets the VLAN tags.
    pub(super) fn tags(mut self, tags: &[(u16, u16)]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// Sets the number of bytes behind the transport header.
    pub(crate) fn tail(mut self, tail: usize) -> Self {
        self.tail = tail;
        self
    }

    /// Sets the number of words of IPv4 options.
    pub(super) fn options(mut self, words: usize) -> Self {
        if let Network::V4 { header, .. } = &mut self.network {
            // No operation (RFC 791).
            *header = header.clone().options(&vec![1; 4 * words]);
        }
        self
    }

    /// Makes the packet a fragment at an offset in bytes; `more` follow or not.
    pub(super) fn fragment(mut self, offset: usize, more: bool) -> Self {
        match &mut self.network {
            Network::V4 { fragment, .. } => *fragment = (offset, more),
            Network::V6 { chain, .. } => chain.push(Extension::Fragment(offset, more)),
            Network::Other(_) => {}
        }
        self
    }

    /// Sets a chain of IPv6 extension headers.
    pub(super) fn chain(mut self, headers: &[Extension]) -> Self {
        if let Network::V6 { chain, .. } = &mut self.network {
            chain.extend(headers);
        }
        self
    }

    /// The bytes, on a link with or without Ethernet headers.
    pub(crate) fn build(&self, link: Link) -> Frame {
        let (ethertype, packet) = match &self.network {
            Network::V4 { header, fragment } => {
                let (offset, more) = *fragment;
                let segment = self.segment();
                let packet = header.fragment(self.protocol, &segment, offset, more);
                (frames::IPV4, packet)
            }
            Network::V6 {
                source,
                destination,
                chain,
            } => {
                let mut next = self.protocol;
                let mut payload = self.segment();
                for extension in chain.iter().rev() {
                    payload = extension.before(next, &payload);
                    next = extension.number();
                }
                let packet = frames::v6(*source, *destination, next, &payload);
                (frames::IPV6, packet)
            }
            Network::Other(ethertype) => (*ethertype, self.segment()),
        };
        match link {
            Link::Ip => {
                // The EtherType of the first tag is the tunnel's word, not in the bytes.
                let bytes = frames::ethernet(self.to, SENDER_MAC, &self.tags, ethertype, &packet);
                Frame::new(link, bytes[14..].to_vec(), 4 * self.tags.len())
            }
            Link::Ethernet => {
                let bytes = frames::ethernet(self.to, SENDER_MAC, &self.tags, ethertype, &packet);
                Frame::new(link, bytes, 14 + 4 * self.tags.len())
            }
        }
    }

    /// The packet's form on a link without Ethernet headers, `None` for a packet without such a
    /// form.
    pub(super) fn without_ethernet(&self) -> Option<Frame> {
        let plain = self.tags.is_empty() && self.to == OWN_MAC;
        let is_ip = !matches!(self.network, Network::Other(_));
        (plain && is_ip).then(|| self.build(Link::Ip))
    }

    /// The same packet behind a priority tag, which changes nothing; `None` where tags matter.
    pub(super) fn behind_a_tag(&self) -> Option<Self> {
        self.tags
            .is_empty()
            .then(|| self.clone().tags(&[(frames::DOT1Q, 0)]))
    }

    fn segment(&self) -> Vec<u8> {
        // Any two ends: no reader here checks a transport checksum.
        let ends = Ends::V4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        let source = 40_000;
        let tail = TEMPTING.repeat(self.tail.div_ceil(2));
        let tail = &tail[..self.tail];
        match self.protocol {
            number::TCP => [frames::tcp_syn(ends, source, self.port), tail.to_vec()].concat(),
            number::UDP | UDP_LITE => frames::udp(ends, source, self.port, tail),
            // Every other protocol gets as many bytes, which look like ports to a parser that
            // ignores the protocol.
            _ => [frames::sctp_init(source, self.port), tail.to_vec()].concat(),
        }
    }
}

impl Network {
    fn v4(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self::V4 {
            header: V4::new(source, destination),
            fragment: (0, false),
        }
    }
}

impl Frame {
    pub(super) fn new(link: Link, bytes: Vec<u8>, header: usize) -> Self {
        Self {
            link,
            bytes,
            header,
        }
    }

    /// The first bytes of the frame.
    pub(super) fn cut(&self, length: usize) -> Self {
        let mut cut = self.clone();
        cut.bytes.truncate(length);
        cut
    }

    /// The first byte of the IP header, if there is an IP header.
    pub(super) fn first_of_ip(&mut self) -> Option<&mut u8> {
        self.bytes.get_mut(self.header)
    }

    /// Sets the length in the IP header, so that the packet ends `length` bytes behind the header's
    /// start.
    pub(super) fn claim(&mut self, length: usize) {
        let (field, length) = match self.bytes.get(self.header).map(|byte| byte >> 4) {
            Some(6) => (4, length.saturating_sub(40)),
            _ => (2, length),
        };
        let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        let at = self.header + field;
        if let Some(bytes) = self.bytes.get_mut(at..at + 2) {
            bytes.copy_from_slice(&length);
        }
    }

    /// The same frame with a true length, so that the stack would not discard the packet for its
    /// length.
    pub(super) fn repaired(mut self) -> Self {
        self.claim(self.bytes.len().saturating_sub(self.header));
        self
    }

    /// The bytes in hex, for messages.
    pub(super) fn hex(&self) -> String {
        self.bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
