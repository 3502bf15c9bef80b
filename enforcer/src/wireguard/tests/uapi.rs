//! Answers in the format of wireguard-go, and malformed answers.

use std::{
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::super::{
    AllowedIps, Answer, Device, ask_all,
    uapi::{self, MAX_ANSWER, parse},
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
        assert_eq!(Device::of(&other), None);
        let answers = run(ask_all([&other], Duration::ZERO, |_, _| false));
        assert_eq!(answers[&7], Answer::NotWireGuard);
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Asks a daemon of the user of the test.
fn asked(path: &Path) -> anyhow::Result<AllowedIps> {
    run(uapi::ask_process_of(
        rustix::process::geteuid().as_raw(),
        path,
    ))
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
    assert_eq!(asked(&path).unwrap(), parse(&whole()).unwrap());
}

#[test]
fn a_daemon_that_hangs_up_is_an_error() {
    for answer in [&b""[..], b"errno=0\n", b"public_key=", b"\xff\xff\n\n"] {
        let (_folder, path) = daemon(answer.to_vec());
        let error = asked(&path).unwrap_err();
        assert!(format!("{error:#}").contains("wg0.sock"), "{error:#}");
    }
}

#[test]
fn a_socket_without_a_daemon_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wg0.sock");
    drop(UnixListener::bind(&path).unwrap());
    let error = asked(&path).unwrap_err();
    assert!(format!("{error:#}").contains("refused"), "{error:#}");
}

#[test]
fn an_answer_of_more_than_4_mib_is_an_error() {
    let prefix = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        format!("allowed_ip=10.{a}.{b}.{c}/32\n")
    };
    let long = |prefixes: u32| -> Vec<u8> {
        let prefixes: String = (0..prefixes).map(prefix).collect();
        format!("public_key={}\n{prefixes}errno=0\n\n", key(1)).into_bytes()
    };
    let most = long(150_000);
    assert!((3 << 20..MAX_ANSWER).contains(&(most.len() as u64)));
    let (_folder, path) = daemon(most);
    assert_eq!(asked(&path).unwrap().len(), 150_000);
    let (_folder, path) = daemon(long(500_000));
    let error = format!("{:#}", asked(&path).unwrap_err());
    assert!(error.contains("longer than 4 MiB"), "{error}");
}

#[test]
fn a_process_of_another_user_is_not_believed() {
    let (_folder, path) = daemon(whole().into_bytes());
    let other = rustix::process::geteuid().as_raw() + 1;
    let error = run(uapi::ask_process_of(other, &path)).unwrap_err();
    assert!(
        format!("{error:#}").contains(&format!("not to {other}")),
        "{error:#}"
    );
}

#[test]
fn a_socket_that_others_may_change_is_not_believed() {
    let (folder, path) = daemon(whole().into_bytes());
    let open = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path(), mode).unwrap();
    };
    open(0o777);
    let error = format!("{:#}", run(uapi::ask(&path)).unwrap_err());
    assert!(error.contains("not believed"), "{error}");
    assert!(
        error.contains("chmod go-w") || error.contains("chown root"),
        "{error}"
    );
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // The control: root's alone, under the same name.
    open(0o755);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(uapi::ask(&path)).unwrap(), parse(&whole()).unwrap());
}
