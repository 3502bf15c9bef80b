//! A18, A22 and A40: destinations that the FIB calls another machine's, and that arrive all the same.

use std::net::Ipv4Addr;

use anyhow::Result;
use enforcer_ebpf::Reason::UntrustedInterface;

use crate::lab::bridge::{Bridge, GUEST, HOST, NEIGHBOUR, Uplink, netfilter_on_members};
use crate::lab::command::eventually;
use crate::lab::frames::{Ends, V4};
use crate::lab::topology::{CT, GHOST, LAN, Lab, PEER};
use crate::lab::wire::Wire;
use crate::lab::{Ask, Feature, Outcome, Port, Server, Transport};
use crate::scenarios::attack::{Attack, Attempt, attempt};
use crate::scenarios::raw_packet::{Probe, from_lan, group_mac};

/// A port that DNAT takes to a container.
const PUBLISHED: Port<'static> = Port("tcp", 8065);
const STATSD: Port<'static> = Port("udp", 8125);
const ELASTIC: Port<'static> = Port("tcp", 9200);
/// An address beyond the routers.
const FAR: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = by_nat();
    attacks.extend(by_nat_on_a_bridge());
    attacks.extend(by_rules());
    attacks.extend(to_many());
    attacks
}

/// A rule of NAT that names no address; port 80 of the container, or a socket of the host.
fn careless(lab: &Lab, interface: &str, port: u16, container: bool) -> Result<()> {
    let action = if container {
        format!("dnat to {CT}:80")
    } else {
        "redirect".to_owned()
    };
    lab.host.nft(&format!(
        "table ip careless {{
           chain prerouting {{
             type nat hook prerouting priority -100; policy accept;
             iifname {interface} tcp dport {port} {action}
           }}
         }}"
    ))
}

/// The container's service, or the host's, asked from the LAN at an address of others.
fn asked(lab: &Lab, to: Ipv4Addr, port: u16, container: bool) -> Result<Attempt<'_>> {
    careless(lab, "eth0", port, container)?;
    lab.route_from_lan(to)?;
    let server = if container {
        Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "a container")?
    } else {
        let any = format!("0.0.0.0:{port}");
        Server::start(&lab.host, Transport::Tcp, &any, "the host")?
    };
    let ask = Ask::new(Transport::Tcp, &format!("{to}:{port}"));
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}

fn by_nat() -> Vec<Attack> {
    let closed = "[interfaces.eth0]\nforward = false\n";
    // An address in the subnet of wg0: the FIB forwards the packet there.
    let behind_wg0 = Ipv4Addr::new(10, 10, 0, 77);
    vec![
        Attack::new("a18_out_by_the_same_interface", PUBLISHED, |lab| {
            lab.host.ip(&format!("route add default via {LAN}"))?;
            asked(lab, FAR, PUBLISHED.1, true)
        })
        .held_by_wire(UntrustedInterface),
        Attack::new(
            "a18_behind_another_interface::to_a_container",
            PUBLISHED,
            move |lab| asked(lab, behind_wg0, PUBLISHED.1, true),
        )
        .held_by_wire(UntrustedInterface)
        .under(closed),
        Attack::new(
            "a18_behind_another_interface::on_a_host_with_two_uplinks",
            PUBLISHED,
            |lab| {
                lab.host.ip(&format!("route add default via {PEER}"))?;
                asked(lab, FAR, PUBLISHED.1, true)
            },
        )
        .held_by_wire(UntrustedInterface)
        .under(closed),
        // The named exception at the wire; the socket guard sees the port of the socket.
        Attack::new(
            "a18_behind_another_interface::to_a_socket",
            ELASTIC,
            move |lab| asked(lab, behind_wg0, ELASTIC.1, false),
        )
        .held_by_socket(UntrustedInterface),
        Attack::new(
            "a18_behind_another_interface::to_a_socket_without_forwarding",
            ELASTIC,
            move |lab| asked(lab, behind_wg0, ELASTIC.1, false),
        )
        .held_by_both(UntrustedInterface)
        .under(closed),
    ]
}

/// A frame for a guest's MAC, and NAT on the member of the bridge.
fn by_nat_on_a_bridge() -> Vec<Attack> {
    let to_the_guest = |name, port: Port<'static>, container: bool| {
        Attack::new(name, port, move |lab| {
            let bridge = Bridge::new(lab, Uplink::Vxlan)?;
            netfilter_on_members(lab, true)?;
            careless(lab, "br0", port.1, container)?;
            let server = if container {
                Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "a container")?
            } else {
                let any = format!("0.0.0.0:{}", port.1);
                Server::start(&lab.host, Transport::Tcp, &any, "the host")?
            };
            let ask = Ask::new(Transport::Tcp, &format!("{GUEST}:{}", port.1));
            Ok(attempt((server, bridge), move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        })
        .needs(Feature::BridgeNetfilter)
    };
    let closed = "[interfaces.br0]\nforward = false\n";
    vec![
        to_the_guest("a18_a_guests_mac::to_a_container", PUBLISHED, true)
            .held_by_wire(UntrustedInterface)
            .under(closed),
        // The bridge's guard sees the packet behind the member's DNAT.
        to_the_guest("a18_a_guests_mac::to_a_socket", ELASTIC, false)
            .held_by_both(UntrustedInterface),
        // A frame for the guest's MAC with an address of the host is the host's.
        Attack::new(
            "a18_a_guests_mac::with_the_hosts_address",
            PUBLISHED,
            |lab| {
                let bridge = Bridge::new(lab, Uplink::Vxlan)?;
                netfilter_on_members(lab, true)?;
                careless(lab, "br0", PUBLISHED.1, true)?;
                lab.lan.ip(&format!(
                    "neigh replace {HOST} lladdr 02:00:00:00:85:50 dev up0 nud permanent"
                ))?;
                let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "a container")?;
                let ask = Ask::new(Transport::Tcp, &format!("{HOST}:{}", PUBLISHED.1));
                Ok(attempt((server, bridge), move |_, patience| {
                    ask.ask(&lab.lan, patience)
                }))
            },
        )
        .held_by_wire(UntrustedInterface)
        .needs(Feature::BridgeNetfilter),
    ]
}

/// Routes that make everything local, for packets that a rule chooses; all others would leave by
/// wg0.
fn local_by(lab: &Lab, selector: &str) -> Result<()> {
    lab.host.ip(&format!(
        "route add default via {PEER}
         route add local default dev lo table 100
         rule add {selector} lookup 100"
    ))
}

/// A40: the answer of the FIB hangs on more than the destination.
fn by_rules() -> Vec<Attack> {
    vec![
        Attack::new("a40_rules_of_routing::by_port", STATSD, |lab| {
            local_by(lab, "ipproto 17 dport 8125")?;
            lab.route_from_lan(FAR)?;
            let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
            let ask = Ask::new(Transport::Udp, &format!("{FAR}:8125"));
            Ok(attempt(server, move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_both(UntrustedInterface),
        Attack::new("a40_rules_of_routing::by_type_of_service", STATSD, |lab| {
            // Without a destination the rule would take the ghost's address for the host's too.
            local_by(lab, &format!("to {FAR} tos 0x10"))?;
            let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
            from_lan(lab, server, || {
                let probe = Probe::between(Ends::V4(GHOST, FAR), STATSD);
                let packet = V4::new(GHOST, FAR)
                    .service(0x10)
                    .packet(probe.protocol, &probe.segment());
                (probe, vec![probe.framed(&packet)])
            })
        })
        .held_by_both(UntrustedInterface),
        Attack::new("a40_rules_of_routing::by_the_bridge", STATSD, |lab| {
            let bridge = Bridge::new(lab, Uplink::Vxlan)?;
            local_by(lab, "iif br0")?;
            lab.lan.ip(&format!("route replace {FAR}/32 via {HOST}"))?;
            let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
            let ask =
                Ask::new(Transport::Udp, &format!("{FAR}:8125")).from(&format!("{NEIGHBOUR}:0"));
            Ok(attempt((server, bridge), move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_both(UntrustedInterface),
    ]
}

/// A22 on a host whose default route leaves by another interface: the FIB forwards a destination
/// for many along the default route.
fn to_many() -> Vec<Attack> {
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let sent = |name, source: Ipv4Addr, destination: Ipv4Addr| {
        Attack::new(name, STATSD, move |lab| {
            lab.host.ip(&format!("route add default via {PEER}"))?;
            let any = "0.0.0.0:8125";
            let eth0 = lab.host.ifindex("eth0")?;
            let server = Server::multicast(&lab.host, any, group.into(), eth0, "statsd")?;
            let wire = Wire::open(&lab.lan, "eth0")?;
            // No answer finds the way to 0.0.0.0: the service itself tells of the datagram.
            Ok(attempt((server, wire), move |(server, wire), patience| {
                let before = server.received();
                let probe = Probe::between(Ends::V4(source, destination), STATSD);
                let mac = group_mac(destination.into());
                wire.send(&probe.framed_to(mac, &probe.packet()))?;
                let arrived = eventually(patience.limit(), || {
                    (server.received() > before).then_some(())
                });
                Ok(arrived.map_or(Outcome::Silent, |()| {
                    Outcome::Answered("the service's tally".into())
                }))
            }))
        })
        .held_by_both(UntrustedInterface)
    };
    vec![
        sent(
            "a22_datagrams::multicast_beside_a_default_route",
            GHOST,
            group,
        ),
        sent(
            "a22_datagrams::broadcast_beside_a_default_route",
            GHOST,
            Ipv4Addr::BROADCAST,
        ),
        sent(
            "a22_datagrams::zero_to_zero",
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::UNSPECIFIED,
        ),
    ]
}
