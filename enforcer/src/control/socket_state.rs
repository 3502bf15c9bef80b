//! The question whether a process holds the socket of a file, without a connection.

use std::{os::unix::net::UnixDatagram, path::Path};

/// The process behind the file of a stream socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketState {
    /// A living process holds the socket.
    Served,
    /// The process has ended, and left the file.
    Abandoned,
    /// No file is there, or the kernel does not tell.
    Unknown,
}

/// Returns whether a living process holds a stream socket, without a connection: the connect of a
/// datagram socket ends with EPROTOTYPE where a stream socket is bound, and with ECONNREFUSED where
/// the file alone is left (`unix_find_bsd`, net/unix/af_unix.c; unix(7)). A connection would wait
/// for room in the backlog, and wake the process.
pub(crate) fn socket_state(path: &Path) -> SocketState {
    let connected = UnixDatagram::unbound().and_then(|asker| asker.connect(path));
    match connected.err().and_then(|error| error.raw_os_error()) {
        Some(libc::EPROTOTYPE) => SocketState::Served,
        Some(libc::ECONNREFUSED) => SocketState::Abandoned,
        _ => SocketState::Unknown,
    }
}
