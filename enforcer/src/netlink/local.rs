//! The routes to this host itself: dumps of RTM_GETROUTE, and notices of changes (rtnetlink(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use super::{
    ATTEMPTS, Protocol, Request, Socket,
    fdb::{AF_BRIDGE, NUD_PERMANENT, RTM_DELNEIGH, RTM_NEWNEIGH},
    framing::{AF_INET, AF_INET6, each_attribute, index, ip, number, push_attribute},
};

/// linux/rtnetlink.h: message types.
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
/// linux/rtnetlink.h: attributes.
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;
/// linux/rtnetlink.h: types of routes.
const RTN_LOCAL: u8 = 2;
const RTN_BROADCAST: u8 = 3;
const RTN_ANYCAST: u8 = 4;
/// linux/rtnetlink.h: RT_TABLE_LOCAL.
pub(crate) const LOCAL_TABLE: u32 = 255;

/// linux/rtnetlink.h: multicast groups as a mask.
const RTMGRP_NEIGH: u32 = 1 << 2;
const RTMGRP_IPV4_ROUTE: u32 = 1 << 6;
const RTMGRP_IPV6_ROUTE: u32 = 1 << 10;

/// A route of type local, broadcast or anycast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalRoute {
    /// The destinations.
    pub(crate) prefix: IpNet,
    /// The ifindex of the route's interface; `None` for a route over several.
    pub(crate) ifindex: Option<u32>,
    /// The table (RT_TABLE_* of linux/rtnetlink.h, or a VRF's).
    pub(crate) table: u32,
}

/// Returns the routes of type local, broadcast and anycast in some tables, of both families. The
/// kernel sends one table at a time, so the dump does not grow with the other tables.
///
/// # Errors
/// The kernel's refusal, a reply that cannot be read, or routes that change all the time.
pub(crate) async fn list(tables: impl IntoIterator<Item = u32>) -> Result<Vec<LocalRoute>> {
    let what = "failed to list the routes to this host";
    let mut found = Vec::new();
    for table in tables {
        for family in [AF_INET, AF_INET6] {
            found.extend(dump(family, table).await.context(what)?);
        }
    }
    Ok(found)
}

async fn dump(family: u8, table: u32) -> Result<Vec<LocalRoute>> {
    let mut socket = Socket::open_strict(Protocol::Route)?;
    // `struct rtmsg`, all zeros but the family (ip_valid_fib_dump_req in net/ipv4/fib_frontend.c).
    let mut body = vec![family];
    body.resize(12, 0);
    push_attribute(&mut body, RTA_TABLE, &table.to_ne_bytes())?;
    let request = Request {
        kind: RTM_GETROUTE,
        body: &body,
        reply: RTM_NEWROUTE,
    };
    let dump = socket.consistent_dump(request, |payload| {
        let route = parse(payload)?;
        // The local table shares a trie with others (fib_trie_unmerge).
        Ok(route.filter(|route| route.table == table))
    });
    match dump.await {
        Ok(routes) => routes.with_context(|| {
            format!("they changed each of the {ATTEMPTS} times that the kernel was asked")
        }),
        // A VRF's table comes with the first route (inet_dump_fib); and a kernel may lack IPv6.
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<std::io::Error>();
    let code = refusal.and_then(std::io::Error::raw_os_error);
    matches!(
        code,
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT)
    )
}

/// Parses the payload of an RTM_NEWROUTE message: `struct rtmsg` and attributes. `None` for another
/// type or family.
///
/// # Errors
/// The message is cut short, or the prefix is longer than an address.
pub(super) fn parse(payload: &[u8]) -> Result<Option<LocalRoute>> {
    let (header, attributes) = payload
        .split_first_chunk::<12>()
        .context("a route message is shorter than its header")?;
    let [family, length, _, _, table, _, _, kind, ..] = *header;
    if !matches!(kind, RTN_LOCAL | RTN_BROADCAST | RTN_ANYCAST) {
        return Ok(None);
    }
    // Without RTA_DST the route is for every address.
    let mut to = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return Ok(None),
    };
    let (mut ifindex, mut table) = (None, u32::from(table));
    each_attribute(attributes, |kind, value| {
        match kind {
            RTA_DST => to = ip(family, value).unwrap_or(to),
            RTA_OIF => ifindex = index(value),
            RTA_TABLE => table = number(value).unwrap_or(table),
            _ => {}
        }
        Ok(())
    })?;
    let prefix = IpNet::new(to, length).context("a route has a prefix beyond its family")?;
    Ok(Some(LocalRoute {
        prefix,
        ifindex,
        table,
    }))
}

/// Opens a socket for notices of changed routes of type local, broadcast and anycast, in any table,
/// and of changed permanent entries of forwarding databases, which say what MACs a bridge takes.
/// Each new address of the host brings such a route, and so does another length of its prefix.
///
/// The kernel drops all other notices: a router with the routes of the whole Internet wakes no
/// reader.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn listen() -> Result<Socket> {
    let groups = RTMGRP_NEIGH | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
    Socket::listen_filtered(Protocol::Route, groups, &filter())
}

/// Returns the program of classic BPF that keeps a datagram with such a notice. The offsets are
/// those of `struct nlmsghdr`, 16 bytes, with `struct rtmsg` or `struct ndmsg` behind; a notice has
/// one message. A datagram too short for a load is dropped.
fn filter() -> [libc::sock_filter; 15] {
    // linux/filter.h, linux/bpf_common.h.
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const MESSAGE_TYPE: u32 = 4;
    const ROUTE_TYPE: u32 = 16 + 7;
    const NEIGHBOUR_FAMILY: u32 = 16;
    const NEIGHBOUR_STATE: u32 = 16 + 8;
    let step = |code, k| libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let test = |code, k: u16, jt, jf| libc::sock_filter {
        code,
        jt,
        jf,
        k: k.into(),
    };
    // A load takes the bytes for big endian, and the kernel wrote them in the host's order.
    let half = |number: u16| u16::from_be_bytes(number.to_ne_bytes());
    [
        step(LOAD_HALF, MESSAGE_TYPE),
        test(JUMP_EQUAL, half(RTM_NEWROUTE), 3, 0),
        test(JUMP_EQUAL, half(RTM_DELROUTE), 2, 0),
        test(JUMP_EQUAL, half(RTM_NEWNEIGH), 5, 0),
        test(JUMP_EQUAL, half(RTM_DELNEIGH), 4, 9),
        step(LOAD_BYTE, ROUTE_TYPE),
        test(JUMP_EQUAL, RTN_LOCAL.into(), 6, 0),
        test(JUMP_EQUAL, RTN_BROADCAST.into(), 5, 0),
        test(JUMP_EQUAL, RTN_ANYCAST.into(), 4, 5),
        step(LOAD_BYTE, NEIGHBOUR_FAMILY),
        test(JUMP_EQUAL, AF_BRIDGE.into(), 0, 3),
        step(LOAD_HALF, NEIGHBOUR_STATE),
        test(JUMP_ANY_BIT, half(NUD_PERMANENT), 0, 1),
        step(RETURN, u32::MAX),
        step(RETURN, 0),
    ]
}
