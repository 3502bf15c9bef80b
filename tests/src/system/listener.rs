//! Services on every address from early in the boot on: the accident behind the boot scenarios.

use std::convert::Infallible;
use std::net::Ipv6Addr;

use anyhow::Result;

use crate::lab::{Netns, Server, Transport};

/// The ports of the built-in registry, but for the public ones.
pub(super) const PORTS: [u16; 9] = [3000, 3001, 6379, 8065, 8087, 8200, 9000, 9001, 9200];

/// Listens for ever, on dual-stack sockets.
pub(super) fn listen() -> Result<Infallible> {
    let own = Netns::own()?;
    let serve = |port: &u16| {
        let address = format!("[{}]:{port}", Ipv6Addr::UNSPECIFIED);
        Server::start(&own, Transport::Tcp, &address, "service")
    };
    let _servers = PORTS.iter().map(serve).collect::<Result<Vec<_>>>()?;
    sd_notify_ready();
    loop {
        std::thread::park();
    }
}

/// Tells systemd that the sockets are there, so that the scenario knows the moment.
pub(super) fn sd_notify_ready() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Ok(sender) = std::os::unix::net::UnixDatagram::unbound() {
        sender.send_to(b"READY=1", socket).ok();
    }
}
