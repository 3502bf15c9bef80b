use super::*;

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

#[test]
fn loopback_is_recognised_at_its_borders() {
    for yes in [
        "127.0.0.0",
        "127.255.255.255",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:127.255.0.9",
    ] {
        assert!(address(yes).is_loopback(), "{yes}");
    }
    for no in [
        "126.255.255.255",
        "128.0.0.0",
        "::",
        "::2",
        "::127.0.0.1",
        "::ffff:128.0.0.1",
        "1::ffff:127.0.0.1",
        "fe80::1",
    ] {
        assert!(!address(no).is_loopback(), "{no}");
    }
}

#[test]
fn unicast_is_recognised_at_its_borders() {
    for yes in [
        "1.0.0.0",
        "10.0.0.1",
        "127.0.0.1",
        "223.255.255.255",
        "240.0.0.0",
        "255.255.255.254",
        "::1",
        "1::",
        "fe80::1",
        "feff:ffff::",
        "::ffff:0.0.0.0",
    ] {
        assert!(address(yes).is_unicast(), "{yes}");
    }
    for no in [
        "0.0.0.0",
        "0.255.255.255",
        "224.0.0.0",
        "239.255.255.255",
        "255.255.255.255",
        "::",
        "ff00::",
        "ff02::1",
        "ffff::1",
    ] {
        assert!(!address(no).is_unicast(), "{no}");
    }
}

#[test]
fn an_address_is_two_words_in_host_byte_order() {
    let v4 = Address::v4([10, 1, 2, 3]);
    assert_eq!(
        (v4.family(), v4.high(), v4.low()),
        (Family::V4, 0, 0x0a01_0203)
    );
    let v6 = address("fd00:1:2:3:4:5:6:7");
    let words = (0xfd00_0001_0002_0003, 0x0004_0005_0006_0007);
    assert_eq!((v6.family(), (v6.high(), v6.low())), (Family::V6, words));
    assert_eq!(v6, Address::v6(words.0, words.1));
    assert_eq!((Family::V4.bits(), Family::V6.bits()), (32, 128));
}

#[test]
fn an_address_survives_the_way_to_the_standard_library() {
    for text in [
        "0.0.0.0",
        "10.1.2.3",
        "255.255.255.255",
        "::",
        "::ffff:10.1.2.3",
        "fd00:1:2:3:4:5:6:7",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        let standard: IpAddr = text.parse().unwrap();
        assert_eq!(IpAddr::from(Address::from(standard)), standard);
    }
}

#[test]
fn a_mapped_address_is_not_its_ipv4_address() {
    assert_ne!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
}

#[test]
fn network_clears_exactly_the_host_bits() {
    for (whole, length, network) in [
        ("255.255.255.255", 33, "255.255.255.255"),
        ("255.255.255.255", u8::MAX, "255.255.255.255"),
        ("ffff::ffff", 129, "ffff::ffff"),
        ("ffff::ffff", u8::MAX, "ffff::ffff"),
        ("255.255.255.255", 0, "0.0.0.0"),
        ("255.255.255.255", 1, "128.0.0.0"),
        ("10.1.2.3", 31, "10.1.2.2"),
        ("10.1.2.3", 32, "10.1.2.3"),
        ("ffff::ffff", 0, "::"),
        ("fd00:1:2:3:4::", 64, "fd00:1:2:3::"),
        ("fd00:1:2:3:ffff::", 65, "fd00:1:2:3:8000::"),
        ("fd00::3", 127, "fd00::2"),
        ("fd00::3", 128, "fd00::3"),
    ] {
        assert_eq!(
            address(whole).network(length),
            address(network),
            "{whole}/{length}"
        );
    }
}

#[test]
fn peers_live_in_all_four_words() {
    let mut set = PeerSet::EMPTY;
    assert!(set.is_empty());
    for peer in [0, 63, 64, 127, 128, 191, 192, 255, 256] {
        set.insert(peer);
    }
    assert!(set.iter().eq([0, 63, 64, 127, 128, 191, 192, 255]));
    assert!(set.contains(64) && !set.contains(65) && !set.contains(256));
    let mut other = PeerSet::EMPTY;
    other.insert(254);
    assert!(!set.intersects(&other));
    other.insert(255);
    assert!(set.intersects(&other));
}

#[test]
fn equal_members_of_two_words_do_not_cancel_out() {
    let all = PeerSet([u64::MAX; MAX_PEERS / 64]);
    assert!(all.intersects(&all) && !all.is_empty());
    for words in [
        [1, 1, 0, 0],
        [1, 0, 1, 0],
        [1, 0, 0, 1],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ] {
        assert!(PeerSet(words).intersects(&all), "{words:?}");
        assert!(!PeerSet(words).is_empty(), "{words:?}");
    }
    let halves = [[3, 1, 0, 0], [1, 3, 0, 0]].map(PeerSet);
    assert_eq!(halves[0].union(&halves[1]), PeerSet([3, 3, 0, 0]));
}

#[test]
fn sets_of_single_peers_intersect_and_unite_like_sets() {
    let single = |peer| {
        let mut set = PeerSet::EMPTY;
        set.insert(peer);
        set
    };
    let numbers = [0, 1, 63, 64, 100, 128, 191, 192, 255];
    for a in numbers {
        assert!(!single(a).is_empty());
        // A second insertion changes nothing.
        let mut twice = single(a);
        twice.insert(a);
        assert_eq!(twice, single(a));
        assert_eq!(single(a).union(&PeerSet::EMPTY), single(a));
        assert_eq!(PeerSet::EMPTY.union(&single(a)), single(a));
        for b in numbers {
            assert_eq!(single(a).intersects(&single(b)), a == b);
            let union = single(a).union(&single(b));
            assert!((0..256).all(|peer| union.contains(peer) == (peer == a || peer == b)));
        }
    }
}
