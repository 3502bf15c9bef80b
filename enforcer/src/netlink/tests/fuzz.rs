//! Arbitrary bytes: no parser panics, and none reads beyond the end.

use proptest::{prelude::*, test_runner::Config};

use super::{
    super::{
        address, fdb,
        framing::{Replies, each_attribute, first_reply, message},
        generic, link, local, route,
    },
    attribute,
};

/// Runs every parser over the same bytes.
fn parse_all(bytes: &[u8]) {
    let mut nested = Ok(());
    let _ = each_attribute(bytes, |_, value| {
        nested = each_attribute(value, |_, _| Ok(()));
        Ok(())
    });
    let _ = link::parse(bytes);
    let _ = fdb::parse(bytes);
    let _ = route::parse(bytes);
    let _ = local::parse(bytes);
    let _ = address::parse(bytes);
    let _ = generic::parse_family(bytes);
    let _ = first_reply(bytes, 1, 16);
    let _ = Replies::to(1).read(bytes, 16, |payload| link::parse(payload).map(drop));
}

/// A link with every nested attribute that the parser knows.
fn whole_link() -> Vec<u8> {
    let vlan = attribute(2, &[0xff; 8]);
    let info = [attribute(1, b"vlan\0"), attribute(2, &vlan)].concat();
    let xdp = [attribute(2, &[1]), attribute(4, &7u32.to_ne_bytes())].concat();
    let parts = [
        vec![0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        attribute(3, b"eth0\0"),
        attribute(18, &info),
        attribute(43, &xdp),
        attribute(52, &attribute(53, b"wan\0")),
    ];
    parts.concat()
}

#[test]
fn no_byte_makes_a_parser_panic() {
    let family = [
        generic::header(1, 2).to_vec(),
        attribute(2, b"wireguard\0"),
        attribute(1, &31u16.to_ne_bytes()),
    ];
    for whole in [whole_link(), family.concat()] {
        let datagram = message(16, 2, 1, &whole).unwrap();
        for bytes in [whole, datagram] {
            for index in 0..bytes.len() {
                for value in 0..=u8::MAX {
                    let mut changed = bytes.clone();
                    changed[index] = value;
                    parse_all(&changed);
                }
                parse_all(&bytes[..index]);
            }
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn arbitrary_bytes_make_no_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        parse_all(&bytes);
    }

    #[test]
    fn arbitrary_lengths_make_no_parser_panic(
        lengths in prop::collection::vec((0u16..40, 0u16..64), 0..12),
        rest in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = vec![0; 16];
        for (length, kind) in lengths {
            bytes.extend(length.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(&rest);
        }
        parse_all(&bytes);
        parse_all(&message(16, 2, 1, &bytes).unwrap());
    }

    /// Visited values lie within the bytes, in ascending order.
    #[test]
    fn attributes_lie_in_the_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let range = bytes.as_ptr_range();
        let mut last = range.start;
        let _ = each_attribute(&bytes, |_, value| {
            let value = value.as_ptr_range();
            assert!(last < value.start && value.end <= range.end);
            last = value.start;
            Ok(())
        });
    }
}
