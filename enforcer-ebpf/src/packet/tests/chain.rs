use super::*;

#[test]
fn extension_headers_are_walked_by_their_length() {
    for kind in [HOP, ROUTING, DESTINATION, AUTHENTICATION] {
        for units in [0, 1, 2, 7] {
            // AH counts words of four bytes, minus two; its shortest form here has eight bytes.
            let chain = [extension(kind, TCP, units), PORTS.to_vec()].concat();
            let packet = raw(&v6(kind, &chain));
            assert_eq!(packet.transport, tcp(9200), "{kind} {units}");
            let ports = 40 + chain.len() - PORTS.len();
            assert_eq!(usize::from(packet.transport_offset), ports);
            let cut = v6(kind, &chain[..chain.len() - 1]);
            assert_kind(&cut, Kind::Malformed);
        }
    }
}

#[test]
fn eight_extension_headers_are_the_limit() {
    let chain = |count: usize, last: u8| {
        let mut chain: Vec<u8> = (1..count).flat_map(|_| extension(HOP, HOP, 0)).collect();
        chain.extend(extension(HOP, last, 0));
        chain.extend(PORTS);
        chain
    };
    let eight = chain(MAX_EXTENSION_HEADERS, TCP);
    assert_eq!(raw(&v6(HOP, &eight)).transport, tcp(9200));
    let nine = chain(MAX_EXTENSION_HEADERS + 1, TCP);
    assert_kind(&v6(HOP, &nine), Kind::HeaderChain);
}

#[test]
fn ipv6_fragments_behind_the_first_have_no_port() {
    for offset in [1, 0x20, 0x1fff] {
        for more in [false, true] {
            let chain = [fragment(TCP, offset, more), PORTS.to_vec()].concat();
            assert_kind(&v6(FRAGMENT, &chain), Kind::Fragment);
        }
    }
    // Atomic: offset 0, no more fragments; reserved bits have no meaning.
    let mut atomic = [fragment(TCP, 0, false), PORTS.to_vec()].concat();
    atomic[3] |= 6;
    assert_eq!(raw(&v6(FRAGMENT, &atomic)).transport, tcp(9200));
    assert_kind(&v6(FRAGMENT, &atomic[..11]), Kind::Malformed);
    atomic[3] = 0;
    assert_eq!(raw(&v6(FRAGMENT, &atomic)).transport, tcp(9200));
    assert_kind(&v6(FRAGMENT, &atomic[..11]), Kind::Malformed);
}

/// A first fragment with some more headers and the ports, of which only `payload` bytes are payload
/// by the IPv6 header.
fn first_fragment(kinds: &[u8], last: u8, payload: usize) -> Vec<u8> {
    let mut nexts = kinds.iter().skip(1).copied().chain([last]);
    let first = kinds.first().copied().unwrap_or(last);
    let mut chain = fragment(first, 0, true);
    for kind in kinds {
        chain.extend(extension(*kind, nexts.next().unwrap(), 0));
    }
    chain.extend(PORTS);
    chain.extend([0; 16]);
    let mut packet = v6(FRAGMENT, &chain);
    packet[4..6].copy_from_slice(&u16::try_from(payload).unwrap().to_be_bytes());
    packet
}

#[test]
fn a_first_fragment_holds_the_whole_chain_in_its_payload() {
    assert_eq!(raw(&first_fragment(&[], TCP, 12)).transport, tcp(9200));
    assert_kind(&first_fragment(&[], TCP, 11), Kind::HeaderChain);
    assert_eq!(
        raw(&first_fragment(&[DESTINATION], TCP, 20)).transport,
        tcp(9200)
    );
    assert_kind(&first_fragment(&[DESTINATION], TCP, 19), Kind::HeaderChain);
    assert_kind(&first_fragment(&[DESTINATION], TCP, 15), Kind::HeaderChain);
    // The whole extension header, without a byte of ports: no protocol, no need for ports.
    assert_kind(
        &first_fragment(&[DESTINATION], ICMPV6, 16),
        Kind::OtherProtocol,
    );
    assert_kind(
        &first_fragment(&[DESTINATION], ICMPV6, 15),
        Kind::HeaderChain,
    );
    assert_kind(&first_fragment(&[], ICMPV6, 8), Kind::OtherProtocol);
    // The reserved bits of a first fragment have no meaning.
    let mut reserved = first_fragment(&[], TCP, 11);
    reserved[43] |= 6;
    assert_kind(&reserved, Kind::HeaderChain);
    // Bytes cut off by the buffer, not by the length.
    let whole = first_fragment(&[], TCP, 12);
    assert_kind(&whole[..51], Kind::HeaderChain);
}
