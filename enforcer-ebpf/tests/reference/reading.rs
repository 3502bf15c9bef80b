//! The reference's reader: headers peeled off an owned vector, front to back.

use std::net::IpAddr;

use enforcer_ebpf::{Link, Protocol, Reason, VlanIds};

use super::numbers::{address, is_loopback, number};

/// All endings of the reader.
pub(crate) const SENTENCES: [&str; 28] = [
    "raw: nothing",
    "raw: neither IPv4 nor IPv6",
    "raw: a tag and an IPv6 header at once",
    "ethernet: short",
    "vlan: short",
    "vlan: id",
    "vlan: more than 4 tags",
    "ethertype: other",
    "ipv4: version or ihl",
    "ipv4: short",
    "ipv4: later fragment",
    "ipv4: first fragment",
    "ipv4: plain",
    "ipv4: options",
    "ipv6: version",
    "ipv6: short",
    "ipv6: plain",
    "ipv6: extension headers",
    "ipv6: more than 8 extension headers",
    "ipv6: chain ends early",
    "ipv6: chain ends early in first fragment",
    "ipv6: later fragment",
    "ipv6: first fragment",
    "ipv6: atomic fragment",
    "ipv6: no ports in first fragment",
    "ip: no ports",
    "ip: other protocol",
    "udp-lite",
];

/// The reading of a frame.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) outcome: Result<(Protocol, u16), Reason>,
    /// Source and destination.
    pub(crate) addresses: Option<(IpAddr, IpAddr)>,
    /// Whether the packet opens a connection, as far as a packet can show.
    pub(crate) opens: bool,
    /// The number of bytes read from the frame.
    pub(crate) consumed: usize,
    /// The ending of the reader, for the coverage of the generator.
    pub(crate) why: &'static str,
}

impl Reading {
    /// The strict reading of the design's text.
    pub(crate) fn strict(frame: &[u8], link: Link, ids: VlanIds) -> Self {
        Self::of(frame, link, ids, false)
    }

    /// The lenient reading, where the text leaves two answers for packets that the stack itself
    /// would throw away:
    /// - fewer than four bytes without a link header are `malformed`, as no stack would read them;
    /// - a fifth tag, or an SCTP chunk, counts by its first two bytes;
    /// - a header with its end cut off still names the next header. If the next header has ports,
    ///   the ports are missing; later fragments and protocols without ports pass.
    pub(crate) fn lenient(frame: &[u8], link: Link, ids: VlanIds) -> Self {
        Self::of(frame, link, ids, true)
    }

    fn of(frame: &[u8], link: Link, ids: VlanIds, lenient: bool) -> Self {
        let mut reader = Reader::new(frame, ids, lenient);
        let outcome = reader.frame(link);
        reader.reading(outcome)
    }

    /// The reading of a packet at a socket, from the IP header on.
    pub(crate) fn at_socket(packet: &[u8]) -> Self {
        let mut reader = Reader::new(packet, VlanIds::Stop, false);
        let outcome = match packet.first() {
            Some(first) if first / 16 == 6 => reader.ipv6(),
            _ => reader.ipv4(),
        };
        reader.reading(outcome)
    }

    /// The condition of rule 2.
    pub(crate) fn has_loopback(&self) -> bool {
        match self.addresses {
            Some((source, destination)) => is_loopback(source) || is_loopback(destination),
            None => false,
        }
    }
}

type Outcome = Result<(Protocol, u16, &'static str), (Reason, &'static str)>;

struct Reader {
    rest: Vec<u8>,
    taken: usize,
    /// The end of the packet by its header, in bytes from the first one; padding may follow.
    end: Option<usize>,
    addresses: Option<(IpAddr, IpAddr)>,
    opens: bool,
    stops_at_ids: bool,
    lenient: bool,
}

impl Reader {
    fn new(bytes: &[u8], ids: VlanIds, lenient: bool) -> Self {
        Self {
            rest: bytes.to_vec(),
            taken: 0,
            end: None,
            addresses: None,
            opens: false,
            stops_at_ids: ids == VlanIds::Stop,
            lenient,
        }
    }

    fn reading(self, outcome: Outcome) -> Reading {
        let (outcome, why) = match outcome {
            Ok((protocol, port, why)) => (Ok((protocol, port)), why),
            Err((reason, why)) => (Err(reason), why),
        };
        Reading {
            outcome,
            addresses: self.addresses,
            opens: self.opens,
            consumed: self.taken,
            why,
        }
    }

    /// Takes off the first `count` bytes, all or none.
    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        if count > self.rest.len() {
            return None;
        }
        let tail = self.rest.split_off(count);
        self.taken += count;
        Some(std::mem::replace(&mut self.rest, tail))
    }

    /// Takes off a header of `length` bytes; a lenient reader is content with the first `needed`.
    fn header(&mut self, length: usize, needed: usize) -> Option<Vec<u8>> {
        if self.lenient && length > self.rest.len() {
            return self.take(self.rest.len().max(needed));
        }
        self.take(length)
    }

    fn frame(&mut self, link: Link) -> Outcome {
        if link == Link::Ethernet {
            return self.ethernet();
        }
        if self.rest.is_empty() || (self.lenient && self.rest.len() < 4) {
            return Err((Reason::Malformed, "raw: nothing"));
        }
        // Without an ethertype the bytes choose: the sender may have chosen any protocol. A tag
        // without its own ethertype is two bytes of priority and id, and the next ethertype.
        let is_tag = match self.rest[..] {
            [a, b, c, d, ..] => {
                let next = number(&[c, d]);
                id_of(&[a, b]) == 0 && (is_tag(next) || next == 0x0800 || next == 0x86dd)
            }
            _ => false,
        };
        match self.rest[0] / 16 {
            6 if is_tag && self.rest.len() < 6 => Err((Reason::Malformed, "ipv6: short")),
            6 if is_tag && self.goes_on_behind_tag() => {
                Err((Reason::HeaderChain, "raw: a tag and an IPv6 header at once"))
            }
            6 => self.ipv6(),
            _ if is_tag => {
                let tag = self.take(4).unwrap_or_default();
                self.tags(1, number(&tag[2..4]))
            }
            4 => self.ipv4(),
            _ => Err((Reason::OtherProtocol, "raw: neither IPv4 nor IPv6")),
        }
    }

    /// Whether the bytes behind a tag are a beginning of what the tag announces.
    fn goes_on_behind_tag(&self) -> bool {
        match number(&self.rest[2..4]) {
            0x0800 => self.rest[4] / 16 == 4,
            0x86dd => self.rest[4] / 16 == 6,
            _ => id_of(&self.rest[4..6]) == 0,
        }
    }

    fn ethernet(&mut self) -> Outcome {
        let Some(header) = self.take(14) else {
            return Err((Reason::Malformed, "ethernet: short"));
        };
        self.tags(0, number(&header[12..14]))
    }

    /// Peels off tags, and then what they carry; `tags` were peeled off before.
    fn tags(&mut self, mut tags: usize, mut ethertype: usize) -> Outcome {
        while is_tag(ethertype) {
            let needed = if tags == 4 { 2 } else { 4 };
            let Some(tag) = self.header(4, needed) else {
                return Err((Reason::Malformed, "vlan: short"));
            };
            if id_of(&tag[0..2]) != 0 && self.stops_at_ids {
                return Err((Reason::Tagged, "vlan: id"));
            }
            tags += 1;
            if tags > 4 {
                return Err((Reason::HeaderChain, "vlan: more than 4 tags"));
            }
            ethertype = number(&tag[2..4]);
        }
        match ethertype {
            0x0800 => self.ipv4(),
            0x86dd => self.ipv6(),
            _ => Err((Reason::OtherProtocol, "ethertype: other")),
        }
    }

    fn ipv4(&mut self) -> Outcome {
        let start = self.taken;
        let words = match self.rest.first() {
            Some(byte) if byte / 16 == 4 && byte % 16 >= 5 => usize::from(byte % 16),
            Some(_) => return Err((Reason::Malformed, "ipv4: version or ihl")),
            None => return Err((Reason::Malformed, "ipv4: short")),
        };
        let Some(header) = self.header(words * 4, 20) else {
            return Err((Reason::Malformed, "ipv4: short"));
        };
        self.addresses = Some((address(&header[12..16]), address(&header[16..20])));
        // A length of 0 is none: a segment after receive offload.
        self.end = Some(number(&header[2..4]))
            .filter(|length| *length != 0)
            .map(|length| start + length);
        let flags_and_offset = number(&header[6..8]);
        let offset = flags_and_offset % 8192;
        if offset != 0 {
            return Err((Reason::Fragment, "ipv4: later fragment"));
        }
        let first_fragment = flags_and_offset / 8192 % 2 == 1;
        self.transport(
            header[9],
            Reason::Malformed,
            match (first_fragment, words) {
                (true, _) => "ipv4: first fragment",
                (false, 5) => "ipv4: plain",
                (false, _) => "ipv4: options",
            },
        )
    }

    fn ipv6(&mut self) -> Outcome {
        match self.rest.first() {
            Some(byte) if byte / 16 == 6 => {}
            Some(_) => return Err((Reason::Malformed, "ipv6: version")),
            None => return Err((Reason::Malformed, "ipv6: short")),
        }
        let Some(header) = self.take(40) else {
            return Err((Reason::Malformed, "ipv6: short"));
        };
        self.addresses = Some((address(&header[8..24]), address(&header[24..40])));
        let payload = number(&header[4..6]);
        let end = self.taken + payload;
        // A length of 0 is none: a segment after receive offload, or a jumbogram.
        self.end = (payload != 0).then_some(end);
        let mut next = header[6];
        let mut walked = 0;
        let mut short = Reason::Malformed;
        let mut why = "ipv6: plain";
        while [0, 43, 44, 51, 60].contains(&next) {
            walked += 1;
            if walked > 8 {
                return Err((Reason::HeaderChain, "ipv6: more than 8 extension headers"));
            }
            let length = match (next, self.rest.get(1)) {
                (44, _) => 8,
                (_, None) => return Err(ends_early(short)),
                // RFC 4302: in 4-byte units, minus 2. RFC 8200: in 8-byte units, minus 1.
                (51, Some(length)) => (usize::from(*length) + 2) * 4,
                (_, Some(length)) => (usize::from(*length) + 1) * 8,
            };
            let needed = if next == 44 { 4 } else { 2 };
            let Some(extension) = self.header(length, needed) else {
                return Err(ends_early(short));
            };
            if next == 44 {
                let offset_and_more = number(&extension[2..4]);
                if offset_and_more / 8 != 0 {
                    return Err((Reason::Fragment, "ipv6: later fragment"));
                }
                if offset_and_more % 2 == 1 {
                    // RFC 7112: the whole chain belongs into this fragment, not into the padding.
                    self.rest.truncate(end.saturating_sub(self.taken));
                    short = Reason::HeaderChain;
                    why = "ipv6: first fragment";
                } else if short == Reason::Malformed {
                    why = "ipv6: atomic fragment";
                }
            } else if why == "ipv6: plain" {
                why = "ipv6: extension headers";
            }
            next = extension[0];
        }
        self.transport(next, short, why)
    }

    fn transport(&mut self, next: u8, short: Reason, why: &'static str) -> Outcome {
        let protocol = match next {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            132 => Protocol::Sctp,
            // UDP-Lite counts as UDP.
            136 => Protocol::Udp,
            _ => return Err((Reason::OtherProtocol, "ip: other protocol")),
        };
        match self.take(4) {
            Some(ports) => {
                self.opens = self.opens_connection(protocol);
                let port = u16::from_be_bytes([ports[2], ports[3]]);
                Ok((protocol, port, if next == 136 { "udp-lite" } else { why }))
            }
            None if short == Reason::HeaderChain => {
                Err((short, "ipv6: no ports in first fragment"))
            }
            None => Err((short, "ip: no ports")),
        }
    }

    /// Whether a packet behind whose ports the reader stands opens a connection; a packet that
    /// ends before it shows does.
    fn opens_connection(&self, protocol: Protocol) -> bool {
        let mut rest = self.rest.clone();
        if let Some(end) = self.end {
            rest.truncate(end.saturating_sub(self.taken));
        }
        if self.lenient && rest.len() < 10 {
            rest.clear();
        }
        match protocol {
            // Sequence and acknowledgement numbers, the header's length, then the flags.
            Protocol::Tcp => match rest.get(9) {
                Some(flags) => flags / 2 % 2 == 1 && flags / 16 % 2 == 0,
                None => true,
            },
            // Verification tag and checksum, then the type of the first chunk, 1 for INIT.
            Protocol::Sctp => rest.get(8).is_none_or(|chunk| *chunk == 1),
            Protocol::Udp => false,
        }
    }
}

/// The VLAN id in the control word of a tag.
fn id_of(control: &[u8]) -> usize {
    number(control) % 4096
}

fn is_tag(ethertype: usize) -> bool {
    ethertype == 0x8100 || ethertype == 0x88a8
}

fn ends_early(short: Reason) -> (Reason, &'static str) {
    match short {
        Reason::HeaderChain => (short, "ipv6: chain ends early in first fragment"),
        _ => (short, "ipv6: chain ends early"),
    }
}
