//! Messages to the service manager: sd_notify(3), without a wait for the manager.

use std::{
    env,
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// The socket of the service manager, if a manager started this process.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    address: Option<SocketAddr>,
    /// The manager ends a process that sends no keep-alive message for this time.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads the environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET` names no socket.
    pub(super) fn of_environment() -> io::Result<Self> {
        Ok(Self {
            address: env::var_os("NOTIFY_SOCKET").map(address).transpose()?,
            watchdog: watchdog(
                env::var("WATCHDOG_USEC").ok().as_deref(),
                env::var("WATCHDOG_PID").ok().as_deref(),
                std::process::id(),
            ),
        })
    }

    /// Says READY: the guards hold.
    ///
    /// # Errors
    /// The manager's socket refuses, or is full.
    pub(super) fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    /// Names the generation in force, for `systemctl status`.
    pub(super) fn generation(&self, generation: u32) {
        self.send(&format!("STATUS=generation {generation} in force"))
            .ok();
    }

    /// Says STOPPING: `run` is about to end.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1").ok();
    }

    /// Says that the loop of `run` lives.
    pub(super) fn keep_alive(&self) {
        self.send("WATCHDOG=1").ok();
    }

    /// The time between two keep-alive messages: a third of the manager's limit.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 3)
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let Some(address) = &self.address else {
            return Ok(());
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(message.as_bytes(), address).map(drop)
    }
}

/// The address of a path, or of an abstract name behind `@` (sd_notify(3), `NOTIFY_SOCKET`).
fn address(name: OsString) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

/// The limit of sd_watchdog_enabled(3), in microseconds, for this process.
fn watchdog(limit: Option<&str>, process: Option<&str>, own: u32) -> Option<Duration> {
    let limit = limit?.parse().ok().filter(|limit| *limit > 0)?;
    let is_ours = process.is_none_or(|process| process.parse() == Ok(own));
    is_ours.then(|| Duration::from_micros(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_of_another_process_is_none() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (limit, process, expected) in [
            (Some("30000000"), Some("7"), seconds(30)),
            (Some("30000000"), None, seconds(30)),
            (Some("30000000"), Some("8"), None),
            (Some("0"), Some("7"), None),
            (Some("soon"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(
                watchdog(limit, process, 7),
                expected,
                "{limit:?} {process:?}"
            );
        }
    }

    #[test]
    fn messages_reach_the_socket_and_a_full_socket_is_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager {
            address: Some(address(path.into()).unwrap()),
            watchdog: None,
        };
        manager.ready().unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        let full = (0..100_000).find_map(|_| manager.ready().err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn without_a_manager_nothing_is_sent() {
        let manager = ServiceManager::default();
        assert!(manager.ready().is_ok());
        assert_eq!(manager.interval(), None);
    }

    #[test]
    fn an_abstract_name_is_no_path() {
        let socket = address("@enforcer/notify".into()).unwrap();
        assert_eq!(socket.as_abstract_name(), Some(&b"enforcer/notify"[..]));
    }
}
