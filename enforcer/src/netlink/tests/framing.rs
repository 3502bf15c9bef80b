//! Datagrams and attributes as the kernel writes them, and as no kernel should.

use super::{
    super::framing::{Replies, Reply, each_attribute, first_reply, message, push_attribute, text},
    attribute,
};

const SEQUENCE: u32 = 5;
const WANTED: u16 = 16;
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// NLM_F_MULTI, and with it NLM_F_DUMP_INTR.
const MULTI: u16 = 2;
const INTERRUPTED: u16 = 2 | 16;

/// `struct nlmsghdr` and a payload.
fn answer(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Returns the visited payloads, and whether the replies are done and consistent.
fn answered(datagrams: &[&[Vec<u8>]]) -> anyhow::Result<(Vec<Vec<u8>>, bool, bool)> {
    let mut replies = Replies::to(SEQUENCE);
    let mut seen = Vec::new();
    for datagram in datagrams {
        replies.read(&datagram.concat(), WANTED, |payload| {
            seen.push(payload.to_vec());
            Ok(())
        })?;
    }
    Ok((seen, replies.is_done, replies.is_consistent))
}

#[test]
fn answers_come_in_several_datagrams_until_one_says_done() {
    let [a, b] = [b"a", b"b"].map(|it| answer(WANTED, MULTI, SEQUENCE, it));
    let done = answer(DONE, MULTI, SEQUENCE, &[0; 4]);
    let seen = vec![b"a".to_vec(), b"b".to_vec()];
    let one: &[Vec<u8>] = &[a.clone(), b.clone()];
    assert_eq!(answered(&[one]).unwrap(), (seen.clone(), false, true));
    let all = answered(&[one, std::slice::from_ref(&done)]).unwrap();
    assert_eq!(all, (seen, true, true));
    // Another question's answers, and other types, are none.
    let strays = [
        answer(WANTED, MULTI, SEQUENCE - 1, b"x"),
        answer(WANTED + 1, MULTI, SEQUENCE, b"x"),
        answer(DONE, INTERRUPTED, SEQUENCE - 1, &[0; 4]),
    ];
    assert_eq!(answered(&[&strays]).unwrap(), (vec![], false, true));
}

#[test]
fn an_interrupted_answer_spoils_the_list_wherever_it_says_so() {
    let link = |flags| answer(WANTED, flags, SEQUENCE, b"a");
    let done = |flags| answer(DONE, flags, SEQUENCE, &[0; 4]);
    let whole = |datagram: &[Vec<u8>]| answered(&[datagram]).unwrap().2;
    assert!(whole(&[link(MULTI), done(MULTI)]));
    assert!(!whole(&[link(INTERRUPTED), link(MULTI), done(MULTI)]));
    assert!(!whole(&[link(MULTI), done(INTERRUPTED)]));
}

#[test]
fn the_kernels_refusal_is_an_error() {
    let refusal = |kind, code: i32| {
        let refused = answer(kind, 0, SEQUENCE, &code.to_ne_bytes());
        format!("{:#}", answered(&[&[refused]]).unwrap_err())
    };
    assert!(refusal(ERROR, -1).contains("Operation not permitted"));
    assert!(refusal(DONE, -19).contains("No such device"));
    assert!(refusal(ERROR, 0).contains("acknowledged"));
    let cut = &answer(WANTED, MULTI, SEQUENCE, b"abcd")[..18];
    assert!(answered(&[&[cut.to_vec()]]).is_err());
}

#[test]
fn a_request_is_written_as_it_is_read() {
    let mut body = Vec::new();
    push_attribute(&mut body, 7, b"abcde").unwrap();
    assert_eq!(body, attribute(7, b"abcde"));
    assert_eq!(
        message(WANTED, MULTI, SEQUENCE, &body).unwrap(),
        answer(WANTED, MULTI, SEQUENCE, &body)
    );
    assert!(push_attribute(&mut body, 7, &[0; 1 << 16]).is_err());
}

#[test]
fn the_first_reply_is_a_payload_or_a_refusal() {
    let error = |code: i32| answer(ERROR, 0, SEQUENCE, &code.to_ne_bytes());
    let stray = answer(WANTED, 0, SEQUENCE - 1, b"stray");
    let found = [stray.clone(), answer(WANTED, 0, SEQUENCE, b"found")].concat();
    let reply = |datagram: &[u8]| match first_reply(datagram, SEQUENCE, WANTED) {
        Ok(Some(Reply::Payload(payload))) => Ok(String::from_utf8(payload.to_vec()).unwrap()),
        Ok(Some(Reply::Refused)) => Ok("refused".to_owned()),
        Ok(None) => Ok("none".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(reply(&found).unwrap(), "found");
    assert_eq!(reply(&stray).unwrap(), "none");
    assert_eq!(reply(&[]).unwrap(), "none");
    for code in [-libc::ENETUNREACH, -libc::EINVAL, i32::MIN] {
        assert_eq!(reply(&error(code)).unwrap(), "refused", "{code}");
    }
    assert!(reply(&error(0)).unwrap_err().contains("acknowledged"));
    assert!(reply(&answer(WANTED + 1, 0, SEQUENCE, b"")).is_err());
    assert!(reply(&found[..found.len() - 4]).is_err());
}

#[test]
fn a_length_that_does_not_fit_is_an_error() {
    let whole = answer(WANTED, MULTI, SEQUENCE, b"abcd");
    for length in [0u32, 1, 15, 21, 1 << 16, u32::MAX] {
        let mut bad = whole.clone();
        bad[..4].copy_from_slice(&length.to_ne_bytes());
        assert!(answered(&[std::slice::from_ref(&bad)]).is_err(), "{length}");
        assert!(first_reply(&bad, SEQUENCE, WANTED).is_err(), "{length}");
    }
    let whole = attribute(1, b"abcd");
    for length in [0u16, 1, 3, 9, u16::MAX] {
        let mut bad = whole.clone();
        bad[..2].copy_from_slice(&length.to_ne_bytes());
        assert!(each_attribute(&bad, |_, _| Ok(())).is_err(), "{length}");
    }
    assert!(each_attribute(&whole[..3], |_, _| Ok(())).is_err());
}

#[test]
fn attributes_are_visited_without_flags_and_padding() {
    // NLA_F_NESTED and NLA_F_NET_BYTEORDER; the last attribute has no padding.
    let bytes = [attribute(0x8001, b"abcde"), attribute(0x4002, b"f")].concat();
    let mut seen = Vec::new();
    each_attribute(&bytes[..bytes.len() - 3], |kind, value| {
        seen.push((kind, value.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, [(1, b"abcde".to_vec()), (2, b"f".to_vec())]);
    assert_eq!(text(b"eth0\0rest"), "eth0");
    assert_eq!(text(b"eth0"), "eth0");
    assert_eq!(text(b""), "");
}
