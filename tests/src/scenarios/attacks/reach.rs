//! A1, A2, A5, A8, A10, A13 and A14: sources, destinations and interfaces that do not fit.

use std::time::Duration;

use anyhow::Result;
use enforcer_ebpf::Reason;

use crate::lab::command::eventually;
use crate::lab::frames::Ends;
use crate::lab::topology::{
    GHOST, HOST_BRIDGE, HOST_LAN, HOST_LAN6, HOST_WG, HOST_WG_MAC, HOST_WG6, PEER, STRANGER,
    STRANGER6,
};
use crate::lab::{Ask, Conversation, Lab, Netns, Outcome, Patience, Port, Server, Transport};
use crate::scenario::host_only::{SAME_PATH, TUNNELLED};
use crate::scenarios::attack::{Attack, Attempt};
use crate::scenarios::raw_packet::{Probe, from_lan, from_lan_as_peer, from_peer};

use Reason::{LoopbackAddress, UnknownPeer, UntrustedInterface};

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = loopback();
    attacks.extend(weak_host());
    attacks.extend(dual_stack());
    attacks.extend(v4_mapped());
    attacks.extend(peers());
    attacks.extend(later());
    attacks
}

/// Serves TCP on the host, and asks from a neighbour.
pub(super) fn asked<'lab>(
    lab: &'lab Lab,
    service: &str,
    token: &str,
    from: &'lab Netns,
    ask: Ask,
) -> Result<Attempt<'lab>> {
    let server = Server::start(&lab.host, Transport::Tcp, service, token)?;
    Ok(Box::new(move |patience| {
        let _server = &server;
        ask.ask(from, patience)
    }))
}

pub(super) fn tcp(to: &str) -> Ask {
    Ask::new(Transport::Tcp, to)
}

fn loopback() -> Vec<Attack> {
    vec![
        Attack::new("a01_route_localnet::tcp", Port("tcp", 3000), |lab| {
            lab.host.sysctl("net/ipv4/conf/eth0/route_localnet", "1")?;
            // Without an own 127.0.0.1 the attacker sends, and answers, by eth0.
            lab.lan.sysctl("net/ipv4/conf/eth0/route_localnet", "1")?;
            lab.lan.ip(&format!(
                "addr flush dev lo\nroute replace 127.0.0.1/32 via {HOST_LAN}"
            ))?;
            asked(
                lab,
                "127.0.0.1:3000",
                "grafana",
                &lab.lan,
                tcp("127.0.0.1:3000"),
            )
        })
        .held_by_wire(LoopbackAddress)
        .held_by_socket(UntrustedInterface)
        .shown_as("Grafana on 127.0.0.1:3000, by route_localnet"),
        Attack::new("a01_route_localnet::udp", Port("udp", 8125), |lab| {
            lab.host.sysctl("net/ipv4/conf/eth0/route_localnet", "1")?;
            let server = Server::start(&lab.host, Transport::Udp, "127.0.0.1:8125", "statsd")?;
            from_lan(lab, server, || {
                let ends = Ends::V4(GHOST, std::net::Ipv4Addr::LOCALHOST);
                let probe = Probe::between(ends, Port("udp", 8125));
                (probe, vec![probe.frame()])
            })
        })
        .host_only(SAME_PATH)
        .held_by_wire(LoopbackAddress)
        .held_by_socket(UntrustedInterface),
        Attack::new(
            "a02_dnat_before_the_martian_check",
            Port("tcp", 3001),
            |lab| {
                let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "gitea")?;
                lab.publish_like_netavark(3001, 80)?;
                from_lan(lab, server, || {
                    let ends = Ends::V4(GHOST, std::net::Ipv4Addr::LOCALHOST);
                    let probe = Probe::between(ends, Port("tcp", 3001));
                    (probe, vec![probe.frame()])
                })
            },
        )
        .held_by_wire(LoopbackAddress)
        .shown_as("127.0.0.1:3001 on eth0, sent on by DNAT"),
    ]
}

fn weak_host() -> Vec<Attack> {
    vec![
        Attack::new("a05_weak_host_model::ipv4", Port("tcp", 8200), |lab| {
            lab.route_from_lan(HOST_WG)?;
            let ask = tcp(&format!("{HOST_WG}:8200"));
            asked(lab, &format!("{HOST_WG}:8200"), "hashivault", &lab.lan, ask)
        })
        .host_only(TUNNELLED)
        .held_by_both(UntrustedInterface)
        .shown_as("Vault on the WireGuard address, through eth0"),
        Attack::new("a05_weak_host_model::ipv6", Port("tcp", 8200), |lab| {
            lab.lan
                .ip(&format!("route replace {HOST_WG6}/128 via {HOST_LAN6}"))?;
            let ask = tcp(&format!("[{HOST_WG6}]:8200"));
            asked(
                lab,
                &format!("[{HOST_WG6}]:8200"),
                "hashivault",
                &lab.lan,
                ask,
            )
        })
        .host_only(TUNNELLED)
        .held_by_both(UntrustedInterface),
        Attack::new(
            "a05_weak_host_model::with_a_peers_source",
            Port("tcp", 9100),
            |lab| {
                let server = Server::start(
                    &lab.host,
                    Transport::Tcp,
                    &format!("{HOST_WG}:9100"),
                    "metrics",
                )?;
                from_lan_as_peer(lab, server, || {
                    let probe = Probe::between(Ends::V4(PEER, HOST_WG), Port("tcp", 9100));
                    (probe, vec![probe.frame()])
                })
            },
        )
        .host_only(TUNNELLED)
        .held_by_both(UntrustedInterface),
        Attack::new(
            "a14_peers::an_allowed_address_through_eth0",
            Port("udp", 9100),
            |lab| {
                let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:9100", "metrics")?;
                from_lan_as_peer(lab, server, || {
                    let probe = Probe::between(Ends::V4(PEER, HOST_LAN), Port("udp", 9100));
                    (probe, vec![probe.frame()])
                })
            },
        )
        .host_only(TUNNELLED)
        .held_by_both(UntrustedInterface),
    ]
}

fn dual_stack() -> Vec<Attack> {
    vec![
        Attack::new("a08_ipv6::v6_only_listener", Port("tcp", 9200), |lab| {
            let service = format!("[{HOST_LAN6}]:9200");
            asked(lab, &service, "elasticsearch", &lab.lan, tcp(&service))
        })
        .host_only(SAME_PATH)
        .held_by_both(UntrustedInterface),
        Attack::new(
            "a08_ipv6::dual_stack_listener_over_ipv4",
            Port("tcp", 9200),
            |lab| {
                let ask = tcp(&format!("{HOST_LAN}:9200"));
                asked(lab, "[::]:9200", "elasticsearch", &lab.lan, ask)
            },
        )
        .held_by_both(UntrustedInterface)
        .shown_as("Elasticsearch on [::]:9200, over IPv4"),
        Attack::new(
            "a08_ipv6::dual_stack_udp_over_ipv4",
            Port("udp", 8125),
            |lab| {
                let server = Server::start(&lab.host, Transport::Udp, "[::]:8125", "statsd")?;
                let ask = Ask::new(Transport::Udp, &format!("{HOST_LAN}:8125"));
                Ok(Box::new(move |patience| {
                    let _server = &server;
                    ask.ask(&lab.lan, patience)
                }))
            },
        )
        .host_only(SAME_PATH)
        .held_by_both(UntrustedInterface),
    ]
}

fn v4_mapped() -> Vec<Attack> {
    vec![
        // A dual-stack UDP socket takes these for datagrams of the IPv4 peer, and answers by IPv4.
        Attack::new(
            "a08_ipv6::a_v4_mapped_source_through_eth0",
            Port("udp", 9100),
            |lab| {
                let server = Server::start(&lab.host, Transport::Udp, "[::]:9100", "metrics")?;
                from_lan_as_peer(lab, server, || {
                    let ends = Ends::V6(PEER.to_ipv6_mapped(), HOST_LAN6);
                    let probe = Probe::between(ends, Port("udp", 9100));
                    (probe, vec![probe.frame()])
                })
            },
        )
        .host_only(SAME_PATH)
        .held_by_both(UntrustedInterface),
        Attack::new(
            "a08_ipv6::a_v4_mapped_source_through_wg0",
            Port("udp", 9100),
            |lab| {
                let server = Server::start(&lab.host, Transport::Udp, "[::]:9100", "metrics")?;
                from_peer(lab, server, || {
                    let ends = Ends::V6(PEER.to_ipv6_mapped(), HOST_WG6);
                    let probe = Probe::between(ends, Port("udp", 9100));
                    (probe, vec![probe.framed_to(HOST_WG_MAC, &probe.packet())])
                })
            },
        )
        .held_by_both(UnknownPeer),
        Attack::new(
            "a08_ipv6::v4_mapped_loopback_on_the_wire",
            Port("tcp", 9200),
            |lab| {
                let server =
                    Server::start(&lab.host, Transport::Tcp, "[::]:9200", "elasticsearch")?;
                from_lan(lab, server, || {
                    let mapped = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped();
                    let ends = Ends::V6(crate::lab::topology::GHOST6, mapped);
                    let probe = Probe::between(ends, Port("tcp", 9200));
                    (probe, vec![probe.frame()])
                })
            },
        )
        .host_only(SAME_PATH)
        .refused_by_the_stack("no route leads to a v4-mapped destination")
        .held_by_wire(LoopbackAddress),
    ]
}

fn peers() -> Vec<Attack> {
    let metrics = Port("tcp", 9100);
    vec![
        Attack::new("a14_peers::an_unknown_peer", metrics, |lab| {
            let ask = tcp(&format!("{HOST_WG}:9100")).from(&format!("{STRANGER}:0"));
            asked(lab, "0.0.0.0:9100", "metrics", &lab.peer, ask)
        })
        .host_only(TUNNELLED)
        .held_by_both(UnknownPeer),
        Attack::new("a14_peers::an_unknown_peer_over_ipv6", metrics, |lab| {
            let ask = tcp(&format!("[{HOST_WG6}]:9100")).from(&format!("[{STRANGER6}]:0"));
            asked(lab, "[::]:9100", "metrics", &lab.peer, ask)
        })
        .host_only(TUNNELLED)
        .held_by_both(UnknownPeer),
        Attack::new(
            "a14_peers::an_allowed_peer_at_another_service",
            Port("tcp", 8087),
            |lab| {
                let ask = tcp(&format!("{HOST_WG}:8087")).from(&format!("{PEER}:0"));
                asked(lab, &format!("{HOST_WG}:8087"), "influxdb3", &lab.peer, ask)
            },
        )
        .host_only(TUNNELLED)
        .held_by_both(UntrustedInterface)
        .shown_as("a WireGuard peer that nobody allowed, at 8087"),
        Attack::new(
            "a14_peers::an_allowed_peer_at_the_lan_address",
            Port("tcp", 9200),
            |lab| {
                lab.peer
                    .ip(&format!("route replace {HOST_LAN}/32 via {HOST_WG}"))?;
                let ask = tcp(&format!("{HOST_LAN}:9200")).from(&format!("{PEER}:0"));
                asked(lab, "0.0.0.0:9200", "elasticsearch", &lab.peer, ask)
            },
        )
        .host_only(TUNNELLED)
        .held_by_both(UntrustedInterface),
        // podman0 is an inside interface without a wire guard: containers meet the socket guard.
        Attack::new(
            "a14_peers::a_container_at_the_hosts_socket",
            Port("tcp", 8087),
            |lab| {
                let service = format!("{HOST_BRIDGE}:8087");
                asked(lab, &service, "influxdb3", &lab.ct, tcp(&service))
            },
        )
        .held_by_socket(UntrustedInterface)
        .shown_as("a container at a socket of the host, 8087"),
    ]
}

fn later() -> Vec<Attack> {
    vec![
        Attack::new(
            "a10_an_interface_that_appears_later",
            Port("tcp", 9200),
            |lab| {
                let server =
                    Server::start(&lab.host, Transport::Tcp, "0.0.0.0:9200", "elasticsearch")?;
                let ask = tcp("192.168.78.1:9200");
                Ok(Box::new(move |patience| {
                    let _server = &server;
                    // Made anew each time, so also after `up`.
                    let _ = lab.host.ip("link del eth1");
                    lab.host.ip(&format!(
                        "link add eth1 type veth peer name eth1 netns {}
                     addr add 192.168.78.1/24 dev eth1
                     link set eth1 up",
                        lab.lan.path()
                    ))?;
                    lab.lan
                        .ip("addr add 192.168.78.2/24 dev eth1\nlink set eth1 up")?;
                    ask.ask(&lab.lan, patience)
                }))
            },
        )
        .held_by_socket(UntrustedInterface),
        Attack::new("a13_a_connection_from_before", Port("tcp", 9200), |lab| {
            let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:9200", "elasticsearch")?;
            let open = Conversation::open(&lab.lan, &format!("{HOST_LAN}:9200"))?;
            Ok(goes_on_talking(server, open, ()))
        })
        .held_by_both(UntrustedInterface),
    ]
}

/// Sends more on a connection that was open before any guard.
pub(super) fn goes_on_talking<'lab>(
    server: Server,
    mut open: Conversation,
    keep: impl Send + 'lab,
) -> Attempt<'lab> {
    let mut sent = 0;
    Box::new(move |patience| {
        let _kept = &keep;
        let before = server.received();
        sent += open.say_more()?;
        // Bytes dropped by the last guard come first, and TCP may wait as long for the next try as
        // for all tries so far.
        let limit = match patience {
            Patience::Brief => patience.limit(),
            Patience::Long => Duration::from_secs(60),
        };
        let all = eventually(limit, || (server.received() == sent).then_some(()));
        Ok(match all {
            Some(()) => Outcome::Answered("elasticsearch".to_owned()),
            None if server.received() > before => Outcome::Answered("a part of it".to_owned()),
            None => Outcome::Silent,
        })
    })
}
