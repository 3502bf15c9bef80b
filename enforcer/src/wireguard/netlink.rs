//! Requests to the kernel's WireGuard, over generic netlink.

use anyhow::{Context as _, Result, bail};

use super::{allowed_ips::AllowedIps, parse};
use crate::netlink::{ATTEMPTS, Protocol, Request, Socket, generic};

/// linux/wireguard.h.
const WG_GENL_NAME: &str = "wireguard";
const WG_GENL_VERSION: u8 = 1;

/// Returns the AllowedIPs of the device of an ifindex. The kernel refuses other kinds of devices
/// (`lookup_interface` in drivers/net/wireguard/netlink.c).
///
/// # Errors
/// The kernel's refusal, an unreadable answer, or a device that changes all the time.
pub(super) async fn ask(ifindex: u32) -> Result<AllowedIps> {
    let parts = parts(ifindex).await?;
    let mut allowed = AllowedIps::default();
    for payload in &parts {
        parse::device(payload, &mut allowed)?;
    }
    Ok(allowed)
}

/// Returns the UDP port of the device of an ifindex; `None` for a device that is down and has no
/// port of its own.
///
/// # Errors
/// As for [`ask`].
pub(crate) async fn listen_port(ifindex: u32) -> Result<Option<u16>> {
    for payload in parts(ifindex).await? {
        if let Some(port) = parse::listen_port(&payload)?.filter(|port| *port != 0) {
            return Ok(Some(port));
        }
    }
    Ok(None)
}

/// Returns the messages about a device.
async fn parts(ifindex: u32) -> Result<Vec<Vec<u8>>> {
    let mut socket = Socket::open(Protocol::Generic)?;
    let family = generic::family(&mut socket, WG_GENL_NAME)
        .await
        .context("failed to look for the kernel's WireGuard")?
        .context("the kernel has no WireGuard")?;
    let header = generic::header(parse::WG_CMD_GET_DEVICE, WG_GENL_VERSION);
    let request = Request {
        kind: family,
        body: &[&header[..], &parse::ifindex(ifindex)].concat(),
        reply: family,
    };
    // Parsed only after the last part: parts of a device that changed in between need not fit.
    let keep = |payload: &[u8]| Ok(Some(payload.to_vec()));
    match socket.consistent_dump(request, keep).await? {
        Some(parts) => Ok(parts),
        None => bail!("it changed each of the {ATTEMPTS} times that the kernel was asked"),
    }
}
