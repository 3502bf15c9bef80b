mod chain;
mod fields;
mod tags;

use super::*;

const HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;

/// Source port 4660, destination port 9200.
const PORTS: [u8; 4] = [0x12, 0x34, 0x23, 0xf0];

const KINDS: [Kind; 8] = [
    Kind::Tcp,
    Kind::Udp,
    Kind::Sctp,
    Kind::Fragment,
    Kind::Tagged,
    Kind::OtherProtocol,
    Kind::HeaderChain,
    Kind::Malformed,
];

fn tcp(port: u16) -> Transport {
    Transport::new(Protocol::Tcp, port)
}

fn ethernet(tags: &[(u16, u16)], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for (protocol, control) in tags {
        frame.extend(protocol.to_be_bytes());
        frame.extend(control.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet from 10.0.0.5 to 10.0.0.1 with `options` words of options and the ports.
fn v4(options: u8, flags_and_offset: u16, protocol: u8) -> Vec<u8> {
    let mut packet = vec![0x45 + options, 0, 0x01, 0x02, 0, 0];
    packet.extend(flags_and_offset.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 5, 10, 0, 0, 1]);
    packet.extend(vec![1; usize::from(options) * 4]);
    packet.extend(PORTS);
    packet
}

/// An IPv6 packet from fd00::5 to fd00::1, with the true payload length.
fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next, 64]);
    for last in [5, 1] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(payload);
    packet
}

/// An extension header of `8 + 8 * units` bytes, or of `8 + 4 * units` for AH.
fn extension(kind: u8, next: u8, units: u8) -> Vec<u8> {
    let mut header = vec![0xff; 8];
    let (length, size) = match kind {
        AUTHENTICATION => (units, 4),
        _ => (units, 8),
    };
    header[..2].copy_from_slice(&[next, length]);
    header.extend(vec![0xff; usize::from(units) * size]);
    header
}

fn fragment(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    vec![next, 0xff, high, low, 0, 0, 0, 1]
}

fn raw(bytes: &[u8]) -> Packet {
    parse(bytes, Link::Ip, VlanIds::Stop)
}

fn on_ethernet(bytes: &[u8]) -> Packet {
    parse(bytes, Link::Ethernet, VlanIds::Stop)
}

#[track_caller]
fn assert_kind(bytes: &[u8], kind: Kind) {
    assert_eq!(raw(bytes).transport, Transport::none(kind));
}

#[test]
fn a_packet_survives_its_bits() {
    for kind in KINDS {
        for loopback in [false, true] {
            for (ip_offset, port) in [(0, 0), (14, 9200), (255, 0xffff), (1, 0x0100)] {
                for transport_offset in [0, 34, 0x0102, 0xffff] {
                    let packet = Packet {
                        loopback,
                        ip_offset,
                        transport_offset,
                        transport: Transport { kind, port },
                    };
                    assert_eq!(Packet::from_bits(packet.to_bits()), packet);
                    assert!(packet.to_bits() < 1 << 56);
                }
            }
        }
    }
    let unknown = Packet::from_bits(0xffff_ffff_ffff_ff09);
    assert_eq!(unknown.transport.kind, Kind::Malformed);
    assert!(!Packet::from_bits(1 << 33).loopback);
}

#[test]
fn a_transport_is_a_protocol_or_a_reason() {
    for protocol in Protocol::ALL {
        let transport = Transport::new(protocol, 9200);
        assert_eq!((transport.protocol(), transport.port), (Ok(protocol), 9200));
    }
    for (kind, reason) in [
        (Kind::Fragment, Reason::Fragment),
        (Kind::Tagged, Reason::Tagged),
        (Kind::OtherProtocol, Reason::OtherProtocol),
        (Kind::HeaderChain, Reason::HeaderChain),
        (Kind::Malformed, Reason::Malformed),
    ] {
        assert_eq!(Transport::none(kind).protocol(), Err(reason));
    }
}

#[test]
fn without_a_link_header_the_version_decides() {
    assert_eq!(raw(&v4(0, 0, TCP)).transport, tcp(9200));
    assert_eq!(raw(&v6(TCP, &PORTS)).transport, tcp(9200));
    assert_kind(&[0x50; 40], Kind::OtherProtocol);
    assert_kind(&[0x45], Kind::Malformed);
    assert_kind(&[], Kind::Malformed);
}

#[test]
fn ipv4_ports_stand_behind_the_options() {
    for options in 0..=10 {
        let packet = raw(&v4(options, 0, TCP));
        assert_eq!(packet.transport, tcp(9200));
        assert_eq!(packet.transport_offset, 20 + 4 * u16::from(options));
    }
    assert_eq!(raw(&v6(TCP, &PORTS)).transport_offset, 40);
    assert_eq!(raw(&v4(0, 1, TCP)).transport_offset, 0);
    for header_length in 0..5 {
        let mut short = v4(0, 0, TCP);
        short[0] = 0x40 | header_length;
        assert_kind(&short, Kind::Malformed);
    }
    let whole = v4(1, 0, TCP);
    for length in 0..whole.len() {
        assert_kind(&whole[..length], Kind::Malformed);
        assert!(raw(&whole[..length]).may_be_truncated());
    }
    assert!(!raw(&whole).may_be_truncated());
}

#[test]
fn ipv4_fragments_behind_the_first_have_no_port() {
    for offset in [1, 8, 0x100, 0x1000, 0x1fff] {
        assert_kind(&v4(0, offset, TCP), Kind::Fragment);
        assert_kind(&v4(0, 0x2000 | offset, TCP), Kind::Fragment);
    }
    for flags in [0x2000, 0x4000, 0x8000] {
        assert_eq!(raw(&v4(0, flags, TCP)).transport, tcp(9200));
    }
}

#[test]
fn protocols_with_ports_and_others() {
    for (number, protocol) in [
        (6, Protocol::Tcp),
        (17, Protocol::Udp),
        (136, Protocol::Udp),
        (132, Protocol::Sctp),
    ] {
        assert_eq!(
            raw(&v4(0, 0, number)).transport,
            Transport::new(protocol, 9200)
        );
        assert_eq!(
            raw(&v6(number, &PORTS)).transport,
            Transport::new(protocol, 9200)
        );
    }
    assert_kind(&v4(0, 0, 1), Kind::OtherProtocol);
    assert_kind(&v6(ICMPV6, &PORTS), Kind::OtherProtocol);
    assert!(!raw(&v6(ICMPV6, &PORTS)).may_be_truncated());
}

#[test]
fn loopback_in_source_or_destination_is_seen() {
    for field in [12, 16] {
        for (first, loopback) in [(126, false), (127, true), (128, false)] {
            let mut packet = v4(0, 0, TCP);
            packet[field] = first;
            assert_eq!(raw(&packet).loopback, loopback, "{field} {first}");
        }
    }
    for field in [8, 24] {
        let mut packet = v6(TCP, &PORTS);
        assert!(!raw(&packet).loopback);
        packet[field..field + 16].fill(0);
        packet[field + 15] = 1;
        assert!(raw(&packet).loopback, "{field}");
    }
}

#[test]
fn ipv6_header_must_be_whole_and_of_version_6() {
    let whole = v6(TCP, &PORTS);
    for length in 0..whole.len() {
        assert_kind(&whole[..length], Kind::Malformed);
    }
    let mut other = ethernet(&[], 0x86dd, &whole);
    other[14] = 0x50;
    assert_eq!(on_ethernet(&other), Packet::none(Kind::Malformed));
}
