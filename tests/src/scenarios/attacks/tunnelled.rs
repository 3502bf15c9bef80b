//! A1, A2, A5, A7, A8, A11 and A13 to A16 with real WireGuard: packets out of the tunnel, and
//! packets that only pretend to be.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use enforcer_ebpf::Reason;

use crate::lab::bpf::{Foreign, Hook, TCX_PASS};
use crate::lab::frames::number::{DESTINATION, FRAGMENT};
use crate::lab::frames::{Ends, V4, chain, v6, v6_fragment};
use crate::lab::topology::{
    CT, HOST_LAN, HOST_LAN6, HOST_WG, HOST_WG6, PEER, PEER6, STRANGER, STRANGER6,
};
use crate::lab::wire::Wire;
use crate::lab::wireguard::{LAPTOP, Member};
use crate::lab::{Ask, Conversation, Feature, Lab, Port, Server, Transport, WireGuard};
use crate::scenarios::attack::{Attack, Attempt};
use crate::scenarios::raw_packet::{Craft, Probe, send_probe};

use super::reach::goes_on_talking;
use Reason::{LoopbackAddress, UnknownPeer, UntrustedInterface};

const STATSD: Port<'static> = Port("udp", 8125);
const ELASTIC: Port<'static> = Port("tcp", 9200);

/// Indices of the peers of [`Member::usual`].
const COLLECTOR: usize = 0;
const LAPTOP_PEER: usize = 1;
const STRANGER_PEER: usize = 2;

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = around_the_tunnel();
    attacks.extend(other_peers());
    attacks.extend(loopback_and_dnat());
    attacks.extend(disguises());
    attacks.extend(at_sockets());
    attacks
        .into_iter()
        .map(|attack| attack.needs(Feature::WireGuard))
        .collect()
}

/// A service on the host, asked by ordinary sockets from a peer behind the hub.
fn asked_by<'lab>(
    lab: &'lab Lab,
    peer: usize,
    transport: Transport,
    service: &str,
    ask: &str,
) -> Result<Attempt<'lab>> {
    let hub = WireGuard::hub(lab, Member::usual())?;
    let server = Server::start(&lab.host, transport, service, "a service")?;
    let ask = Ask::new(transport, ask);
    Ok(Box::new(move |patience| {
        let _server = &server;
        ask.ask(&hub.peers[peer].namespace, patience)
    }))
}

/// The same with raw packets, which the peer's device encrypts unchanged.
fn probed_by<'lab>(
    lab: &'lab Lab,
    peer: usize,
    port: Port<'static>,
    craft: impl Craft + 'lab,
) -> Result<Attempt<'lab>> {
    let transport = if port.0 == "udp" {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    let service = format!("[::]:{}", port.1);
    let server = Server::start(&lab.host, transport, &service, "a service")?;
    probed_at(lab, peer, server, craft)
}

/// The same at a service of the caller's.
fn probed_at<'lab>(
    lab: &'lab Lab,
    peer: usize,
    server: Server,
    craft: impl Craft + 'lab,
) -> Result<Attempt<'lab>> {
    let hub = WireGuard::hub(lab, Member::usual())?;
    let wire = Wire::open_ip(&hub.peers[peer].namespace, "wg0")?;
    Ok(Box::new(move |patience| {
        let _kept = (&server, &hub);
        send_probe(&wire, &wire, patience, &craft)
    }))
}

/// A5, and the last part of A14: eth0 instead of the tunnel.
fn around_the_tunnel() -> Vec<Attack> {
    let weak_host = |name, service: String, via: String| {
        Attack::new(name, Port("tcp", 8200), move |lab| {
            lab.lan.ip(&via)?;
            let hub = WireGuard::hub(lab, Member::usual())?;
            let server = Server::start(&lab.host, Transport::Tcp, &service, "hashivault")?;
            let ask = Ask::new(Transport::Tcp, &service);
            Ok(Box::new(move |patience| {
                let _kept = (&server, &hub);
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_both(UntrustedInterface)
    };
    // The answers to a forged inner source go into the tunnel, to the owner of the address.
    let forged = |name, destination: Ipv4Addr| {
        let port = Port("udp", 9100);
        Attack::new(name, port, move |lab| {
            let hub = WireGuard::hub(lab, Member::usual())?;
            let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:9100", "metrics")?;
            let out = Wire::open(&lab.lan, "eth0")?;
            let answers = Wire::open_ip(&hub.peers[COLLECTOR].namespace, "wg0")?;
            Ok(Box::new(move |patience| {
                let _kept = (&server, &hub);
                send_probe(&out, &answers, patience, &|| {
                    let probe = Probe::between(Ends::V4(PEER, destination), port);
                    (probe, vec![probe.frame()])
                })
            }))
        })
        .held_by_both(UntrustedInterface)
    };
    vec![
        weak_host(
            "a05_wireguard::its_address_through_eth0",
            format!("{HOST_WG}:8200"),
            format!("route replace {HOST_WG}/32 via {HOST_LAN}"),
        ),
        weak_host(
            "a05_wireguard::its_ipv6_address_through_eth0",
            format!("[{HOST_WG6}]:8200"),
            format!("route replace {HOST_WG6}/128 via {HOST_LAN6}"),
        ),
        forged("a05_wireguard::with_a_peers_inner_source", HOST_WG),
        forged("a14_wireguard::an_inner_address_through_eth0", HOST_LAN),
    ]
}

/// A14: other peers of the tunnel.
fn other_peers() -> Vec<Attack> {
    let another = |name, peer, transport: Transport, to: IpAddr| {
        let port = Port(transport.protocol().name(), 9100);
        let to = std::net::SocketAddr::new(to, 9100).to_string();
        Attack::new(name, port, move |lab| {
            asked_by(lab, peer, transport, "[::]:9100", &to)
        })
        .held_by_both(UnknownPeer)
    };
    let tcp = Transport::Tcp;
    let udp = Transport::Udp;
    vec![
        another(
            "a14_wireguard::another_peer",
            STRANGER_PEER,
            tcp,
            HOST_WG.into(),
        ),
        another(
            "a14_wireguard::another_peer_over_udp",
            LAPTOP_PEER,
            udp,
            HOST_WG.into(),
        ),
        another(
            "a14_wireguard::another_peer_over_ipv6",
            STRANGER_PEER,
            tcp,
            HOST_WG6.into(),
        ),
        Attack::new(
            "a14_wireguard::an_allowed_peer_at_another_service",
            Port("tcp", 8087),
            move |lab| {
                asked_by(
                    lab,
                    COLLECTOR,
                    tcp,
                    "0.0.0.0:8087",
                    &format!("{HOST_WG}:8087"),
                )
            },
        )
        .held_by_both(UntrustedInterface),
        Attack::new(
            "a14_wireguard::an_allowed_peer_at_the_lan_address",
            Port("tcp", 9200),
            move |lab| {
                asked_by(
                    lab,
                    COLLECTOR,
                    tcp,
                    "0.0.0.0:9200",
                    &format!("{HOST_LAN}:9200"),
                )
            },
        )
        .held_by_both(UntrustedInterface),
    ]
}

/// A1, A2 and A7 inside the tunnel.
fn loopback_and_dnat() -> Vec<Attack> {
    let gitea = Port("tcp", 3001);
    vec![
        Attack::new("a01_wireguard::route_localnet", STATSD, move |lab| {
            let attempt = probed_by(lab, COLLECTOR, STATSD, move || {
                let probe = Probe::between(Ends::V4(PEER, Ipv4Addr::LOCALHOST), STATSD);
                (probe, vec![probe.frame()])
            })?;
            lab.host.sysctl("net/ipv4/conf/wg0/route_localnet", "1")?;
            Ok(attempt)
        })
        .held_by_wire(LoopbackAddress)
        .held_by_socket(UntrustedInterface),
        Attack::new(
            "a02_wireguard::dnat_before_the_martian_check",
            gitea,
            move |lab| {
                let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "gitea")?;
                lab.publish_like_netavark(gitea.1, 80)?;
                probed_at(lab, COLLECTOR, server, move || {
                    let probe = Probe::between(Ends::V4(PEER, Ipv4Addr::LOCALHOST), gitea);
                    (probe, vec![probe.frame()])
                })
            },
        )
        .held_by_wire(LoopbackAddress),
        // DNAT runs after the wire guard, and the socket guard never sees the packet.
        Attack::new(
            "a07_wireguard::a_container_port_by_dnat",
            gitea,
            move |lab| {
                let hub = WireGuard::hub(lab, Member::usual())?;
                lab.host.nft(&format!(
                    "table ip published {{
                   chain prerouting {{
                     type nat hook prerouting priority -100; policy accept;
                     iifname wg0 tcp dport 3001 dnat to {CT}:80
                   }}
                 }}"
                ))?;
                let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "gitea")?;
                let ask = Ask::new(Transport::Tcp, &format!("{HOST_WG}:3001"));
                Ok(Box::new(move |patience| {
                    let _server = &server;
                    ask.ask(&hub.peers[STRANGER_PEER].namespace, patience)
                }))
            },
        )
        .held_by_wire(UntrustedInterface),
    ]
}

/// A11 inside the tunnel, where packets begin with their IP header.
fn disguises() -> Vec<Attack> {
    let grafana = Port("tcp", 3000);
    vec![
        Attack::new("a11_wireguard::ipv4_options", grafana, move |lab| {
            probed_by(lab, LAPTOP_PEER, grafana, move || {
                let probe = Probe::between(Ends::V4(LAPTOP, HOST_WG), grafana);
                let packet = V4::new(LAPTOP, HOST_WG)
                    .options(&[1; 40])
                    .packet(probe.protocol, &probe.segment());
                (probe, vec![probe.framed(&packet)])
            })
        })
        .held_by_both(UntrustedInterface),
        Attack::new("a11_wireguard::ipv4_fragments", STATSD, move |lab| {
            probed_by(lab, STRANGER_PEER, STATSD, move || {
                let probe = Probe::between(Ends::V4(STRANGER, HOST_WG), STATSD);
                let parts = V4::new(STRANGER, HOST_WG)
                    .identification(probe.source)
                    .fragments(probe.protocol, &probe.segment(), 8);
                (probe, parts.iter().map(|part| probe.framed(part)).collect())
            })
        })
        .held_by_both(UntrustedInterface),
        Attack::new("a11_wireguard::ipv6_fragments", STATSD, move |lab| {
            probed_by(lab, STRANGER_PEER, STATSD, move || {
                let probe = Probe::between(Ends::V6(STRANGER6, HOST_WG6), STATSD);
                let segment = probe.segment();
                let parts = [(0, true, &segment[..16]), (16, false, &segment[16..])];
                let frames = parts.map(|(offset, more, part)| {
                    let id = probe.source.into();
                    let part = v6_fragment(probe.protocol, part, offset, more, id);
                    probe.framed(&v6(STRANGER6, HOST_WG6, FRAGMENT, &part))
                });
                (probe, frames.to_vec())
            })
        })
        .held_by_both(UntrustedInterface),
        Attack::new("a11_wireguard::ipv6_chain", grafana, move |lab| {
            probed_by(lab, COLLECTOR, grafana, move || {
                let probe = Probe::between(Ends::V6(PEER6, HOST_WG6), grafana);
                let (first, bytes) = chain(&[DESTINATION; 8], probe.protocol, &probe.segment());
                (
                    probe,
                    vec![probe.framed(&v6(PEER6, HOST_WG6, first, &bytes))],
                )
            })
        })
        .held_by_both(UntrustedInterface),
    ]
}

/// A8, A13, A15 and A16: the service's socket, and foreign programs on the interface.
fn at_sockets() -> Vec<Attack> {
    const SCTP: Port<'static> = Port("sctp", 3868);
    let at = |port: Port<'static>| format!("{HOST_WG}:{}", port.1);
    let asked = |name, port: Port<'static>, transport, service: &'static str| {
        Attack::new(name, port, move |lab| {
            asked_by(lab, COLLECTOR, transport, service, &at(port))
        })
        .held_by_both(UntrustedInterface)
    };
    vec![
        asked(
            "a08_wireguard::dual_stack_listener_over_ipv4",
            ELASTIC,
            Transport::Tcp,
            "[::]:9200",
        ),
        v4_mapped_source(),
        Attack::new(
            "a13_wireguard::a_connection_from_before",
            ELASTIC,
            move |lab| {
                let hub = WireGuard::hub(lab, Member::usual())?;
                let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:9200", "service")?;
                let open = Conversation::open(&hub.peers[COLLECTOR].namespace, &at(ELASTIC))?;
                Ok(goes_on_talking(server, open, hub))
            },
        )
        .held_by_both(UntrustedInterface),
        asked(
            "a15_wireguard::mptcp_listener",
            ELASTIC,
            Transport::Mptcp,
            "0.0.0.0:9200",
        )
        .needs(Feature::Mptcp),
        asked(
            "a15_wireguard::sctp_listener",
            SCTP,
            Transport::Sctp,
            "0.0.0.0:3868",
        )
        .needs(Feature::Sctp),
        Attack::new("a16_wireguard::tcx_that_accepts", ELASTIC, move |lab| {
            let tcp = Transport::Tcp;
            let mut attempt = asked_by(lab, COLLECTOR, tcp, "0.0.0.0:9200", &at(ELASTIC))?;
            let foreign = Foreign::on_interface(&lab.host, "wg0", Hook::Tcx, TCX_PASS)?;
            Ok(Box::new(move |patience| {
                let _foreign = &foreign;
                attempt(patience)
            }))
        })
        .held_by_both(UntrustedInterface)
        .needs(Feature::Tcx),
    ]
}

/// A source that WireGuard lets the laptop have, and that a dual-stack socket takes for the
/// collector's.
fn v4_mapped_source() -> Attack {
    Attack::new(
        "a08_wireguard::a_v4_mapped_source",
        Port("udp", 9100),
        |lab| {
            let mapped = PEER.to_ipv6_mapped();
            let [collector, laptop, _] = Member::usual();
            let laptop = laptop.allowed(&[&format!("{mapped}/128")]);
            let hub = WireGuard::hub(lab, [collector, laptop])?;
            let server = Server::start(&lab.host, Transport::Udp, "[::]:9100", "metrics")?;
            let out = Wire::open_ip(&hub.peers[LAPTOP_PEER].namespace, "wg0")?;
            let answers = Wire::open_ip(&hub.peers[COLLECTOR].namespace, "wg0")?;
            Ok(Box::new(move |patience| {
                let _kept = (&server, &hub);
                send_probe(&out, &answers, patience, &|| {
                    let probe = Probe::between(Ends::V6(mapped, HOST_WG6), Port("udp", 9100));
                    (probe, vec![probe.frame()])
                })
            }))
        },
    )
    .held_by_both(UnknownPeer)
}
