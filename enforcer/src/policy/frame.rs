//! A described packet as bytes, as a wire guard would see the packet.

use std::net::{IpAddr, Ipv6Addr};

use enforcer_ebpf::{Link, Protocol};

/// A packet's addresses, transport and link layer.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
    /// The header at the first byte.
    pub link: Link,
    /// The MAC address of the receiving interface; unused on links without Ethernet.
    pub mac: [u8; 6],
}

/// A locally administered address (IEEE 802, 8.4).
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The source port of every frame: the first of the dynamic ports (RFC 6335, 6).
pub const SOURCE_PORT: u16 = 49_152;
/// The number of bytes behind the transport header. BPF_PROG_TEST_RUN takes the first 14 bytes for
/// an Ethernet header, whatever the program, and refuses a frame shorter than the IP header of the
/// ethertype; in a packet without Ethernet, address bytes may look like an ethertype.
const PAYLOAD: usize = 32;

impl Frame {
    /// Returns the bytes of a connection's first packet. Checksums stay 0: no guard verifies
    /// checksums.
    pub fn bytes(&self) -> Vec<u8> {
        let segment = self.segment();
        let number = match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        };
        let (ethertype, packet) = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut packet = vec![0x45, 0];
                packet.extend(short(20 + segment.len()));
                packet.extend([0, 0, 0, 0, 64, number, 0, 0]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
                (0x0800u16, packet)
            }
            (source, destination) => {
                let mut packet = vec![0x60, 0, 0, 0];
                packet.extend(short(segment.len()));
                packet.extend([number, 64]);
                packet.extend(ipv6(source).octets());
                packet.extend(ipv6(destination).octets());
                (0x86dd, packet)
            }
        };
        let header = match self.link {
            Link::Ethernet => [&self.mac[..], &SENDER, &ethertype.to_be_bytes()].concat(),
            Link::Ip => Vec::new(),
        };
        [header, packet, segment].concat()
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = [SOURCE_PORT.to_be_bytes(), self.port.to_be_bytes()].concat();
        match self.protocol {
            // Sequence and acknowledgement; five words of header, SYN; window, checksum, urgent.
            Protocol::Tcp => {
                segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 2, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Protocol::Udp => {
                segment.extend(short(8 + PAYLOAD));
                segment.extend([0, 0]);
            }
            // Verification tag and checksum; an INIT chunk with the payload as its body.
            Protocol::Sctp => {
                segment.extend([0; 8]);
                segment.extend([1, 0]);
                segment.extend(short(4 + PAYLOAD));
            }
        }
        segment.extend([0; PAYLOAD]);
        segment
    }
}

/// Returns the low 16 bits of a length; all lengths here fit.
fn short(length: usize) -> [u8; 2] {
    let [.., high, low] = length.to_be_bytes();
    [high, low]
}

fn ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use enforcer_ebpf::{Kind, Transport, VlanIds, destination, parse, source};

    use super::*;

    #[test]
    fn what_is_built_reads_as_it_was_described() {
        for (from, to) in [
            ("192.0.2.1", "198.51.100.7"),
            ("2001:db8::1", "2001:db8::2"),
            ("::ffff:10.10.0.5", "fd00::1"),
            // The first two octets of these addresses look like ethertypes.
            ("8.0.0.1", "8.0.0.2"),
            ("134.221.0.1", "134.221.0.2"),
        ] {
            for link in [Link::Ethernet, Link::Ip] {
                for protocol in Protocol::ALL {
                    let frame = Frame {
                        source: from.parse().unwrap(),
                        destination: to.parse().unwrap(),
                        protocol,
                        port: 9200,
                        link,
                        mac: [2; 6],
                    };
                    let bytes = frame.bytes();
                    let packet = parse(&bytes[..], link, VlanIds::Stop);
                    assert_eq!(packet.transport, Transport::new(protocol, 9200));
                    assert!(!matches!(packet.transport.kind, Kind::Fragment));
                    let read = source(&bytes[..], packet.ip_offset).unwrap();
                    assert_eq!(IpAddr::from(read), frame.source);
                    let read = destination(&bytes[..], packet.ip_offset).unwrap();
                    assert_eq!(IpAddr::from(read), frame.destination);
                    // Whatever the first 14 bytes look like, an IP header fits behind them.
                    assert!(bytes.len() >= 14 + 40);
                }
            }
        }
    }

    /// Returns the bytes of a packet between two addresses, to port 9200.
    fn frame(ends: [&str; 2], protocol: Protocol, link: Link) -> Vec<u8> {
        let [source, destination] = ends.map(|end| end.parse().unwrap());
        let frame = Frame {
            source,
            destination,
            protocol,
            port: 9200,
            link,
            mac: [2, 0, 0, 0, 0, 9],
        };
        frame.bytes()
    }

    #[test]
    fn an_ipv4_syn_has_these_bytes() {
        let ends = ["192.0.2.1", "198.51.100.7"];
        let bytes = frame(ends, Protocol::Tcp, Link::Ethernet);
        assert_eq!(
            bytes[..54],
            [
                2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
                0x45, 0, 0, 72, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100,
                7, // IPv4
                0xc0, 0, 0x23, 0xf0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
            ]
        );
        assert_eq!(bytes[54..], [0; PAYLOAD]);
    }

    #[test]
    fn datagrams_over_ipv6_have_these_bytes() {
        let ends = ["2001:db8::1", "::ffff:10.0.0.5"];
        let mut header = vec![0x60, 0, 0, 0, 0, 40, 17, 64];
        header.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        header.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 5]);
        let bytes = frame(ends, Protocol::Udp, Link::Ip);
        assert_eq!(bytes[..40], header);
        assert_eq!(bytes[40..48], [0xc0, 0, 0x23, 0xf0, 0, 40, 0, 0]);
        assert_eq!(bytes[48..], [0; PAYLOAD]);

        let bytes = frame(ends, Protocol::Sctp, Link::Ip);
        (header[5], header[6]) = (48, 132);
        assert_eq!(bytes[..40], header);
        let chunk = [0xc0, 0, 0x23, 0xf0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 36];
        assert_eq!(bytes[40..56], chunk);
        assert_eq!(bytes[56..], [0; PAYLOAD]);
    }

    #[test]
    fn a_loopback_address_is_seen_as_one() {
        for from in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let source: IpAddr = from.parse().unwrap();
            let destination = match source {
                IpAddr::V4(_) => "192.0.2.1",
                IpAddr::V6(_) => "2001:db8::1",
            };
            let frame = Frame {
                source,
                destination: destination.parse().unwrap(),
                protocol: Protocol::Udp,
                port: 53,
                link: Link::Ethernet,
                mac: [2; 6],
            };
            assert!(
                parse(&frame.bytes()[..], Link::Ethernet, VlanIds::Stop).loopback,
                "{from}"
            );
        }
    }
}
