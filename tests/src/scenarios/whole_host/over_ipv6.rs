//! A18, A22 and A40 over IPv6, whose FIB, rules and local table are the kernel's other half; and
//! the traffic of others over IPv6.

use std::net::Ipv6Addr;

use anyhow::Result;
use enforcer_ebpf::Reason::UntrustedInterface;

use crate::lab::bridge::{CT6, containers_over_ipv6};
use crate::lab::frames::Ends;
use crate::lab::topology::{GHOST6, HOST_LAN6, LAN6, Lab, PEER6};
use crate::lab::{Ask, Netns, Port, Server, Transport};
use crate::scenarios::attack::{Attack, Attempt, Legitimate, attempt};
use crate::scenarios::raw_packet::{Probe, from_lan, group_mac};

use super::forwarded::behind_a_veth;

/// A port that DNAT takes to a container.
const PUBLISHED: Port<'static> = Port("tcp", 8065);
const STATSD: Port<'static> = Port("udp", 8125);
/// An address beyond the routers (RFC 3849).
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 8);
/// A guest behind the host.
const GUEST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x5, 0, 0, 0, 0, 0, 2);

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        Attack::new("a18_out_by_the_same_interface::ipv6", PUBLISHED, |lab| {
            containers_over_ipv6(lab)?;
            lab.host.ip(&format!("route add ::/0 via {LAN6}"))?;
            lab.host.nft(&format!(
                "table ip6 careless {{
                   chain prerouting {{
                     type nat hook prerouting priority -100; policy accept;
                     iifname eth0 tcp dport {} dnat to [{CT6}]:80
                   }}
                 }}",
                PUBLISHED.1
            ))?;
            let server = Server::start(&lab.ct, Transport::Tcp, "[::]:80", "a container")?;
            asked_far(lab, server, Transport::Tcp, PUBLISHED)
        })
        .held_by_wire(UntrustedInterface),
        Attack::new("a40_rules_of_routing::by_port_over_ipv6", STATSD, |lab| {
            lab.host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
            lab.host.ip_of(
                "inet6",
                &format!(
                    "route add default via {PEER6}
                     route add local default dev lo table 100
                     rule add ipproto 17 dport 8125 lookup 100"
                ),
            )?;
            let server = Server::start(&lab.host, Transport::Udp, "[::]:8125", "statsd")?;
            asked_far(lab, server, Transport::Udp, STATSD)
        })
        .held_by_both(UntrustedInterface),
        multicast(),
    ]
}

/// The LAN asks an address of others by way of the host.
fn asked_far<'lab>(
    lab: &'lab Lab,
    server: Server,
    transport: Transport,
    port: Port<'static>,
) -> Result<Attempt<'lab>> {
    lab.lan
        .ip(&format!("route add {FAR}/128 via {HOST_LAN6}"))?;
    let ask = Ask::new(transport, &format!("[{FAR}]:{}", port.1));
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}

/// A22 on a host whose default route leaves by another interface.
fn multicast() -> Attack {
    let group = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x77);
    let name = "a22_datagrams::ipv6_multicast_beside_a_default_route";
    Attack::new(name, STATSD, move |lab| {
        lab.host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        lab.host.ip(&format!("route add ::/0 via {PEER6}"))?;
        let eth0 = lab.host.ifindex("eth0")?;
        let any = "[::]:8125";
        let server = Server::multicast(&lab.host, any, group.into(), eth0, "statsd")?;
        from_lan(lab, server, move || {
            let probe = Probe::between(Ends::V6(GHOST6, group), STATSD);
            let mac = group_mac(group.into());
            (probe, vec![probe.framed_to(mac, &probe.packet())])
        })
    })
    .held_by_both(UntrustedInterface)
}

pub(super) fn traffic() -> Vec<Legitimate> {
    let closed = "[unregistered]\ntcp = \"drop\"\n";
    vec![
        Legitimate::new("egress::over_ipv6", |lab| {
            let guest = guest(lab)?;
            let server = Server::start(&lab.lan, Transport::Tcp, "[::]:9200", "remote")?;
            let ask = Ask::new(Transport::Tcp, &format!("[{LAN6}]:9200"));
            Ok(attempt((server, guest), move |(_, guest), patience| {
                ask.ask(guest, patience)
            }))
        }),
        Legitimate::new(
            "routed::a_lan_client_at_a_guests_own_port_over_ipv6",
            |lab| at_the_guest(lab, 9200),
        ),
        Legitimate::new(
            "routed::a_lan_client_at_a_port_of_nobody_over_ipv6",
            |lab| at_the_guest(lab, 7070),
        )
        .under(closed),
    ]
}

/// A guest behind an unmastered veth of the host, with the way back from the LAN.
fn guest(lab: &Lab) -> Result<Netns> {
    let guest = behind_a_veth(lab, "ve-x")?;
    lab.host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    lab.host.ip("addr add fd00:5::1/64 dev ve-x nodad")?;
    guest.ip(&format!(
        "addr add {GUEST}/64 dev eth0 nodad
         route add ::/0 via fd00:5::1"
    ))?;
    lab.lan
        .ip(&format!("route add {GUEST}/128 via {HOST_LAN6}"))?;
    Ok(guest)
}

fn at_the_guest(lab: &Lab, port: u16) -> Result<Attempt<'_>> {
    let guest = guest(lab)?;
    let any = format!("[::]:{port}");
    let server = Server::start(&guest, Transport::Tcp, &any, "a routed guest")?;
    let ask = Ask::new(Transport::Tcp, &format!("[{GUEST}]:{port}"));
    Ok(attempt((server, guest), move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}
