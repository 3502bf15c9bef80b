//! One lookup in the FIB: RTM_GETROUTE (rtnetlink(7)).

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};

use super::{
    Protocol, Request, Socket,
    framing::{AF_INET, AF_INET6, each_attribute, index, push_attribute},
};

/// linux/rtnetlink.h: message types.
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// linux/rtnetlink.h: attributes.
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_IIF: u16 = 3;
const RTA_OIF: u16 = 4;
/// linux/rtnetlink.h: types of routes.
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The destination of packets.
    pub(crate) kind: Kind,
    /// The ifindex of the interface that packets leave by.
    pub(crate) oif: Option<u32>,
}

/// The type of a route (RTN_* of linux/rtnetlink.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A neighbour or a gateway.
    Unicast,
    /// An address of this network namespace.
    Local,
    /// Any other type, such as broadcast or unreachable.
    Other(u8),
}

/// Returns the route to an address, from an address of this host or of a packet that arrived on
/// the interface `iif`. `None` where the kernel refuses: no route, or no forwarding.
///
/// # Errors
/// The addresses are of two families, or the kernel cannot be asked.
pub(crate) async fn get(
    to: IpAddr,
    from: Option<IpAddr>,
    iif: Option<u32>,
) -> Result<Option<Route>> {
    let body = request(to, from, iif).context("failed to ask for a route")?;
    let mut socket = Socket::open(Protocol::Route).context("failed to ask for a route")?;
    let request = Request {
        kind: RTM_GETROUTE,
        body: &body,
        reply: RTM_NEWROUTE,
    };
    let reply = socket.get(request).await;
    let reply = reply.context("failed to ask for a route")?;
    reply.map(|payload| parse(&payload)).transpose()
}

/// Writes `struct rtmsg` and attributes.
pub(super) fn request(to: IpAddr, from: Option<IpAddr>, iif: Option<u32>) -> Result<Vec<u8>> {
    ensure!(
        from.is_none_or(|from| from.is_ipv4() == to.is_ipv4()),
        "source and destination must be of one family"
    );
    let (family, bits) = match to {
        IpAddr::V4(_) => (AF_INET, 32),
        IpAddr::V6(_) => (AF_INET6, 128),
    };
    let mut body = vec![family, bits, from.map_or(0, |_| bits)];
    body.resize(12, 0);
    push_address(&mut body, RTA_DST, to)?;
    if let Some(from) = from {
        push_address(&mut body, RTA_SRC, from)?;
    }
    if let Some(iif) = iif {
        push_attribute(&mut body, RTA_IIF, &iif.to_ne_bytes())?;
    }
    Ok(body)
}

fn push_address(body: &mut Vec<u8>, kind: u16, address: IpAddr) -> Result<()> {
    match address {
        IpAddr::V4(v4) => push_attribute(body, kind, &v4.octets()),
        IpAddr::V6(v6) => push_attribute(body, kind, &v6.octets()),
    }
}

/// Parses the payload of an RTM_NEWROUTE message: `struct rtmsg` and attributes.
///
/// # Errors
/// The message is cut short.
pub(super) fn parse(payload: &[u8]) -> Result<Route> {
    let (header, attributes) = payload
        .split_first_chunk::<12>()
        .context("a route message is shorter than its header")?;
    let mut oif = None;
    each_attribute(attributes, |kind, value| {
        if kind == RTA_OIF {
            oif = index(value);
        }
        Ok(())
    })?;
    let kind = match header[7] {
        RTN_UNICAST => Kind::Unicast,
        RTN_LOCAL => Kind::Local,
        other => Kind::Other(other),
    };
    Ok(Route { kind, oif })
}
