//! The local table: routes of the types local, broadcast and anycast, RTM_GETROUTE (rtnetlink(7)).
//!
//! A packet to such a destination is this host's. Table 255 counts, and the tables of VRF devices;
//! other tables do not, as a transparent proxy makes everything local in one of them.

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use super::{
    ATTEMPTS, Protocol, Request, Socket,
    framing::{AF_INET, AF_INET6, any_message, each_attribute, index, ip, push_attribute},
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
/// linux/rtnetlink.h.
const RT_TABLE_LOCAL: u32 = 255;
/// `struct rtmsg`: family, lengths of destination and source, TOS, table, protocol, scope, type,
/// and four bytes of flags.
const HEADER: usize = 12;

/// A row of the local table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalRoute {
    /// The destinations.
    pub(crate) prefix: IpNet,
    /// The ifindex of the route's interface; 0 for a route without one.
    pub(crate) ifindex: u32,
}

/// Returns the rows of table 255 and of these tables of VRF devices, of both families.
///
/// # Errors
/// The kernel's refusal, a reply that cannot be read, or routes that change all the time.
pub(crate) async fn list(vrf_tables: &[u32]) -> Result<Vec<LocalRoute>> {
    let what = "failed to list the routes to this host's own addresses";
    // Strictly checked, the kernel leaves other tables out (`ip_valid_fib_dump_req` in
    // net/ipv4/fib_frontend.c, Linux 4.20): a router may have a million routes there.
    let mut socket = Socket::open_strict(Protocol::Route).context(what)?;
    let mut rows = Vec::new();
    for table in vrf_tables.iter().chain([&RT_TABLE_LOCAL]) {
        for family in [AF_INET, AF_INET6] {
            let body = request(family, *table)?;
            let request = Request {
                kind: RTM_GETROUTE,
                body: &body,
                reply: RTM_NEWROUTE,
            };
            let found = socket.dump_if_there(request, parse).await.context(what)?;
            rows.extend(found.with_context(|| {
                format!(
                    "{what}: they changed each of the {ATTEMPTS} times that they were asked for"
                )
            })?);
        }
    }
    Ok(rows)
}

/// Writes `struct rtmsg` for a family, with the table as an attribute: numbers above 255 do not
/// fit the field.
fn request(family: u8, table: u32) -> Result<Vec<u8>> {
    let mut body = vec![0; HEADER];
    body[0] = family;
    push_attribute(&mut body, RTA_TABLE, &table.to_ne_bytes())?;
    Ok(body)
}

/// Whether a route of this type makes its destinations this host's.
const fn is_local(kind: u8) -> bool {
    matches!(kind, RTN_LOCAL | RTN_BROADCAST | RTN_ANYCAST)
}

/// Parses the payload of an RTM_NEWROUTE message: `struct rtmsg` and attributes. `None` for a
/// route of another type.
///
/// # Errors
/// The message is cut short.
pub(super) fn parse(payload: &[u8]) -> Result<Option<LocalRoute>> {
    let (header, attributes) = payload
        .split_first_chunk::<HEADER>()
        .context("a route message is shorter than its header")?;
    let [family, length, _, _, _, _, _, kind, ..] = *header;
    if !is_local(kind) {
        return Ok(None);
    }
    let (mut destination, mut ifindex) = (None, None);
    each_attribute(attributes, |kind, value| {
        match kind {
            RTA_DST => destination = ip(family, value),
            RTA_OIF => ifindex = index(value),
            _ => {}
        }
        Ok(())
    })?;
    // Without RTA_DST the route is a default route.
    let any = match family {
        AF_INET => ip(family, &[0; 4]),
        _ => ip(family, &[0; 16]),
    };
    let prefix = destination
        .or(any)
        .and_then(|network| IpNet::new(network, length).ok());
    Ok(prefix.map(|prefix| LocalRoute {
        prefix: prefix.trunc(),
        ifindex: ifindex.unwrap_or_default(),
    }))
}

/// Returns whether a notice of the groups RTMGRP_IPV4_ROUTE and RTMGRP_IPV6_ROUTE, a datagram, tells
/// of a route of these types. Only the header of each message is read, as a router may learn
/// thousands of others in a second.
pub(crate) fn is_of_local_route(notice: &[u8]) -> bool {
    any_message(notice, |kind, payload| match kind {
        RTM_NEWROUTE | RTM_DELROUTE => payload.get(7).copied().is_none_or(is_local),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An RTM_NEWROUTE message's payload.
    fn route(family: u8, length: u8, kind: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut payload = vec![family, length, 0, 0, 255, 0, 0, kind, 0, 0, 0, 0];
        for (kind, value) in attributes {
            push_attribute(&mut payload, *kind, value).unwrap();
        }
        payload
    }

    #[test]
    fn routes_to_this_host_are_rows() {
        let oif = 7u32.to_ne_bytes();
        let row = |payload: &[u8]| parse(payload).unwrap();
        let expected = |prefix: &str, ifindex| {
            Some(LocalRoute {
                prefix: prefix.parse().unwrap(),
                ifindex,
            })
        };
        for kind in [RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST] {
            let payload = route(
                AF_INET,
                32,
                kind,
                &[(RTA_DST, &[192, 0, 2, 1]), (RTA_OIF, &oif)],
            );
            assert_eq!(row(&payload), expected("192.0.2.1/32", 7));
        }
        let any = route(AF_INET, 0, RTN_LOCAL, &[]);
        assert_eq!(row(&any), expected("0.0.0.0/0", 0));
        let mut net = [0; 16];
        net[0] = 0xfd;
        let payload = route(AF_INET6, 64, RTN_LOCAL, &[(RTA_DST, &net), (RTA_OIF, &oif)]);
        assert_eq!(row(&payload), expected("fd00::/64", 7));
        for other in [1, 5, 7] {
            assert_eq!(
                row(&route(AF_INET, 24, other, &[(RTA_DST, &[192, 0, 2, 0])])),
                None
            );
        }
        assert!(parse(&[0; HEADER - 1]).is_err());
    }

    #[test]
    fn notices_of_other_routes_do_not_count() {
        let notice = |message: u16, kind: u8| {
            super::super::framing::message(message, 0, 0, &route(AF_INET, 24, kind, &[])).unwrap()
        };
        for message in [RTM_NEWROUTE, RTM_DELROUTE] {
            assert!(is_of_local_route(&notice(message, RTN_LOCAL)));
            assert!(!is_of_local_route(&notice(message, 1)));
        }
        let both = [notice(RTM_NEWROUTE, 1), notice(RTM_DELROUTE, RTN_BROADCAST)].concat();
        assert!(is_of_local_route(&both));
        assert!(is_of_local_route(&[1, 2, 3]), "what cannot be read counts");
    }
}
