//! Multicast routing, as igmpproxy and smcroute set up the kernel.
//!
//! Layouts and numbers: include/uapi/linux/mroute.h.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use super::netns::Netns;
use super::sockopt;

const INIT: libc::c_int = 200;
const ADD_INTERFACE: libc::c_int = 202;
const ADD_ROUTE: libc::c_int = 204;
/// `VIFF_USE_IFINDEX`.
const BY_INDEX: u8 = 8;

/// A relay of one source's group from an interface to another, until the drop of this value.
#[derive(Debug)]
pub struct Relay {
    _routing: OwnedFd,
}

impl Relay {
    /// Starts the relay.
    pub fn start(
        namespace: &Netns,
        source: Ipv4Addr,
        group: Ipv4Addr,
        from: &str,
        to: &str,
    ) -> Result<Self> {
        let indexes = [namespace.ifindex(from)?, namespace.ifindex(to)?];
        let routing = namespace
            .run(|| relayed(source, group, indexes))?
            .with_context(|| format!("failed to relay {group} from {from} to {to}"))?;
        Ok(Self { _routing: routing })
    }
}

fn relayed(source: Ipv4Addr, group: Ipv4Addr, indexes: [u32; 2]) -> std::io::Result<OwnedFd> {
    let routing = socket_with(
        AddressFamily::INET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(ipproto::IGMP),
    )?;
    sockopt::set(&routing, libc::SOL_IP, INIT, &1)?;
    for (number, index) in (0_u16..).zip(indexes) {
        // struct vifctl: number, flags, threshold, rate limit, index, remote address.
        let mut interface = [0_u8; 16];
        interface[..2].copy_from_slice(&number.to_ne_bytes());
        interface[2] = BY_INDEX;
        interface[3] = 1;
        interface[8..12].copy_from_slice(&index.to_ne_bytes());
        sockopt::set(&routing, libc::SOL_IP, ADD_INTERFACE, &interface)?;
    }
    // struct mfcctl: source, group, number of the incoming interface, a time to live for each of
    // 32 outgoing interfaces, then counters.
    let mut route = [0_u8; 60];
    route[..4].copy_from_slice(&source.octets());
    route[4..8].copy_from_slice(&group.octets());
    route[11] = 1;
    sockopt::set(&routing, libc::SOL_IP, ADD_ROUTE, &route)?;
    Ok(routing)
}
