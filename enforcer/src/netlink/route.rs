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
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_IP_PROTO: u16 = 27;
const RTA_SPORT: u16 = 28;
const RTA_DPORT: u16 = 29;
/// linux/rtnetlink.h: types of routes.
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;

/// A packet, as the FIB is asked about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    /// The destination address.
    pub(crate) to: IpAddr,
    /// The source address.
    pub(crate) from: Option<IpAddr>,
    /// The ifindex of the arriving interface; `None` for a packet that this host sends.
    pub(crate) iif: Option<u32>,
    /// The transport header, which policy rules may ask for (ip-rule(8)).
    pub(crate) transport: Option<Transport>,
}

/// The transport header of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport {
    /// The protocol.
    pub(crate) protocol: enforcer_ebpf::Protocol,
    /// The source port.
    pub(crate) source: u16,
    /// The destination port.
    pub(crate) destination: u16,
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The destination of packets.
    pub(crate) kind: Kind,
    /// The ifindex of the interface that packets leave by.
    pub(crate) oif: Option<u32>,
    /// Whether packets leave in a lightweight tunnel, such as MPLS or SRv6.
    pub(crate) is_encapsulated: bool,
}

impl Query {
    /// Returns the query for packets of this host to an address.
    pub(crate) const fn of_host(to: IpAddr, from: Option<IpAddr>) -> Self {
        Self {
            to,
            from,
            iif: None,
            transport: None,
        }
    }
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

/// Returns the route of a packet. `None` where the kernel refuses: no route, or no forwarding.
///
/// # Errors
/// The addresses are of two families, or the kernel cannot be asked.
pub(crate) async fn get(query: &Query) -> Result<Option<Route>> {
    let body = request(query).context("failed to ask for a route")?;
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
pub(super) fn request(query: &Query) -> Result<Vec<u8>> {
    let Query { to, from, iif, .. } = *query;
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
    if let Some(transport) = query.transport {
        push_transport(&mut body, transport)?;
    }
    Ok(body)
}

/// Writes the protocol and the ports. The kernel refuses SCTP as a protocol
/// (`rtm_getroute_parse_ip_proto` of net/ipv4/netlink.c), and takes the ports without one.
fn push_transport(body: &mut Vec<u8>, transport: Transport) -> Result<()> {
    let number = match transport.protocol {
        enforcer_ebpf::Protocol::Tcp => Some(6),
        enforcer_ebpf::Protocol::Udp => Some(17),
        enforcer_ebpf::Protocol::Sctp => None,
    };
    if let Some(number) = number {
        push_attribute(body, RTA_IP_PROTO, &[number])?;
    }
    push_attribute(body, RTA_SPORT, &transport.source.to_be_bytes())?;
    push_attribute(body, RTA_DPORT, &transport.destination.to_be_bytes())
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
    let mut is_encapsulated = false;
    each_attribute(attributes, |kind, value| {
        if kind == RTA_OIF {
            oif = index(value);
        }
        is_encapsulated |= kind == RTA_ENCAP_TYPE;
        Ok(())
    })?;
    let kind = match header[7] {
        RTN_UNICAST => Kind::Unicast,
        RTN_LOCAL => Kind::Local,
        other => Kind::Other(other),
    };
    Ok(Route {
        kind,
        oif,
        is_encapsulated,
    })
}
