//! TCP sockets of the network namespace of this process: /proc/self/net/tcp and tcp6
//! (proc_net_tcp(5)).

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result};

use super::Process;
use crate::printable::decode_path;

/// TCP_ESTABLISHED, TCP_CLOSE and TCP_LISTEN (net/tcp_states.h).
const ESTABLISHED: &str = "01";
const CLOSE: &str = "07";
const LISTEN: &str = "0A";

/// A TCP socket. IPv4-mapped addresses are IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Address and port of this end.
    pub(crate) local: (IpAddr, u16),
    /// Address and port of the other end.
    pub(crate) remote: (IpAddr, u16),
    /// The connection is established.
    pub(crate) is_established: bool,
    /// The socket listens.
    pub(crate) is_listening: bool,
    /// The socket has no other end: the state of an unconnected UDP socket.
    pub(crate) is_unconnected: bool,
}

/// Returns every socket.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn list() -> Result<Vec<Socket>> {
    list_files(["net/tcp", "net/tcp6"])
}

/// Returns every socket in files of this format, by their paths below a process's folder.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn list_files(files: [&str; 2]) -> Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for file in files {
        let path = Process::This.path(file);
        let table = match fs::read_to_string(&path) {
            Ok(table) => table,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("failed to read {}", decode_path(&path)));
            }
        };
        sockets.extend(table.lines().filter_map(parse));
    }
    Ok(sockets)
}

/// Parses a line; `None` for the heading.
pub(crate) fn parse(line: &str) -> Option<Socket> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote) = (end(words.next()?)?, end(words.next()?)?);
    let state = words.next()?;
    Some(Socket {
        local,
        remote,
        is_established: state == ESTABLISHED,
        is_listening: state == LISTEN,
        is_unconnected: state == CLOSE,
    })
}

/// Parses an address and a port in hexadecimal; an address is words of 32 bits in the byte order
/// of this machine.
fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| -> Option<[u8; 4]> {
        let digits = address.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(index)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn a_line_is_read_with_both_ends() {
        let ends = |text: &str| {
            let socket = parse(text).unwrap();
            let [local, remote] = [socket.local, socket.remote]
                .map(|(address, port)| std::net::SocketAddr::new(address, port).to_string());
            (local, remote, socket.is_established)
        };
        let expected = |local: &str, remote: &str, is_established| {
            (local.to_owned(), remote.to_owned(), is_established)
        };
        assert_eq!(
            ends("   3: 010200C0:0016 070200C0:C351 01 00000000:00000000 00:00000000"),
            expected("192.0.2.1:22", "192.0.2.7:50001", true)
        );
        assert_eq!(
            ends("0: 00000000:0016 00000000:0000 0A 00000000:00000000"),
            expected("0.0.0.0:22", "0.0.0.0:0", false)
        );
        assert_eq!(
            ends(
                "0: B80D0120000000000000000001000000:0016 \
                 0000000000000000FFFF0000070200C0:C351 01"
            ),
            expected("[2001:db8::1]:22", "192.0.2.7:50001", true)
        );
    }

    #[test]
    fn other_lines_are_no_socket() {
        for line in [
            "",
            "  sl  local_address rem_address   st tx_queue",
            "0: 010200C0:0016",
            "0: 010200C0:0016 070200C0:C351",
            "0: 010200C:0016 070200C0:C351 01",
            "0: 010200C0:10016 070200C0:C351 01",
            "0: ÄÖÜß:0016 070200C0:C351 01",
            "0: XXXXXXXX:0016 070200C0:C351 01",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn the_kernels_tables_are_read() {
        assert!(list().is_ok());
    }
}
