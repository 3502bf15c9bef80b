//! A29, and A3: container networks, which only this host and their peers may reach.

use std::net::Ipv4Addr;

use anyhow::Result;
use enforcer_ebpf::{Guard, Reason};

use crate::lab::bridge::{CT6, containers_over_ipv6};
use crate::lab::topology::{CT, HOST_BRIDGE, HOST_LAN6, HOST_WG, Lab, PEER, STRANGER};
use crate::lab::{Ask, Because, Netns, Port, Server, Transport};
use crate::scenario::host_only::SAME_PATH;
use crate::scenarios::attack::{Attack, Attempt, Legitimate, attempt};

/// A port without a registry entry.
const NOBODYS: Port<'static> = Port("tcp", 7070);
/// A public number of the host's own.
const PUBLIC: Port<'static> = Port("tcp", 8080);

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = of_containers();
    attacks.extend(beyond_the_lan());
    attacks.extend(of_the_host());
    let held = attacks
        .into_iter()
        .map(|attack| attack.held_by_wire(Because::CONTAINER_NETWORK));
    held.collect()
}

/// A service of the container at its own address, asked from the LAN by a route.
fn routed(lab: &Lab, transport: Transport, port: u16) -> Result<Attempt<'_>> {
    lab.route_from_lan(CT)?;
    let server = Server::start(
        &lab.ct,
        transport,
        &format!("0.0.0.0:{port}"),
        "a container",
    )?;
    let ask = Ask::new(transport, &format!("{CT}:{port}"));
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}

/// The same by way of wg0.
fn from_peer(lab: &Lab, from: Ipv4Addr, port: u16) -> Result<Attempt<'_>> {
    lab.peer
        .ip(&format!("route replace {CT}/32 via {HOST_WG}"))?;
    let any = format!("0.0.0.0:{port}");
    let server = Server::start(&lab.ct, Transport::Tcp, &any, "a container")?;
    let ask = Ask::new(Transport::Tcp, &format!("{CT}:{port}")).from(&format!("{from}:0"));
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.peer, patience)
    }))
}

fn of_containers() -> Vec<Attack> {
    vec![
        Attack::new(
            "a29_a_containers_own_address::a_port_of_nobody",
            NOBODYS,
            |lab| routed(lab, Transport::Tcp, NOBODYS.1),
        ),
        Attack::new(
            "a29_a_containers_own_address::a_public_number",
            PUBLIC,
            |lab| routed(lab, Transport::Tcp, PUBLIC.1),
        ),
        Attack::new(
            "a29_a_containers_own_address::a_registered_number",
            Port("tcp", 9200),
            |lab| routed(lab, Transport::Tcp, 9200),
        )
        .host_only(SAME_PATH),
        Attack::new(
            "a29_a_containers_own_address::udp",
            Port("udp", NOBODYS.1),
            |lab| routed(lab, Transport::Udp, NOBODYS.1),
        ),
        Attack::new("a29_a_containers_own_address::over_ipv6", NOBODYS, |lab| {
            containers_over_ipv6(lab)?;
            lab.lan
                .ip(&format!("route replace {CT6}/128 via {HOST_LAN6}"))?;
            let server = Server::start(&lab.ct, Transport::Tcp, "[::]:7070", "a container")?;
            let ask = Ask::new(Transport::Tcp, &format!("[{CT6}]:7070"));
            Ok(attempt(server, move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        }),
    ]
}

/// Containers asked by peers, and containers of a network that the registry marks.
fn beyond_the_lan() -> Vec<Attack> {
    vec![
        Attack::new(
            "a29_a_containers_own_address::through_wg0",
            NOBODYS,
            |lab| from_peer(lab, PEER, NOBODYS.1),
        ),
        Attack::new(
            "a29_a_containers_own_address::a_peer_that_is_not_allowed",
            NOBODYS,
            |lab| from_peer(lab, STRANGER, NOBODYS.1),
        )
        .under("[interfaces.podman0]\nallow = [\"collector\"]\n"),
        Attack::new(
            "a29_a_containers_own_address::of_a_marked_bridge",
            NOBODYS,
            |lab| {
                let inner = marked_network(lab)?;
                let to: Ipv4Addr = [10, 77, 0, 2].into();
                lab.route_from_lan(to)?;
                let server = Server::start(&inner, Transport::Tcp, "0.0.0.0:7070", "inner")?;
                let ask = Ask::new(Transport::Tcp, &format!("{to}:7070"));
                Ok(attempt((server, inner), move |_, patience| {
                    ask.ask(&lab.lan, patience)
                }))
            },
        )
        .under("[interfaces.vmbr7]\ncontainers = true\n"),
    ]
}

/// A bridge with a name that no container engine gives.
fn marked_network(lab: &Lab) -> Result<Netns> {
    let inner = Netns::new("inner")?;
    lab.host.ip(&format!(
        "link add vmbr7 type bridge forward_delay 0
         link add veth7 type veth peer name eth0 netns {}
         link set veth7 master vmbr7
         addr add 10.77.0.1/24 dev vmbr7
         link set veth7 up
         link set vmbr7 up",
        inner.path()
    ))?;
    inner.ip("link set lo up
         addr add 10.77.0.2/24 dev eth0
         link set eth0 up
         route add default via 10.77.0.1")?;
    Ok(inner)
}

/// A socket that is bound to the bridge's address "for containers", with forwarding on and off.
fn of_the_host() -> Vec<Attack> {
    let bound = |name, forwarding: &'static str| {
        Attack::new(name, NOBODYS, move |lab| {
            lab.host.sysctl("net/ipv4/ip_forward", forwarding)?;
            lab.route_from_lan(HOST_BRIDGE)?;
            let own = format!("{HOST_BRIDGE}:7070");
            let server = Server::start(&lab.host, Transport::Tcp, &own, "for containers")?;
            let ask = Ask::new(Transport::Tcp, &own);
            Ok(attempt(server, move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        })
    };
    vec![
        bound("a29_the_bridges_own_address::with_forwarding", "1"),
        bound("a29_the_bridges_own_address::without_forwarding", "0"),
    ]
}

pub(super) fn traffic() -> Vec<Legitimate> {
    vec![
        Legitimate::new("container_networks::routed_on_purpose", |lab| {
            routed(lab, Transport::Tcp, NOBODYS.1)
        })
        .under("[interfaces.podman0]\nrouted = true\n"),
        Legitimate::new("container_networks::excluded", |lab| {
            routed(lab, Transport::Tcp, NOBODYS.1)
        })
        .under("[interfaces.podman0]\ncontainers = false\n"),
        Legitimate::new("container_networks::in_audit_mode", |lab| {
            routed(lab, Transport::Tcp, NOBODYS.1)
        })
        .under("[interfaces.podman0]\nmode = \"audit\"\n")
        .in_audit(),
        Legitimate::new("container_networks::an_allowed_peer", |lab| {
            from_peer(lab, PEER, NOBODYS.1)
        })
        .under("[interfaces.podman0]\nallow = [\"collector\"]\n")
        .counted(Guard::Wire, Reason::Peer, NOBODYS),
        Legitimate::new("container_networks::an_own_address_in_the_prefix", |lab| {
            let own: Ipv4Addr = [10, 88, 0, 77].into();
            lab.host.ip(&format!("addr add {own}/32 dev eth0"))?;
            lab.route_from_lan(own)?;
            let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:8443", "traefik")?;
            let ask = Ask::new(Transport::Tcp, &format!("{own}:8443"));
            Ok(attempt(server, move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        })
        .counted(Guard::Wire, Reason::Public, Port("tcp", 8443)),
        between_networks(),
        Legitimate::new(
            "container_networks::a_containers_socket_at_the_bridge",
            |lab| {
                let own = format!("{HOST_BRIDGE}:7070");
                let server = Server::start(&lab.host, Transport::Tcp, &own, "for containers")?;
                let ask = Ask::new(Transport::Tcp, &own);
                Ok(attempt(server, move |_, patience| {
                    ask.ask(&lab.ct, patience)
                }))
            },
        ),
    ]
}

/// Two container networks of the same host: both bridges are inside, and no wire guard stands
/// between them.
fn between_networks() -> Legitimate {
    Legitimate::new("container_networks::from_one_to_another", |lab| {
        let inner = marked_network(lab)?;
        let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:7070", "a container")?;
        let ask = Ask::new(Transport::Tcp, &format!("{CT}:7070"));
        Ok(attempt((server, inner), move |(_, inner), patience| {
            ask.ask(inner, patience)
        }))
    })
    .under("[interfaces.vmbr7]\ncontainers = true\n")
}
