//! Files of systemd-logind and records of utmp.

use std::os::unix::net::UnixListener;

use super::*;

/// As `session_save` writes the file.
const SESSION: &str = "\
# This is private data. Do not parse.
UID=1000
USER=alice
ACTIVE=1
IS_DISPLAY=0
STATE=active
REMOTE=1
TYPE=tty
ORIGINAL_TYPE=tty
CLASS=user
SCOPE=session-3.scope
FIFO=/run/systemd/sessions/3.ref
TTY=pts/0
REMOTE_HOST=192.0.2.7
SERVICE=sshd
POSITION=0
LEADER=4711
AUDIT=3
";

fn login(user: &str, client: Option<&str>) -> Login {
    Login {
        user: user.to_owned(),
        client: client.map(|client| client.parse().unwrap()),
        leader: Some(4711),
    }
}

#[test]
fn a_remote_session_of_logind_is_a_login() {
    assert_eq!(session(SESSION), Some(login("alice", Some("192.0.2.7"))));
    for (before, after, client) in [
        ("192.0.2.7", "\"2001:db8::7\"", Some("2001:db8::7")),
        ("192.0.2.7", "fe80::7%eth0", Some("fe80::7")),
        ("192.0.2.7", "::ffff:192.0.2.7", Some("192.0.2.7")),
        ("192.0.2.7", "laptop.example", None),
        ("STATE=active", "STATE=online", Some("192.0.2.7")),
        ("STATE=active", "STATE=opening", Some("192.0.2.7")),
    ] {
        let text = SESSION.replace(before, after);
        assert_eq!(session(&text), Some(login("alice", client)), "{after}");
    }
}

#[test]
fn a_local_or_ended_session_is_no_login() {
    for (before, after) in [
        ("REMOTE=1", "REMOTE=0"),
        ("REMOTE=1\n", ""),
        ("REMOTE_HOST=192.0.2.7\n", ""),
        ("STATE=active", "STATE=closing"),
    ] {
        assert_eq!(session(&SESSION.replace(before, after)), None, "{after}");
    }
    for text in ["", "=", "REMOTE=1", "REMOTE_HOST", "\u{0}\u{0}"] {
        assert_eq!(session(text), None, "{text:?}");
    }
}

/// A record of alice.
fn utmp(kind: i16, host: &str, address: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; RECORD];
    bytes[..2].copy_from_slice(&kind.to_ne_bytes());
    bytes[4..8].copy_from_slice(&4711i32.to_ne_bytes());
    bytes[44..49].copy_from_slice(b"alice");
    bytes[76..76 + host.len()].copy_from_slice(host.as_bytes());
    bytes[ADDRESS..ADDRESS + address.len()].copy_from_slice(address);
    bytes
}

#[test]
fn a_session_of_utmp_is_a_login() {
    let v4 = [192, 0, 2, 7];
    let v6: Ipv6Addr = "2001:db8::7".parse().unwrap();
    for (host, address, client) in [
        ("laptop.example", &v4[..], "192.0.2.7"),
        ("laptop.example", &v6.octets(), "2001:db8::7"),
        ("192.0.2.8", &[], "192.0.2.8"),
    ] {
        let found = record(&utmp(USER_PROCESS, host, address));
        assert_eq!(found, Some(login("alice", Some(client))), "{host}");
    }
    let full = "x".repeat(256);
    assert!(record(&utmp(USER_PROCESS, &full, &v4)).is_some());
    // A console, a dead session, a reboot, and a record that is cut short.
    for (kind, host, address) in [(7, ":0", &[][..]), (8, "", &v4), (2, "6.12", &[])] {
        assert_eq!(record(&utmp(kind, host, address)), None, "{kind} {host}");
    }
    let whole = utmp(USER_PROCESS, "", &v4);
    for length in 0..ADDRESS + 16 {
        assert_eq!(record(&whole[..length]), None, "{length}");
    }
}

/// The layout is that of the C library.
#[cfg(target_env = "gnu")]
#[test]
fn the_layout_of_utmp_is_that_of_the_c_library() {
    assert_eq!(RECORD, size_of::<libc::utmpx>());
    assert_eq!(ADDRESS, std::mem::offset_of!(libc::utmpx, ut_addr_v6));
    assert_eq!(USER_PROCESS, libc::USER_PROCESS);
    let places = [
        std::mem::offset_of!(libc::utmpx, ut_pid),
        std::mem::offset_of!(libc::utmpx, ut_user),
        std::mem::offset_of!(libc::utmpx, ut_host),
    ];
    assert_eq!(places, [4, 44, 76]);
}

#[test]
fn the_records_of_logins_are_joined() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let user = |logind: &[&Login], utmp: Option<&[&Login]>| {
        let owned = |logins: &[&Login]| logins.iter().copied().cloned().collect();
        let joined = Logins::join(Some(owned(logind)), utmp.map(owned)).unwrap();
        joined.user_at(ip("192.0.2.7")).map(str::to_owned)
    };
    let alice = login("alice", Some("192.0.2.7"));
    let bob = login("bob", Some("192.0.2.8"));
    let named = login("carol", None);
    assert_eq!(user(&[], None), None);
    assert_eq!(user(&[&alice], None).as_deref(), Some("alice"));
    assert_eq!(user(&[&bob], None), None);
    assert_eq!(user(&[&bob], Some(&[&alice])).as_deref(), Some("alice"));
    // A name may be any address, unless utmp has the address.
    assert_eq!(user(&[&named], None).as_deref(), Some("carol"));
    assert_eq!(user(&[&named], Some(&[])), None);
    assert_eq!(Logins::join(None, None), None);
    assert!(Logins::join(None, Some(Vec::new())).is_some());
}

#[test]
fn the_folder_of_logind_is_read_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    assert_eq!(logind(&absent).unwrap(), None);
    assert_eq!(logind(folder.path()).unwrap(), Some(Vec::new()));
    fs::write(folder.path().join("3"), SESSION).unwrap();
    let long = format!("{SESSION}{}", "X".repeat(1 << 20));
    fs::write(folder.path().join("4"), long).unwrap();
    // A FIFO as logind's, a folder, a socket and a link to nothing are no sessions.
    let fifo = folder.path().join("3.ref");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("absent", folder.path().join("link")).unwrap();
    let _socket = UnixListener::bind(folder.path().join("socket")).unwrap();
    let alice = login("alice", Some("192.0.2.7"));
    assert_eq!(
        logind(folder.path()).unwrap(),
        Some(vec![alice.clone(), alice])
    );
}

#[test]
fn a_record_outlives_no_process() {
    let me = i32::try_from(std::process::id()).unwrap();
    assert!(is_alive(me) && is_alive(1));
    assert!(!is_alive(i32::MAX) && !is_alive(0));
}

#[test]
fn the_records_of_this_host_can_be_read() {
    recorded().unwrap();
}
