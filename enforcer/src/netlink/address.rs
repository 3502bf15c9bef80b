//! Addresses of this host: RTM_GETADDR (rtnetlink(7)).

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use super::{
    ATTEMPTS, Protocol, Request, Socket,
    framing::{each_attribute, ip},
};

/// linux/rtnetlink.h.
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// linux/if_addr.h.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The ifindex of the interface.
    pub(crate) ifindex: u32,
    /// This host's end.
    pub(crate) ip: IpAddr,
    /// The length of the prefix on the link.
    pub(crate) prefix_length: u8,
}

/// Returns the IPv4 and IPv6 addresses of all interfaces.
///
/// # Errors
/// The kernel's refusal, a reply that cannot be read, or addresses that change all the time.
pub(crate) async fn list() -> Result<Vec<Address>> {
    let what = "failed to list addresses";
    let mut socket = Socket::open(Protocol::Route).context(what)?;
    let request = Request {
        kind: RTM_GETADDR,
        // `struct ifaddrmsg`: all families, all interfaces.
        body: &[0; 8],
        reply: RTM_NEWADDR,
    };
    let found = socket.consistent_dump(request, parse).await.context(what)?;
    found.with_context(|| {
        format!("{what}: they changed each of the {ATTEMPTS} times that the kernel was asked")
    })
}

/// Parses the payload of an RTM_NEWADDR message: `struct ifaddrmsg` and attributes. `None` for an
/// address that is not IP.
///
/// # Errors
/// The message is cut short.
pub(super) fn parse(payload: &[u8]) -> Result<Option<Address>> {
    let (header, attributes) = payload
        .split_first_chunk::<8>()
        .context("an address message is shorter than its header")?;
    let [family, prefix_length, _, _, i0, i1, i2, i3] = *header;
    let (mut local, mut address) = (None, None);
    each_attribute(attributes, |kind, value| {
        match kind {
            IFA_LOCAL => local = ip(family, value),
            IFA_ADDRESS => address = ip(family, value),
            _ => {}
        }
        Ok(())
    })?;
    // Beside an IFA_LOCAL, IFA_ADDRESS is the far end's (rtnetlink(7)).
    Ok(local.or(address).map(|ip| Address {
        ifindex: u32::from_ne_bytes([i0, i1, i2, i3]),
        ip,
        prefix_length,
    }))
}
