//! A28: ports that nobody registered, under `[unregistered]`.

use anyhow::Result;

use crate::lab::bridge::{HOST, publish_over_ipv6, publish_where};
use crate::lab::frames::flag::{ECN, FIN, PSH, SYN, URG};
use crate::lab::frames::{Ends, V4, tcp_opening};
use crate::lab::topology::{GHOST, HOST_LAN, HOST_LAN6, HOST_WG, Lab, STRANGER};
use crate::lab::wire::Wire;
use crate::lab::{Ask, Because, Feature, Port, Server, Transport};
use crate::scenario::{Scenario, host_only::SAME_PATH};
use crate::scenarios::attack::{Attack, Attempt, attempt};
use crate::scenarios::raw_packet::{Probe, from_lan, group_mac, send_probe};

mod associations;
mod sent;
mod traffic;

pub(in crate::scenarios) use traffic::once_more_closed;
pub(super) use traffic::traffic;

use Transport::{Mptcp, Sctp, Tcp, Udp};

/// A port of the host's that nobody registered.
const TCP: Port<'static> = Port("tcp", 7070);
const UDP: Port<'static> = Port("udp", 7070);
/// A port that DNAT takes to a container, and that nobody registered.
const PUBLISHED: Port<'static> = Port("tcp", 19_200);
const CLOSED: &str = "[unregistered]\ntcp = \"drop\"\nudp = \"drop\"\nsctp = \"drop\"\n";

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = sent::scenarios();
    scenarios.extend(associations::scenarios());
    scenarios
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut at_sockets = asked_at_sockets();
    at_sockets.extend(raw());
    at_sockets.extend(sent::attacks());
    let held = at_sockets
        .into_iter()
        .map(|attack| attack.held_by_both(Because::UNREGISTERED_PORT));
    held.chain(published())
        .map(|attack| attack.under(CLOSED))
        .collect()
}

/// A service of the host, asked with an ordinary socket from the LAN.
fn asked<'lab>(
    lab: &'lab Lab,
    transport: Transport,
    service: &str,
    to: String,
) -> Result<Attempt<'lab>> {
    let server = Server::start(&lab.host, transport, service, "a new database")?;
    let ask = Ask::new(transport, &to);
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}

fn asked_at_sockets() -> Vec<Attack> {
    let (v4, v6) = (format!("{HOST_LAN}:7070"), format!("[{HOST_LAN6}]:7070"));
    let at = |name, transport: Transport, service: &'static str, to: &str| {
        let to = to.to_owned();
        let port = Port(transport.protocol().name(), 7070);
        let attack = Attack::new(name, port, move |lab| {
            asked(lab, transport, service, to.clone())
        });
        match transport.needs() {
            Some(feature) => attack.needs(feature),
            None => attack,
        }
    };
    let (any, any6) = ("0.0.0.0:7070", "[::]:7070");
    vec![
        at("a28_an_unregistered_port::tcp", Tcp, any, &v4),
        at("a28_an_unregistered_port::tcp_over_ipv6", Tcp, any6, &v6),
        at("a28_an_unregistered_port::dual_stack", Tcp, any6, &v4).host_only(SAME_PATH),
        at("a28_an_unregistered_port::mptcp", Mptcp, any, &v4),
        at("a28_an_unregistered_port::udp", Udp, any, &v4),
        at("a28_an_unregistered_port::udp_over_ipv6", Udp, any6, &v6),
        at("a28_an_unregistered_port::sctp", Sctp, any, &v4),
        with_syncookies(),
        by_a_peer_without_a_grant(),
    ]
}

fn with_syncookies() -> Attack {
    Attack::new("a28_an_unregistered_port::syncookies", TCP, |lab| {
        lab.host.sysctl("net/ipv4/tcp_syncookies", "2")?;
        let to = format!("{HOST_LAN}:7070");
        asked(lab, Tcp, "0.0.0.0:7070", to)
    })
}

fn by_a_peer_without_a_grant() -> Attack {
    let name = "a28_an_unregistered_port::by_a_peer_without_a_grant";
    Attack::new(name, TCP, |lab| {
        let any = "0.0.0.0:7070";
        let server = Server::start(&lab.host, Tcp, any, "a new database")?;
        let ask = Ask::new(Tcp, &format!("{HOST_WG}:7070")).from(&format!("{STRANGER}:0"));
        Ok(attempt(server, move |_, patience| {
            ask.ask(&lab.peer, patience)
        }))
    })
}

/// First segments that no ordinary client sends.
fn raw() -> Vec<Attack> {
    let opening = |name, flags: u8, data: &'static [u8]| {
        Attack::new(name, TCP, move |lab| {
            let any = "0.0.0.0:7070";
            let server = Server::start(&lab.host, Tcp, any, "a new database")?;
            from_lan(lab, server, move || {
                let probe = Probe::v4(TCP);
                let segment = tcp_opening(probe.ends, probe.source, TCP.1, flags, data);
                let packet = probe.ends.packet(probe.protocol, &segment);
                (probe, vec![probe.framed(&packet)])
            })
        })
    };
    vec![
        opening(
            "a28_an_unregistered_port::syn_with_data",
            SYN,
            b"data of the first segment",
        ),
        opening(
            "a28_an_unregistered_port::syn_psh_urg",
            SYN | PSH | URG,
            b"",
        )
        .host_only(SAME_PATH),
        opening("a28_an_unregistered_port::syn_ecn", SYN | ECN, b"").host_only(SAME_PATH),
        Attack::new(
            "a28_an_unregistered_port::tiny_first_fragment",
            TCP,
            |lab| {
                let any = "0.0.0.0:7070";
                let server = Server::start(&lab.host, Tcp, any, "a new database")?;
                from_lan(lab, server, || {
                    let probe = Probe::v4(TCP);
                    let parts = V4::new(GHOST, HOST_LAN)
                        .identification(probe.source)
                        .fragments(probe.protocol, &probe.segment(), 8);
                    (probe, parts.iter().map(|part| probe.framed(part)).collect())
                })
            },
        ),
        Attack::new("a28_an_unregistered_port::udp_broadcast", UDP, |lab| {
            let any = "0.0.0.0:7070";
            let server = Server::start(&lab.host, Udp, any, "a new database")?;
            let wire = Wire::open(&lab.lan, "eth0")?;
            let all = std::net::Ipv4Addr::BROADCAST;
            Ok(attempt((server, wire), move |(_, wire), patience| {
                send_probe(wire, wire, patience, &|| {
                    let probe = Probe::between(Ends::V4(GHOST, all), UDP);
                    let packet = probe.packet();
                    (probe, vec![probe.framed_to(group_mac(all.into()), &packet)])
                })
            }))
        }),
    ]
}

/// Ports that the wire guard alone can see, and segments that the stack refuses.
fn published() -> Vec<Attack> {
    vec![
        Attack::new("a28_an_unregistered_port::dnat", PUBLISHED, |lab| {
            publish_where(
                lab,
                &format!("fib daddr type local tcp dport {}", PUBLISHED.1),
            )?;
            let server = Server::start(&lab.ct, Tcp, "0.0.0.0:80", "a database")?;
            let ask = Ask::new(Tcp, &format!("{HOST_LAN}:{}", PUBLISHED.1));
            Ok(attempt(server, move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_wire(Because::UNREGISTERED_PORT),
        Attack::new(
            "a28_an_unregistered_port::dnat_over_ipv6",
            PUBLISHED,
            |lab| {
                let host = crate::lab::bridge::HOST6;
                lab.host
                    .ip(&format!("addr add {host}/128 dev eth0 nodad"))?;
                lab.lan
                    .ip(&format!("route add {host}/128 via {HOST_LAN6}"))?;
                publish_over_ipv6(lab, PUBLISHED.1)?;
                let server = Server::start(&lab.ct, Tcp, "[::]:80", "a database")?;
                let ask = Ask::new(Tcp, &format!("[{host}]:{}", PUBLISHED.1));
                Ok(attempt(server, move |_, patience| {
                    ask.ask(&lab.lan, patience)
                }))
            },
        )
        .held_by_wire(Because::UNREGISTERED_PORT),
        Attack::new("a28_an_unregistered_port::syn_fin", TCP, |lab| {
            let any = "0.0.0.0:7070";
            let server = Server::start(&lab.host, Tcp, any, "a new database")?;
            from_lan(lab, server, || {
                let probe = Probe::v4(TCP);
                let segment = tcp_opening(probe.ends, probe.source, TCP.1, SYN | FIN, b"");
                let packet = probe.ends.packet(probe.protocol, &segment);
                (probe, vec![probe.framed(&packet)])
            })
        })
        .refused_by_the_stack("a listener discards a SYN with FIN (net/ipv4/tcp_input.c)")
        .held_by_wire(Because::UNREGISTERED_PORT),
        on_a_bridge(),
    ]
}

/// The same for a port that DNAT on the member of a bridge takes to a container.
fn on_a_bridge() -> Attack {
    use crate::lab::bridge::{Bridge, Uplink, netfilter_on_members, publish};
    Attack::new(
        "a28_an_unregistered_port::dnat_on_a_member",
        PUBLISHED,
        |lab| {
            let bridge = Bridge::new(lab, Uplink::Vxlan)?;
            netfilter_on_members(lab, true)?;
            publish(lab, PUBLISHED.1)?;
            let server = Server::start(&lab.ct, Tcp, "0.0.0.0:80", "a database")?;
            let ask = Ask::new(Tcp, &format!("{HOST}:{}", PUBLISHED.1));
            Ok(attempt((server, bridge), move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        },
    )
    .held_by_wire(Because::UNREGISTERED_PORT)
    .needs(Feature::BridgeNetfilter)
}
