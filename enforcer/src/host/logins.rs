//! The records of logins from elsewhere: systemd-logind's and utmp.
//!
//! A TCP connection to sshd proves nothing: anybody may open one, and keep the connection open
//! for LoginGraceTime (sshd_config(5)). A record is made after the authentication: by pam_systemd(8)
//! in the file of a session, and by sshd itself in utmp(5).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};

use super::sessions;

/// A file for each session of systemd-logind (`session_save` in src/login/logind-session.c). The
/// format is private, and the same since systemd 38; sd-login(3) reads the same lines.
const LOGIND: &str = "/run/systemd/sessions";
/// utmp(5), absent where the distribution has given utmp up.
const UTMP: &str = "/run/utmp";
/// Limits, in files, and in bytes for each file.
const MAX_SESSIONS: usize = 4096;
const MAX_SESSION: u64 = 64 << 10;
const MAX_UTMP: u64 = 4 << 20;

/// A login from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Login {
    user: String,
    /// The address; `None` for a host that the record has by name (`UseDNS` in sshd_config(5)).
    client: Option<IpAddr>,
    /// The first process of the session.
    leader: Option<i32>,
}

/// The users that are logged in from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logins {
    users: BTreeMap<IpAddr, String>,
    /// A user at an unknown address.
    anywhere: Option<String>,
}

impl Logins {
    /// Returns the user at an address, or who may be there.
    pub(crate) fn user_at(&self, client: IpAddr) -> Option<&str> {
        let user = self.users.get(&client).or(self.anywhere.as_ref());
        user.map(String::as_str)
    }

    /// Joins both records; `None` if the host keeps neither. utmp has every address, so a name
    /// alone means an unknown address only where there is no utmp.
    fn join(logind: Option<Vec<Login>>, utmp: Option<Vec<Login>>) -> Option<Self> {
        if logind.is_none() && utmp.is_none() {
            return None;
        }
        let mut joined = Self::default();
        let has_addresses = utmp.is_some();
        let logins = logind
            .into_iter()
            .flatten()
            .chain(utmp.into_iter().flatten());
        for login in logins {
            match login.client {
                Some(client) => {
                    joined.users.entry(client).or_insert(login.user);
                }
                None if has_addresses => {}
                None => joined.anywhere = Some(login.user),
            }
        }
        Some(joined)
    }
}

/// Reads the logins from elsewhere of this host; `None` if the host keeps no record.
///
/// # Errors
/// A record exists and cannot be read.
pub(crate) fn recorded() -> Result<Option<Logins>> {
    let is_alive = |login: &Login| login.leader.is_none_or(is_alive);
    let alive = |logins: Vec<Login>| logins.into_iter().filter(is_alive).collect();
    let logind = logind(Path::new(LOGIND)).with_context(|| format!("failed to read {LOGIND}"))?;
    let utmp = read(Path::new(UTMP), MAX_UTMP).with_context(|| format!("failed to read {UTMP}"))?;
    let utmp = utmp.map(|bytes| bytes.chunks_exact(RECORD).filter_map(record).collect());
    Ok(Logins::join(logind.map(alive), utmp.map(alive)))
}

/// Whether a process exists. A record outlives a session that ended with a crash.
fn is_alive(process: i32) -> bool {
    Pid::from_raw(process).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Reads the sessions in a folder of systemd-logind; `None` without the folder.
fn logind(folder: &Path) -> io::Result<Option<Vec<Login>>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut logins = Vec::new();
    for entry in entries.take(MAX_SESSIONS) {
        let Some(text) = read(&entry?.path(), MAX_SESSION)? else {
            continue;
        };
        logins.extend(session(&String::from_utf8_lossy(&text)));
    }
    Ok(Some(logins))
}

/// Reads a regular file up to a limit, and never waits: the folder of sessions has FIFOs. `None` for
/// another kind of file, and without the file.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let options = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = File::options().read(true).custom_flags(options).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A socket.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Parses the file of a session; `None` for a local session and for a session that has ended.
fn session(text: &str) -> Option<Login> {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let (_, value) = lines.find(|(key, _)| *key == name)?;
        Some(value.trim_matches('"'))
    };
    let is_over = value("STATE") == Some("closing");
    if value("REMOTE") != Some("1") || is_over {
        return None;
    }
    let host = value("REMOTE_HOST")?;
    Some(Login {
        user: value("USER").unwrap_or("?").to_owned(),
        client: sessions::address(host).map(|(client, _)| client),
        leader: value("LEADER").and_then(|leader| leader.parse().ok()),
    })
}

/// The length of a record in utmp. glibc's `struct utmp` (bits/utmp.h) has a shorter session id and
/// time on machines with a 32-bit forerunner (`__WORDSIZE_TIME64_COMPAT32`).
const RECORD: usize = if cfg!(target_arch = "x86_64") {
    384
} else {
    400
};
/// The place of `ut_addr_v6`.
const ADDRESS: usize = if cfg!(target_arch = "x86_64") {
    348
} else {
    360
};
/// utmp(5): `ut_type` of a session.
const USER_PROCESS: i16 = 7;

/// Parses a record of utmp; `None` for other records than sessions, and without an address.
fn record(bytes: &[u8]) -> Option<Login> {
    /// The places of `ut_pid`, `ut_user` and `ut_host`, and the lengths of both texts.
    const PROCESS: usize = 4;
    const USER: (usize, usize) = (44, 32);
    const HOST: (usize, usize) = (76, 256);
    let text = |(start, length): (usize, usize)| {
        let field = bytes.get(start..start + length)?;
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(length);
        Some(String::from_utf8_lossy(&field[..end]).into_owned())
    };
    if i16::from_ne_bytes(*bytes.first_chunk()?) != USER_PROCESS {
        return None;
    }
    let numeric = address(*bytes.get(ADDRESS..)?.first_chunk()?);
    let named = || sessions::address(&text(HOST)?).map(|(client, _)| client);
    Some(Login {
        user: text(USER)?,
        client: Some(numeric.or_else(named)?),
        leader: Some(i32::from_ne_bytes(*bytes.get(PROCESS..)?.first_chunk()?)),
    })
}

/// Returns `ut_addr_v6`: IPv4 if only the first 4 bytes are set.
fn address(bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, rest @ ..] = bytes;
    match (rest == [0; 12], [a, b, c, d] == [0; 4]) {
        (true, true) => None,
        (true, false) => Some(Ipv4Addr::new(a, b, c, d).into()),
        (false, _) => Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()),
    }
}

#[cfg(test)]
mod tests;
