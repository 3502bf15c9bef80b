//! UDP sockets of the network namespace of this process: /proc/self/net/udp and udp6
//! (proc_net_tcp(5): the format of TCP's files).

use std::net::IpAddr;

use anyhow::Result;

use super::tcp;

/// Returns whether an unconnected socket takes datagrams for an address and port of this host: the
/// sockets that rule 6 judges.
///
/// The files do not show `IPV6_V6ONLY` and `SO_BINDTODEVICE`: a socket at `::` counts for IPv4.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn has_unconnected(address: IpAddr, port: u16) -> Result<bool> {
    let sockets = tcp::list_files(["net/udp", "net/udp6"])?;
    Ok(sockets.iter().any(|socket| takes(socket, address, port)))
}

fn takes(socket: &tcp::Socket, address: IpAddr, port: u16) -> bool {
    let (bound, bound_port) = socket.local;
    let is_any = bound.is_unspecified() && (bound.is_ipv6() || address.is_ipv4());
    socket.is_unconnected && bound_port == port && (is_any || bound == address)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn a_socket_takes_its_address_and_port() {
        let socket = |local: &str, state: &str| {
            let zeros = local.replace(|digit: char| digit.is_ascii_hexdigit(), "0");
            tcp::parse(&format!("1: {local} {zeros} {state} 00000000:00000000")).unwrap()
        };
        let mapped = "0000000000000000FFFF0000010200C0:2383";
        let any6 = "00000000000000000000000000000000:2383";
        for (local, state, address, expected) in [
            ("00000000:2383", "07", "192.0.2.1", true),
            ("00000000:2383", "07", "2001:db8::1", false),
            ("00000000:2383", "01", "192.0.2.1", false),
            ("00000000:2384", "07", "192.0.2.1", false),
            ("010200C0:2383", "07", "192.0.2.1", true),
            ("010200C0:2383", "07", "192.0.2.2", false),
            (any6, "07", "2001:db8::1", true),
            (any6, "07", "192.0.2.1", true),
            (mapped, "07", "192.0.2.1", true),
        ] {
            let takes = takes(&socket(local, state), address.parse().unwrap(), 9091);
            assert_eq!(takes, expected, "{local} {state} {address}");
        }
    }

    #[test]
    fn a_bound_socket_is_seen() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let is_seen = || has_unconnected(address.ip(), address.port()).unwrap();
        assert!(is_seen());
        socket.connect("127.0.0.1:9").unwrap();
        assert!(!is_seen(), "connected");
    }
}
