use super::*;

/// A tag's control word and the EtherType behind the tag: a link without an Ethernet header shows
/// no more of the outermost tag.
fn tag(control: u16, ethertype: u16) -> [u8; 4] {
    let [a, b] = control.to_be_bytes();
    let [c, d] = ethertype.to_be_bytes();
    [a, b, c, d]
}

/// A packet without a link-layer header behind tags with these control words.
fn raw_tagged(controls: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let last = controls.len().saturating_sub(1);
    let mut bytes = Vec::new();
    for (place, control) in controls.iter().enumerate() {
        let next = if place == last { ethertype } else { 0x8100 };
        bytes.extend(tag(*control, next));
    }
    bytes.extend(payload);
    bytes
}

#[test]
fn priority_tags_move_the_ip_header() {
    for count in 0..=MAX_PRIORITY_TAGS {
        let tags = vec![(0x8100, 0xe000); count];
        let packet = on_ethernet(&ethernet(&tags, 0x0800, &v4(0, 0, TCP)));
        assert_eq!(usize::from(packet.ip_offset), 14 + 4 * count);
        assert_eq!(usize::from(packet.transport_offset), 34 + 4 * count);
        assert_eq!(packet.transport, tcp(9200));
        // The tag beside the bytes counts, too.
        let outer = packet.with_outer_tag(Link::Ethernet);
        if count == MAX_PRIORITY_TAGS {
            assert_eq!(outer, Packet::none(Kind::HeaderChain));
        } else {
            assert_eq!(outer, packet);
        }
    }
}

#[test]
fn other_tags_and_ethertypes_have_no_port() {
    let ip = v4(0, 0, TCP);
    let five = [(0x88a8, 0); MAX_PRIORITY_TAGS + 1];
    let mut device = five;
    device[MAX_PRIORITY_TAGS].1 = 7;
    for (frame, kind) in [
        (ethernet(&[(0x8100, 1)], 0x0800, &ip), Kind::Tagged),
        (ethernet(&[(0x88a8, 0x0fff)], 0x0800, &ip), Kind::Tagged),
        (
            ethernet(&[(0x88a8, 0), (0x8100, 0x100)], 0x0800, &ip),
            Kind::Tagged,
        ),
        (ethernet(&device, 0x0800, &ip), Kind::Tagged),
        (ethernet(&five, 0x0800, &ip), Kind::HeaderChain),
        (ethernet(&five, 0x0806, &ip), Kind::HeaderChain),
        (ethernet(&five[1..], 0x8100, &[0]), Kind::Malformed),
        (ethernet(&[], 0x0806, &ip), Kind::OtherProtocol),
        (ethernet(&[(0x8100, 0)], 0x0806, &ip), Kind::OtherProtocol),
        (ethernet(&[], 0x86dd, &ip), Kind::Malformed),
        (ethernet(&[], 0x0800, &v6(TCP, &PORTS)), Kind::Malformed),
        (ethernet(&[], 0x8100, &[0, 0, 8]), Kind::Malformed),
        (vec![2; 13], Kind::Malformed),
        (Vec::new(), Kind::Malformed),
    ] {
        assert_eq!(on_ethernet(&frame), Packet::none(kind), "{frame:x?}");
    }
}

#[test]
fn a_guard_that_looks_through_tags_reads_behind_every_id() {
    let ip = v4(0, 0, TCP);
    for count in 1..=MAX_PRIORITY_TAGS + 1 {
        for id in [0, 1, 0x0fff] {
            let frame = ethernet(&vec![(0x8100, id); count], 0x0800, &ip);
            let packet = parse(&frame[..], Link::Ethernet, VlanIds::LookThrough);
            if count > MAX_PRIORITY_TAGS {
                assert_eq!(packet, Packet::none(Kind::HeaderChain), "{id}");
            } else {
                assert_eq!(packet.transport, tcp(9200), "{count} {id}");
                assert_eq!(usize::from(packet.ip_offset), 14 + 4 * count);
            }
        }
    }
}

#[test]
fn priority_tags_may_precede_the_ip_header_of_a_link_without_another() {
    for (ethertype, payload) in [(0x0800, v4(0, 0, TCP)), (0x86dd, v6(TCP, &PORTS))] {
        // No priority makes the first nibble of a tag that of an IP version, but 2 and 3 do.
        for control in [0, 0x1000, 0x2000, 0x8000, 0xf000] {
            for count in 1..=MAX_PRIORITY_TAGS + 1 {
                let bytes = raw_tagged(&vec![control; count], ethertype, &payload);
                let packet = raw(&bytes);
                if count > MAX_PRIORITY_TAGS {
                    assert_eq!(packet, Packet::none(Kind::HeaderChain), "{control:x}");
                    continue;
                }
                assert_eq!(packet.transport, tcp(9200), "{control:x} {count}");
                assert_eq!(usize::from(packet.ip_offset), 4 * count);
                let outer = packet.with_outer_tag(Link::Ip);
                let is_last = count == MAX_PRIORITY_TAGS;
                assert_eq!(outer == Packet::none(Kind::HeaderChain), is_last);
                assert_eq!(outer == packet, !is_last);
            }
        }
    }
}

#[test]
fn a_tag_that_begins_as_an_ipv4_header_is_a_tag() {
    // An IPv4 header of no words, with the length 0x0800: no stack takes such a header.
    let bytes = raw_tagged(&[0x4000], 0x0800, &v4(0, 0, TCP));
    assert_eq!(raw(&bytes).transport, tcp(9200));
    assert_eq!(raw(&bytes).ip_offset, 4);
    // Another EtherType: no tag, and no IPv4 header either.
    assert_kind(
        &raw_tagged(&[0x4000], 0x0806, &v4(0, 0, TCP)),
        Kind::Malformed,
    );
    assert_kind(
        &raw_tagged(&[0x5000], 0x0806, &v4(0, 0, TCP)),
        Kind::OtherProtocol,
    );
}

#[test]
fn a_packet_that_can_be_read_both_ways_is_a_header_chain() {
    // An IPv6 header with the flow label of an EtherType: the next byte, the first of the payload
    // length, decides whether a tag could stand there.
    let flow = |ethertype: u16, length: u16| {
        let mut packet = v6(TCP, &PORTS);
        packet[2..4].copy_from_slice(&ethertype.to_be_bytes());
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        packet
    };
    for (ethertype, length, is_readable) in [
        (0x0800, 0x4500, true),
        (0x0800, 0x6500, false),
        (0x0800, 0x0500, false),
        (0x86dd, 0x6000, true),
        (0x86dd, 0x4000, false),
        (0x8100, 0xe000, true),
        (0x8100, 0x0001, false),
        (0x88a8, 0x0000, true),
        (0x88a8, 0x0100, false),
        (0x0806, 0x4500, false),
    ] {
        let packet = raw(&flow(ethertype, length));
        if is_readable {
            assert_eq!(packet, Packet::none(Kind::HeaderChain));
        } else {
            assert_eq!(packet.transport, tcp(9200), "{ethertype:x} {length:x}");
            assert_eq!(packet.ip_offset, 0);
        }
    }
    // Cut off before the payload length.
    assert_kind(&flow(0x0800, 0)[..5], Kind::Malformed);
}

#[test]
fn an_address_is_read_only_behind_an_ip_header() {
    // A destination MAC that begins as an IP header does.
    for first in [0x45, 0x60] {
        let mut frame = ethernet(&[(0x8100, 7)], 0x0800, &v4(0, 0, TCP));
        frame[0] = first;
        let packet = on_ethernet(&frame);
        assert_eq!(packet.transport.kind, Kind::Tagged);
        assert_eq!(source(&frame[..], packet.ip_offset), None);
        assert_eq!(destination(&frame[..], packet.ip_offset), None);
    }
    let mut both = v6(TCP, &PORTS);
    both[2..6].copy_from_slice(&[0x08, 0, 0x45, 0]);
    let packet = raw(&both);
    assert_eq!(packet.transport.kind, Kind::HeaderChain);
    assert_eq!(source(&both[..], packet.ip_offset), None);
    assert_eq!(destination(&both[..], packet.ip_offset), None);
}
