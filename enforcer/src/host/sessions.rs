//! SSH sessions of this host: the session of a command, and the sessions of logged-in users.

use std::{collections::BTreeSet, net::IpAddr, sync::OnceLock};

use anyhow::Result;

use super::{logins, sshd};
use crate::procfs::{Process, tcp};

/// The variable of sshd in the programs of a session: `CLIENT PORT SERVER PORT` (ssh(1),
/// ENVIRONMENT).
const VARIABLE: &str = "SSH_CONNECTION";

/// The greatest number of examined ancestors: more than nested shells have.
const ANCESTORS: usize = 64;

/// The owner of a connection to sshd.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The user of the running command.
    Operator,
    /// A user who is logged in.
    User(String),
    /// Nobody: a login of the client's address is on no record.
    Nobody,
    /// Unknown, as the host keeps no record of logins.
    Unknown,
}

/// An SSH connection to this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session {
    /// The client's address.
    pub(crate) client: IpAddr,
    /// The address of this host.
    pub(crate) server: IpAddr,
    /// The port of this host.
    pub(crate) port: u16,
    /// The interface of a link-local client.
    pub(crate) scope: Option<String>,
    /// The owner.
    pub(crate) owner: Owner,
}

impl Session {
    /// Reads the variable's value.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (client, scope) = address(words.next()?)?;
        let _: u16 = words.next()?.parse().ok()?;
        let (server, _) = address(words.next()?)?;
        let port = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Self {
            client,
            server,
            port,
            scope,
            owner: Owner::Operator,
        })
    }
}

/// Reads an address, with the interface behind a `%`.
pub(super) fn address(text: &str) -> Option<(IpAddr, Option<String>)> {
    let (address, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope.to_owned())),
        None => (text, None),
    };
    Some((address.parse::<IpAddr>().ok()?.to_canonical(), scope))
}

/// Returns the session of this process, by the environment of the process or of an ancestor, as
/// `sudo` removes the variable. The first call looks, and needs CAP_SYS_PTRACE for ancestors with
/// more capabilities or of other users (ptrace(2), access mode checking); later calls repeat the
/// answer.
pub(crate) fn own() -> Option<Session> {
    static OWN: OnceLock<Option<Session>> = OnceLock::new();
    OWN.get_or_init(find_own).clone()
}

fn find_own() -> Option<Session> {
    if let Ok(value) = std::env::var(VARIABLE) {
        return Session::parse(&value);
    }
    let mut process = Process::This.parent()?;
    for _ in 0..ANCESTORS {
        // The first process has no session.
        if process <= 1 {
            return None;
        }
        if let Ok(environment) = Process::Id(process).environment()
            && let Some(session) = of_environment(&environment)
        {
            return Some(session);
        }
        process = Process::Id(process).parent()?;
    }
    None
}

/// Whether systemd started this process for a unit, so that the operator's session is elsewhere
/// (systemd.exec(5), `$SYSTEMD_EXEC_PID`).
pub(crate) fn is_of_a_unit() -> bool {
    let named = std::env::var("SYSTEMD_EXEC_PID").ok();
    named.and_then(|id| id.parse().ok()) == Some(std::process::id())
}

/// Returns the session in an environment, in the form of /proc/PID/environ.
fn of_environment(environment: &[u8]) -> Option<Session> {
    environment.split(|byte| *byte == 0).find_map(|variable| {
        let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        (name == VARIABLE).then(|| Session::parse(value))?
    })
}

/// Returns the connections from elsewhere to sshd's ports in the network namespace of this
/// process, one for each client's address, with the owners by the records of logins.
///
/// # Errors
/// The kernel does not list connections, or a record cannot be read.
pub(crate) fn established() -> Result<BTreeSet<Session>> {
    let ports = sshd::ports();
    let sockets = tcp::list()?;
    let logins = logins::recorded()?;
    let owner = &|client| match &logins {
        None => Owner::Unknown,
        Some(logins) => match logins.user_at(client) {
            Some(user) => Owner::User(user.to_owned()),
            None => Owner::Nobody,
        },
    };
    let sessions = sockets.into_iter();
    Ok(sessions
        .filter_map(|socket| of_socket(socket, &ports, owner))
        .collect())
}

/// Returns the ports of sshd on which a socket listens that others than this host could reach.
///
/// # Errors
/// The kernel does not list sockets.
pub(crate) fn listening_ports() -> Result<BTreeSet<u16>> {
    let ports = sshd::ports();
    let sockets = tcp::list()?.into_iter();
    let open = sockets.filter(|socket| socket.is_listening && !socket.local.0.is_loopback());
    Ok(open
        .map(|socket| socket.local.1)
        .filter(|port| ports.contains(port))
        .collect())
}

/// Returns the session of a TCP socket.
fn of_socket(
    socket: tcp::Socket,
    ports: &BTreeSet<u16>,
    owner: impl Fn(IpAddr) -> Owner,
) -> Option<Session> {
    let ((server, port), (client, _)) = (socket.local, socket.remote);
    let is_one = socket.is_established && ports.contains(&port) && !client.is_loopback();
    is_one.then(|| Session {
        client,
        server,
        port,
        scope: None,
        owner: owner(client),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_session_is_read_from_its_variable() {
        let session = Session::parse("192.0.2.7 50001 192.0.2.1 22").expect("a session");
        assert_eq!(session.client, ip("192.0.2.7"));
        assert_eq!((session.server, session.port), (ip("192.0.2.1"), 22));
        let session = Session::parse("fe80::7%eth0 50001 fe80::1%eth0 2222").expect("a session");
        assert_eq!(session.client, ip("fe80::7"));
        assert_eq!(session.scope.as_deref(), Some("eth0"));
        assert_eq!(session.port, 2222);
        let mapped = Session::parse("::ffff:192.0.2.7 1 ::ffff:192.0.2.1 22").expect("a session");
        assert_eq!(mapped.client, ip("192.0.2.7"));
        for bad in [
            "",
            "UNKNOWN 1 UNKNOWN 22",
            "192.0.2.7 1 192.0.2.1",
            "a b c d e",
        ] {
            assert_eq!(Session::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_session_is_found_in_an_environment() {
        let environment = b"PATH=/bin\0\xff\0SSH_CONNECTION=192.0.2.7 1 192.0.2.1 22\0A=b\0";
        let session = of_environment(environment).expect("a session");
        assert_eq!(session.client, ip("192.0.2.7"));
        assert_eq!(
            of_environment(b"NOT_SSH_CONNECTION=192.0.2.7 1 192.0.2.1 22\0"),
            None
        );
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn established_sessions_are_read_from_proc() {
        let line = |ends: &str, state: &str| {
            let line = format!("   3: {ends} {state} 00000000:00000000 00:00000000");
            let socket = tcp::parse(&line)?;
            of_socket(socket, &BTreeSet::from([22]), |_| Owner::Nobody)
        };
        let v4 = "010200C0:0016 070200C0:C351";
        let session = line(v4, "01").expect("a session");
        assert_eq!(session.client, ip("192.0.2.7"));
        assert_eq!((session.server, session.port), (ip("192.0.2.1"), 22));
        assert_eq!(line(v4, "0A"), None, "a listening socket");
        assert_eq!(
            line("010200C0:0017 070200C0:C351", "01"),
            None,
            "another port"
        );
        assert_eq!(
            line("0100007F:0016 0100007F:C351", "01"),
            None,
            "of this host"
        );
        let v6 = "B80D0120000000000000000001000000:0016 B80D0120000000000000000007000000:C351";
        let session = line(v6, "01").expect("a session");
        assert_eq!(session.client, ip("2001:db8::7"));
        let mapped = "0000000000000000FFFF0000010200C0:0016 0000000000000000FFFF0000070200C0:C351";
        assert_eq!(
            line(mapped, "01").expect("a session").client,
            ip("192.0.2.7")
        );
    }
}
