//! The FIB's answer on a described packet, as `bpf_fib_lookup` gives the answer to a wire guard.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context as _, Result};
use enforcer_ebpf::{Address, Route};

use super::Question;
use crate::{
    host::HostSnapshot,
    netlink::route::{self, Kind, Query, Transport},
    policy::{PolicyTables, SOURCE_PORT},
    procfs::sysctl,
};

/// Returns the FIB's answer on a packet to an address that arrived on an interface: RTM_GETROUTE
/// with an input interface, rtnetlink(7), and the conditions that `bpf_ipv4_fib_lookup` and
/// `bpf_ipv6_fib_lookup` (net/core/filter.c) test before. A refusal (no route, no forwarding)
/// means that the packet stays.
///
/// # Errors
/// A setting of the interface cannot be read, or the kernel cannot be asked.
pub(super) async fn route_of(
    question: &Question,
    destination: IpAddr,
    ifindex: u32,
    tables: &PolicyTables,
    snapshot: &HostSnapshot,
) -> Result<Route> {
    // A member asks as its master.
    let ifindex = tables.routes_as(ifindex);
    let interface = snapshot.by_index(ifindex);
    let Some(interface) = interface.filter(|_| is_forwardable(question.source, destination)) else {
        return Ok(Route::Here);
    };
    let forwards = sysctl::forwards(&interface.name, destination.is_ipv6());
    if !forwards.with_context(|| format!("failed to read the forwarding of {}", interface.name))? {
        return Ok(Route::Here);
    }
    let query = Query {
        to: destination,
        from: Some(question.source),
        iif: Some(ifindex),
        transport: Some(Transport {
            protocol: question.protocol,
            source: SOURCE_PORT,
            destination: question.port,
        }),
    };
    Ok(answer(route::get(&query).await?, ifindex))
}

/// Returns whether packets between two addresses may be forwarded at all. The guard asks nothing
/// about a destination that is no unicast address; IPv6 never forwards link-local and loopback
/// addresses (`rt6_need_strict` of include/net/ip6_route.h).
fn is_forwardable(source: IpAddr, destination: IpAddr) -> bool {
    let is_strict = |address: Ipv6Addr| {
        address.is_multicast() || address.is_unicast_link_local() || address.is_loopback()
    };
    let stays = |address| matches!(address, IpAddr::V6(v6) if is_strict(v6));
    Address::from(destination).is_unicast() && !stays(source) && !stays(destination)
}

/// Returns the meaning of a route for a packet that arrived on an interface. `bpf_fib_lookup`
/// takes no route into a lightweight tunnel (BPF_FIB_LKUP_RET_UNSUPP_LWT).
fn answer(route: Option<route::Route>, ifindex: u32) -> Route {
    let route = route.filter(|route| route.kind == Kind::Unicast && !route.is_encapsulated);
    match route.and_then(|route| route.oif) {
        None => Route::Here,
        Some(oif) if oif == ifindex => Route::Back,
        Some(_) => Route::Onward,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unicast_route_forwards() {
        let route = |kind, oif, is_encapsulated| {
            let route = route::Route {
                kind,
                oif,
                is_encapsulated,
            };
            answer(Some(route), 2)
        };
        assert_eq!(answer(None, 2), Route::Here);
        assert_eq!(route(Kind::Unicast, Some(3), false), Route::Onward);
        assert_eq!(route(Kind::Unicast, Some(2), false), Route::Back);
        assert_eq!(route(Kind::Unicast, Some(3), true), Route::Here);
        assert_eq!(route(Kind::Unicast, None, false), Route::Here);
        assert_eq!(route(Kind::Local, Some(1), false), Route::Here);
        // RTN_BLACKHOLE (linux/rtnetlink.h).
        assert_eq!(route(Kind::Other(6), Some(3), false), Route::Here);
    }

    #[test]
    fn link_local_and_group_addresses_stay() {
        let ip = |text: &str| text.parse().unwrap();
        for (source, destination, expected) in [
            ("192.0.2.1", "198.51.100.7", true),
            // IPv4 forwards link-local addresses.
            ("169.254.0.1", "198.51.100.7", true),
            ("192.0.2.1", "224.0.0.1", false),
            ("192.0.2.1", "255.255.255.255", false),
            ("2001:db8::1", "2001:db8:1::1", true),
            ("fe80::1", "2001:db8:1::1", false),
            ("2001:db8::1", "fe80::1", false),
            ("2001:db8::1", "ff02::1", false),
        ] {
            let is = is_forwardable(ip(source), ip(destination));
            assert_eq!(is, expected, "{source} to {destination}");
        }
    }
}
