//! A15: raw sockets, which get a copy of each packet of their protocol (raw(7)).
//!
//! The "port" of a raw socket is a protocol number, so the socket guard judges none: the wire
//! guard stands alone.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use enforcer_ebpf::Reason::UntrustedInterface;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, ipproto, socket_with};

use crate::lab::command::eventually;
use crate::lab::wire::Wire;
use crate::lab::{Netns, Outcome, Port};
use crate::scenarios::attack::{Attack, attempt};
use crate::scenarios::raw_packet::Probe;

const STATSD: Port<'static> = Port("udp", 8125);

pub(super) fn attacks() -> Vec<Attack> {
    let copied = Attack::new("a15_raw_socket", STATSD, |lab| {
        let listener = listener(&lab.host)?;
        let wire = Wire::open(&lab.lan, "eth0")?;
        Ok(attempt((listener, wire), |(listener, wire), patience| {
            let end = Instant::now() + patience.limit();
            while Instant::now() < end {
                let probe = Probe::v4(STATSD);
                wire.send(&probe.frame())?;
                let moment = end.saturating_duration_since(Instant::now());
                let heard = eventually(moment.min(Duration::from_millis(500)), || {
                    hears(listener, probe).then_some(())
                });
                if heard.is_some() {
                    return Ok(Outcome::Answered("a copy at the raw socket".into()));
                }
            }
            Ok(Outcome::Silent)
        }))
    });
    vec![copied.held_by_wire(UntrustedInterface)]
}

/// A raw socket for all UDP packets of the namespace.
fn listener(namespace: &Netns) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let made = namespace.run(|| {
        socket_with(
            AddressFamily::INET,
            SocketType::RAW,
            flags,
            Some(ipproto::UDP),
        )
    })?;
    made.context("failed to make a raw socket")
}

/// Whether the copies so far hold the probe: an IPv4 header, then both ports.
fn hears(listener: &OwnedFd, probe: Probe) -> bool {
    let ports = [probe.source.to_be_bytes(), probe.port.to_be_bytes()].concat();
    let mut buffer = [0; 256];
    while let Ok((length, _)) = rustix::net::recv(listener, &mut buffer[..], RecvFlags::empty()) {
        let packet = &buffer[..length];
        let header = packet.first().map_or(0, |byte| usize::from(byte & 0xf) * 4);
        if packet.get(header..header + 4) == Some(&ports) {
            return true;
        }
    }
    false
}
