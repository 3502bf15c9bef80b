//! Traffic that goes on under `[unregistered] udp = "drop"` and `tcp = "drop"`: answers, clients
//! with ports of their own, and what a network needs to work.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use enforcer_ebpf::{Guard, Reason};

use super::{CLOSED, TCP};
use crate::lab::topology::{CT, HOST_BRIDGE, HOST_LAN, HOST_LAN6, HOST_WG, LAN, Lab, PEER};
use crate::lab::wireguard::Member;
use crate::lab::{Ask, Conversation, Feature, Netns, Outcome, Port, Server, Transport, WireGuard};
use crate::scenario::host_only::SAME_PATH;
use crate::scenarios::attack::{Attempt, Legitimate, attempt};

/// The multicast group of mDNS (RFC 6762).
const MDNS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

/// Traffic at a port of the host that no service names: closed on purpose here.
const OPENS_A_PORT_OF_NOBODY: [&str; 4] = [
    "an_unregistered_port",
    "the_same_number_in_another_protocol",
    "port_80_dnated_to_a_public_service_on_127.0.0.1",
    // The proxy's own port has no service.
    "tproxy::of_a_lan_client",
];

/// Every kind of traffic once more, where the ports of nobody are closed.
pub(in crate::scenarios) fn once_more_closed(traffic: &[Legitimate]) -> Vec<Legitimate> {
    let plain = traffic.iter().filter(|one| {
        one.policy.is_empty() && !OPENS_A_PORT_OF_NOBODY.contains(&one.name.as_str())
    });
    let closed = plain.map(|one| {
        let mut one = one.clone().host_only(SAME_PATH).under(CLOSED);
        one.name = format!("closed::{}", one.name);
        one.title = None;
        one
    });
    closed.collect()
}

pub(in crate::scenarios::whole_host) fn traffic() -> Vec<Legitimate> {
    let mut traffic = clients();
    traffic.extend(super::sent::traffic());
    traffic.extend(super::associations::traffic());
    traffic.extend(client_ports());
    traffic.extend(local());
    traffic.extend(peers());
    let under = traffic.into_iter().map(|mut one| {
        if one.policy.is_empty() {
            one.policy = CLOSED;
        }
        one
    });
    under.collect()
}

/// A question from one namespace to a service in another.
fn between<'lab>(
    serving: &'lab Netns,
    transport: Transport,
    service: &str,
    from: &'lab Netns,
    ask: Ask,
) -> Result<Attempt<'lab>> {
    let server = Server::start(serving, transport, service, "a service")?;
    Ok(attempt(server, move |_, patience| ask.ask(from, patience)))
}

/// The host and its containers ask others.
fn clients() -> Vec<Legitimate> {
    let udp = |to: &str| Ask::new(Transport::Udp, to);
    let lan_dns = format!("{LAN}:53");
    let asks = |name: &str, ask: Ask, service: &'static str| {
        Legitimate::new(name, move |lab| {
            between(&lab.lan, Transport::Udp, service, &lab.host, ask)
        })
    };
    vec![
        asks("unregistered::dns_answers", udp(&lan_dns), "0.0.0.0:53"),
        asks(
            "unregistered::answers_to_a_port_outside_the_client_range",
            udp(&lan_dns).from("0.0.0.0:2053"),
            "0.0.0.0:53",
        ),
        // Resolvers choose among the dynamic ports (RFC 6335), whatever the host's own range.
        asks(
            "unregistered::answers_to_a_dynamic_port_above_the_client_range",
            udp(&lan_dns).from("0.0.0.0:61500"),
            "0.0.0.0:53",
        )
        .host_only(SAME_PATH),
        asks(
            "unregistered::quic_answers",
            udp(&format!("{LAN}:443")),
            "0.0.0.0:443",
        )
        .host_only(SAME_PATH),
        asks(
            "unregistered::ntp_answers",
            udp(&format!("{LAN}:123")).from("0.0.0.0:123"),
            "0.0.0.0:123",
        ),
        Legitimate::new("unregistered::tcp_answers", |lab| {
            let ask = Ask::new(Transport::Tcp, &format!("{LAN}:7070"));
            between(&lab.lan, Transport::Tcp, "0.0.0.0:7070", &lab.host, ask)
        }),
        masqueraded(
            "unregistered::masqueraded_clients",
            "masquerade to :61001-65535",
        ),
        masqueraded(
            "unregistered::masqueraded_clients_fully_random",
            "masquerade fully-random",
        ),
        Legitimate::new("unregistered::a_connection_from_before", |lab| {
            let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:7070", "database")?;
            let mut open = Conversation::open(&lab.lan, &format!("{HOST_LAN}:7070"))?;
            Ok(Box::new(move |patience| {
                let before = server.received();
                let sent = open.say_more().context("on the open connection")?;
                let all = crate::lab::command::eventually(patience.limit(), || {
                    (server.received() == before + sent).then_some(())
                });
                Ok(all.map_or(Outcome::Silent, |()| Outcome::Answered("more".into())))
            }))
        }),
    ]
}

/// A container asks the LAN's DNS server ten times, each time from another port of the host.
fn masqueraded(name: &str, action: &'static str) -> Legitimate {
    Legitimate::new(name, move |lab| {
        lab.host.nft(&format!(
            "table ip masquerading {{
               chain postrouting {{
                 type nat hook postrouting priority 100; policy accept;
                 oifname eth0 meta l4proto udp {action}
               }}
             }}"
        ))?;
        let server = Server::start(&lab.lan, Transport::Udp, "0.0.0.0:53", "dns")?;
        let ask = Ask::new(Transport::Udp, &format!("{LAN}:53"));
        Ok(attempt(server, move |_, patience| {
            for _ in 0..9 {
                let outcome = ask.ask(&lab.ct, patience)?;
                if !outcome.reached() {
                    return Ok(outcome);
                }
            }
            ask.ask(&lab.ct, patience)
        }))
    })
}

/// Ports on which a client of the network listens, unasked.
fn client_ports() -> Vec<Legitimate> {
    let hears = |name: &str, service: &'static str, from: &'static str, to: String| {
        Legitimate::new(name, move |lab| {
            let ask = Ask::new(Transport::Udp, &to).from(from);
            between(&lab.host, Transport::Udp, service, &lab.lan, ask)
        })
    };
    vec![
        hears(
            "unregistered::dhcp",
            "0.0.0.0:68",
            "0.0.0.0:67",
            format!("{HOST_LAN}:68"),
        ),
        hears(
            "unregistered::dhcpv6",
            "[::]:546",
            "[::]:547",
            format!("[{HOST_LAN6}]:546"),
        ),
        Legitimate::new("unregistered::mdns", |lab| {
            let eth0 = lab.host.ifindex("eth0")?;
            let server = Server::multicast(&lab.host, "0.0.0.0:5353", MDNS.into(), eth0, "mdns")?;
            let ask =
                Ask::new(Transport::Udp, &format!("{MDNS}:5353")).through(lab.lan.ifindex("eth0")?);
            Ok(attempt(server, move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        }),
        Legitimate::new("unregistered::wireguards_own_port", |lab| {
            let hub = WireGuard::hub(lab, Member::usual())?;
            let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:9100", "metrics")?;
            let ask = Ask::new(Transport::Tcp, &format!("{HOST_WG}:9100"));
            Ok(attempt((server, hub), move |(_, hub), patience| {
                ask.ask(&hub.peers[0].namespace, patience)
            }))
        })
        .needs(Feature::WireGuard),
        vxlan(),
    ]
}

/// The outer packets of a vxlan device arrive at a port that nobody registered.
fn vxlan() -> Legitimate {
    Legitimate::new("unregistered::a_vxlan_underlay", |lab: &Lab| {
        let device = "type vxlan id 3 dstport 4789";
        for (namespace, local, remote, own) in [
            (&lab.host, HOST_LAN, LAN, "192.168.83.1/24"),
            (&lab.lan, LAN, HOST_LAN, "192.168.83.2/24"),
        ] {
            namespace.ip(&format!(
                "link add vx3 {device} local {local} remote {remote}
                 addr add {own} dev vx3
                 link set vx3 up"
            ))?;
        }
        let ask = Ask::new(Transport::Tcp, "192.168.83.1:8443");
        between(&lab.host, Transport::Tcp, "0.0.0.0:8443", &lab.lan, ask)
    })
}

/// Containers and the host itself at the host's own sockets.
fn local() -> Vec<Legitimate> {
    let tcp = |to: &str| Ask::new(Transport::Tcp, to);
    vec![
        Legitimate::new("unregistered::container_dns", |lab| {
            let own = format!("{HOST_BRIDGE}:53");
            let ask = Ask::new(Transport::Udp, &own);
            between(&lab.host, Transport::Udp, &own, &lab.ct, ask)
        }),
        Legitimate::new("unregistered::a_container_at_the_host", move |lab| {
            let ask = tcp(&format!("{HOST_BRIDGE}:7070"));
            between(&lab.host, Transport::Tcp, "0.0.0.0:7070", &lab.ct, ask)
        }),
        Legitimate::new("unregistered::the_host_at_a_container", move |lab| {
            let ask = tcp(&format!("{CT}:7070"));
            between(&lab.ct, Transport::Tcp, "0.0.0.0:7070", &lab.host, ask)
        }),
        Legitimate::new("unregistered::over_lo", move |lab| {
            let ask = tcp("127.0.0.1:7070");
            between(&lab.host, Transport::Tcp, "127.0.0.1:7070", &lab.host, ask)
        }),
        Legitimate::new(
            "unregistered::the_host_at_its_own_lan_address",
            move |lab| {
                let ask = tcp(&format!("{HOST_LAN}:7070"));
                between(&lab.host, Transport::Tcp, "0.0.0.0:7070", &lab.host, ask)
            },
        )
        .host_only(SAME_PATH),
        Legitimate::new("unregistered::a_public_service", move |lab| {
            let ask = tcp(&format!("{HOST_LAN}:8443"));
            between(&lab.host, Transport::Tcp, "0.0.0.0:8443", &lab.lan, ask)
        })
        .counted(Guard::Wire, Reason::Public, Port("tcp", 8443)),
    ]
}

fn peers() -> Vec<Legitimate> {
    vec![
        Legitimate::new("unregistered::an_allowed_peer", |lab| {
            let ask =
                Ask::new(Transport::Tcp, &format!("{HOST_WG}:7070")).from(&format!("{PEER}:0"));
            between(&lab.host, Transport::Tcp, "0.0.0.0:7070", &lab.peer, ask)
        })
        .under("[unregistered]\ntcp = \"drop\"\nallow = [\"collector\"]\n")
        .counted(Guard::Wire, Reason::Peer, TCP)
        .counted(Guard::Socket, Reason::Peer, TCP),
        Legitimate::new("unregistered::in_audit_mode", |lab| {
            let ask = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:7070"));
            between(&lab.host, Transport::Tcp, "0.0.0.0:7070", &lab.lan, ask)
        })
        .under("[unregistered]\ntcp = \"audit\"\nudp = \"audit\"\n")
        .in_audit(),
    ]
}
