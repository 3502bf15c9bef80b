use super::*;
use crate::layout::EVENT_PACKET;

#[test]
fn addresses_are_read_at_the_offset_of_the_header() {
    for (payload, from, to) in [
        (v4(0, 0, TCP), "10.0.0.5", "10.0.0.1"),
        (v6(TCP, &PORTS), "fd00::5", "fd00::1"),
    ] {
        let address = |text: &str| Address::from(text.parse::<core::net::IpAddr>().unwrap());
        let frame = ethernet(&[(0x8100, 0)], 0, &payload);
        assert_eq!(source(&frame[..], 18), Some(address(from)));
        assert_eq!(destination(&frame[..], 18), Some(address(to)));
        assert_eq!(source(&payload[..], 0), Some(address(from)));
    }
    let other = [0x50; 60];
    assert_eq!(source(&other[..], 0), None);
    assert_eq!(destination(&other[..], 0), None);
    assert_eq!(claimed_length(&other[..], 0), None);
    assert_eq!(source_port(&other[..], 0), None);
}

#[test]
fn the_claimed_length_counts_from_the_first_byte() {
    let v4 = ethernet(&[], 0x0800, &v4(0, 0, TCP));
    assert_eq!(claimed_length(&v4[..], 14), Some(14 + 0x0102));
    let v6 = ethernet(&[], 0x86dd, &v6(TCP, &PORTS));
    assert_eq!(claimed_length(&v6[..], 14), Some(14 + 40 + 4));
    let mut jumbo = v6;
    jumbo[14 + 5] = 0;
    assert_eq!(claimed_length(&jumbo[..], 14), None);
}

#[test]
fn the_source_port_is_read_behind_options_and_extension_headers() {
    for options in [0, 1, 10] {
        let frame = ethernet(&[], 0x0800, &v4(options, 0x2000, TCP));
        assert_eq!(source_port(&frame[..], 14), Some(0x1234));
    }
    for offset in [1, 0x100, 0x1fff] {
        assert_eq!(source_port(&v4(0, offset, TCP)[..], 0), None);
    }
    assert_eq!(source_port(&v4(0, 0, 1)[..], 0), None);
    let frame = ethernet(&[], 0x86dd, &v6(17, &PORTS));
    assert_eq!(source_port(&frame[..], 14), Some(0x1234));
    assert_eq!(source_port(&v6(ICMPV6, &PORTS)[..], 0), None);
    let chain = [extension(HOP, TCP, 0), PORTS.to_vec()].concat();
    assert_eq!(source_port(&v6(HOP, &chain)[..], 0), Some(0x1234));
    // An atomic fragment (RFC 6946) keeps its header up to the socket.
    let atomic = [&fragment(17, 0, false)[..], &PORTS].concat();
    assert_eq!(source_port(&v6(FRAGMENT, &atomic)[..], 0), Some(0x1234));
    let later = [&fragment(17, 8, false)[..], &PORTS].concat();
    assert_eq!(source_port(&v6(FRAGMENT, &later)[..], 0), None);
    let truncated = extension(HOP, TCP, 0);
    assert_eq!(source_port(&v6(HOP, &truncated)[..], 0), None);
}

#[test]
fn an_event_holds_the_ports_of_ordinary_packets() {
    let chain = [
        extension(HOP, DESTINATION, 0),
        extension(DESTINATION, TCP, 0),
        PORTS.to_vec(),
    ]
    .concat();
    assert!(v6(HOP, &chain).len() <= EVENT_PACKET);
    assert!(v4(10, 0, TCP).len() <= EVENT_PACKET);
}

#[test]
fn the_traffic_class_is_read_from_either_header() {
    let mut packet = v4(0, 0, TCP);
    packet[1] = 0xb8;
    assert_eq!(traffic_class(&packet[..], 0), 0xb8);
    let mut packet = v6(TCP, &PORTS);
    packet[..2].copy_from_slice(&[0x6b, 0x8f]);
    assert_eq!(traffic_class(&packet[..], 0), 0xb8);
    assert_eq!(traffic_class(&packet[..1], 0), 0);
    let frame = ethernet(&[], 0x86dd, &packet);
    assert_eq!(traffic_class(&frame[..], 14), 0xb8);
}

/// An IPv4 packet with the ports and some more bytes of transport, and the true length.
fn segment(protocol: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = v4(0, 0, protocol);
    packet.extend(rest);
    let [high, low] = u16::try_from(packet.len()).unwrap().to_be_bytes();
    packet[2..4].copy_from_slice(&[high, low]);
    packet
}

fn raw_opens(bytes: &[u8]) -> bool {
    opens(bytes, &raw(bytes))
}

#[test]
fn a_syn_without_an_ack_opens_a_connection_whatever_else_is_set() {
    for flags in 0..=u8::MAX {
        let mut rest = [0; 16];
        rest[9] = flags;
        let is_first = flags & 0x12 == 0x02;
        assert_eq!(raw_opens(&segment(TCP, &rest)), is_first, "{flags:x}");
        // No UDP packet opens anything.
        assert!(!raw_opens(&segment(17, &rest)));
        let tagged = ethernet(&[(0x8100, 0)], 0x0800, &segment(TCP, &rest));
        assert_eq!(opens(&tagged[..], &on_ethernet(&tagged)), is_first);
    }
}

#[test]
fn an_init_chunk_opens_an_association() {
    for chunk in 0..=u8::MAX {
        let mut rest = [0xff; 12];
        rest[8] = chunk;
        assert_eq!(raw_opens(&segment(132, &rest)), chunk == 1);
    }
}

#[test]
fn a_packet_that_ends_before_its_flags_opens_a_connection() {
    for protocol in [TCP, 132] {
        let rest = [0xff; 16];
        for length in 0..10 {
            let short = segment(protocol, &rest[..length]);
            assert!(raw_opens(&short), "{length}");
            // The padding of the frame is no part of the packet.
            let padded = [&short[..], &rest].concat();
            assert!(raw_opens(&padded), "{length}");
        }
        assert!(!raw_opens(&segment(protocol, &rest[..10])));
        // A segment after receive offload has no length.
        let mut large = segment(protocol, &rest);
        large[2..4].fill(0);
        assert!(!raw_opens(&large));
    }
    assert!(!raw_opens(&segment(17, &[])));
    let first = |more: &[u8]| {
        let chain = [&fragment(TCP, 0, true)[..], &PORTS, &[0; 4], more].concat();
        let mut packet = v6(FRAGMENT, &chain);
        packet[5] = 16;
        raw_opens(&packet)
    };
    assert!(first(&[]) && first(&[0xff; 8]));
}

#[test]
fn packets_without_ports_open_nothing() {
    for protocol in [1, ICMPV6] {
        assert!(!raw_opens(&segment(protocol, &[])));
        assert!(!raw_opens(&segment(protocol, &[2; 16])));
    }
}

/// An SCTP packet's common header without the ports, and chunks of eight bytes each.
fn chunks(kinds: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    for kind in kinds {
        bytes.extend([*kind, 0, 0, 8, 0, 0, 0, 0]);
    }
    bytes
}

/// Whether a packet opens an association at a listening socket.
fn opens_at_listener(bytes: &[u8]) -> bool {
    transport_header(bytes, 0).is_none_or(|header| opens_association(bytes, header))
}

fn first_at_listener(kinds: &[u8]) -> bool {
    opens_at_listener(&segment(132, &chunks(kinds)))
}

#[test]
fn init_and_cookie_echo_open_an_association_at_a_listener() {
    const AUTH: u8 = 15;
    for kind in 0..=u8::MAX {
        let opens = matches!(kind, 1 | 10);
        if kind != AUTH {
            assert_eq!(first_at_listener(&[kind]), opens, "{kind}");
            assert_eq!(first_at_listener(&[kind, 10]), opens, "{kind}");
        }
        // The sender's proof comes before the chunk.
        assert_eq!(first_at_listener(&[AUTH, kind]), opens, "{kind}");
    }
    assert!(first_at_listener(&[AUTH]));
    let mut long = segment(132, &chunks(&[AUTH, 0]));
    let length_at = long.len() - 14;
    long[length_at..length_at + 2].copy_from_slice(&[0x80, 0]);
    assert!(opens_at_listener(&long));
}

#[test]
fn an_association_is_opened_behind_every_header() {
    for (kind, opens) in [(1, true), (2, false), (0, false), (10, true)] {
        let sctp = [&PORTS[..], &chunks(&[kind])].concat();
        let plain = v6(132, &sctp);
        assert_eq!(opens_at_listener(&plain), opens, "{kind}");
        let chain = [extension(HOP, 132, 0), sctp.clone()].concat();
        assert_eq!(opens_at_listener(&v6(HOP, &chain)), opens, "{kind}");
        // RFC 6951.
        let within_udp = segment(17, &[&[0; 4], &sctp[..]].concat());
        assert_eq!(opens_at_listener(&within_udp), opens, "{kind}");
    }
}

#[test]
fn a_packet_without_readable_chunks_opens_an_association() {
    let whole = segment(132, &chunks(&[0]));
    for length in 0..36 {
        assert!(opens_at_listener(&whole[..length]), "{length}");
    }
    assert!(!opens_at_listener(&whole));
    assert!(opens_at_listener(&[0x50; 60]));
    assert!(opens_at_listener(&v4(0, 1, 132)));
}
