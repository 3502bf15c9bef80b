//! Answers in the format of wireguard-go, and malformed answers.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::PathBuf,
    thread,
    time::Duration,
};

use super::super::{
    Answer, ask,
    uapi::{self, parse},
};
use super::words;
use crate::interfaces::Interface;

fn key(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn whole() -> String {
    let (own, one, two, three) = (key(9), key(1), key(2), key(3));
    format!(
        "private_key={own}\nlisten_port=51820\nfwmark=0\npublic_key={one}\npreshared_key={own}\n\
         protocol_version=1\nendpoint=[fe80::1%eth0]:51820\nlast_handshake_time_sec=0\n\
         tx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\nallowed_ip=10.0.0.5/32\n\
         allowed_ip=fd00::/64\npublic_key={two}\nallowed_ip=0.0.0.0/0\nallowed_ip=10.1.2.3/8\n\
         public_key={three}\nerrno=0\n\n"
    )
}

#[test]
fn an_answer_is_read() {
    let words = words(&parse(&whole()).unwrap());
    assert_eq!(words[&1], ["10.0.0.5/32", "fd00::/64"]);
    assert_eq!(words[&2], ["0.0.0.0/0", "10.0.0.0/8"]);
    assert!(words[&3].is_empty());
    assert_eq!(words.len(), 3, "the private key is no peer");
}

#[test]
fn an_answer_that_is_cut_short_is_refused() {
    let whole = whole();
    for cut in 0..whole.len() {
        assert!(parse(&whole[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn what_the_protocol_does_not_have_is_refused() {
    let one = key(1);
    let two = key(2);
    let bad = [
        "errno=1\n\n".to_owned(),
        "\n\n".to_owned(),
        "allowed_ip=10.0.0.0/8\nerrno=0\n\n".to_owned(),
        format!("public_key={}\nerrno=0\n\n", &one[1..]),
        format!("public_key={}g\nerrno=0\n\n", &one[1..]),
        format!("public_key={one}\nallowed_ip=10.0.0.0\nerrno=0\n\n"),
        format!("public_key={one}\nallowed_ip=10.0.0.0/33\nerrno=0\n\n"),
        format!("public_key={one}\nallowed_ip=-10.0.0.0/8\nerrno=0\n\n"),
        format!("public_key={one}\n\nerrno=0\n\n"),
        format!("errno=0\npublic_key={one}\n\n"),
        format!(
            "public_key={one}\nallowed_ip=10.0.0.0/8\npublic_key={two}\nallowed_ip=10.0.0.0/8\n\
             errno=0\n\n"
        ),
    ];
    for text in bad {
        assert!(parse(&text).is_err(), "{text:?}");
    }
}

#[test]
fn only_a_tun_device_can_have_a_socket() {
    let interface = |kind: &str, link_type| Interface {
        index: 7,
        name: "enforcer-none".to_owned(),
        kind: Some(kind.to_owned()),
        link_type,
        ..Interface::default()
    };
    for other in [
        interface("veth", 1),
        interface("tun", 1),
        // No daemon has a socket of this name.
        interface("tun", 0xfffe),
    ] {
        assert_eq!(uapi::socket_of(&other), None);
        assert_eq!(run(ask(&other)), Answer::NotWireGuard);
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Starts a daemon with a fixed answer.
fn daemon(answer: Vec<u8>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wg0.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = [0; 7];
        stream.read_exact(&mut question).unwrap();
        assert_eq!(&question, b"get=1\n\n");
        // The client may have closed the socket before the end.
        let _ = stream.write_all(&answer);
    });
    (folder, path)
}

#[test]
fn a_daemon_is_asked_and_understood() {
    let (_folder, path) = daemon(whole().into_bytes());
    assert_eq!(
        run(uapi::ask(&path, uapi::TIMEOUT)).unwrap(),
        parse(&whole()).unwrap()
    );
}

#[test]
fn a_daemon_that_hangs_up_is_an_error() {
    for answer in [&b""[..], b"errno=0\n", b"public_key=", b"\xff\xff\n\n"] {
        let (_folder, path) = daemon(answer.to_vec());
        let error = run(uapi::ask(&path, uapi::TIMEOUT)).unwrap_err();
        assert!(format!("{error:#}").contains("wg0.sock"), "{error:#}");
    }
}

#[test]
fn a_socket_without_a_daemon_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wg0.sock");
    drop(UnixListener::bind(&path).unwrap());
    let error = run(uapi::ask(&path, uapi::TIMEOUT)).unwrap_err();
    assert!(format!("{error:#}").contains("refused"), "{error:#}");
}

/// The daemon accepts and never answers, so the time limit ends the query.
#[test]
fn a_daemon_that_never_answers_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wg0.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = run(uapi::ask(&path, Duration::from_millis(50))).unwrap_err();
    assert!(
        format!("{error:#}").contains("no answer within"),
        "{error:#}"
    );
}
