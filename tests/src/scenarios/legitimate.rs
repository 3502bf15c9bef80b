//! Traffic that must go on working, as a table that the scenarios and the demo share.

use enforcer_ebpf::{Guard, Reason};

use crate::lab::netns::Netns;
use crate::lab::topology::{
    CT, CT2, HOST_BRIDGE, HOST_LAN, HOST_LAN6, HOST_WG, HOST_WG6, LAN, PEER, PEER6,
};
use crate::lab::wireguard::Member;
use crate::lab::{Ask, Feature, Lab, Port, Server, Transport, WireGuard};
use crate::scenario::host_only::{SAME_PATH, TUNNELLED};

use super::attack::{Attempt, Legitimate};

/// All legitimate traffic.
pub fn all() -> Vec<Legitimate> {
    let mut traffic = local();
    traffic.extend(containers());
    traffic.extend(doors());
    traffic.extend(peers());
    traffic.extend(bystanders());
    traffic.extend(super::whole_host::traffic());
    traffic
}

fn tcp(to: &str) -> Ask {
    Ask::new(Transport::Tcp, to)
}

/// A TCP service somewhere, and a client somewhere else.
fn between<'lab>(
    serving: &'lab Netns,
    service: &str,
    token: &str,
    from: &'lab Netns,
    ask: Ask,
) -> anyhow::Result<Attempt<'lab>> {
    let server = Server::start(serving, Transport::Tcp, service, token)?;
    Ok(Box::new(move |patience| {
        let _server = &server;
        ask.ask(from, patience)
    }))
}

fn local() -> Vec<Legitimate> {
    vec![
        Legitimate::new("loopback::ipv4", |lab| {
            let service = "127.0.0.1:8200";
            between(&lab.host, service, "hashivault", &lab.host, tcp(service))
        })
        .counted(Guard::Socket, Reason::Loopback, Port("tcp", 8200))
        .shown_as("a local client on 127.0.0.1:8200 (Vault)"),
        Legitimate::new("loopback::ipv6", |lab| {
            let service = "[::1]:9200";
            between(&lab.host, service, "elasticsearch", &lab.host, tcp(service))
        })
        .host_only(SAME_PATH)
        .counted(Guard::Socket, Reason::Loopback, Port("tcp", 9200)),
        Legitimate::new("loopback::udp", |lab| {
            let server = Server::start(&lab.host, Transport::Udp, "127.0.0.1:8125", "statsd")?;
            let ask = Ask::new(Transport::Udp, "127.0.0.1:8125");
            Ok(Box::new(move |patience| {
                let _server = &server;
                ask.ask(&lab.host, patience)
            }))
        })
        .host_only(SAME_PATH)
        .counted(Guard::Socket, Reason::Loopback, Port("udp", 8125)),
        Legitimate::new("the_host_to_its_own_lan_address::tcp", |lab| {
            let ask = tcp(&format!("{HOST_LAN}:9200"));
            between(&lab.host, "0.0.0.0:9200", "elasticsearch", &lab.host, ask)
        })
        .counted(Guard::Socket, Reason::Loopback, Port("tcp", 9200)),
        own_lan_address("udp", Transport::Udp, 8125),
        own_lan_address("mptcp", Transport::Mptcp, 9200).host_only(SAME_PATH),
        own_lan_address("sctp", Transport::Sctp, 3868),
        Legitimate::new("the_host_to_a_remote_registered_port", |lab| {
            let ask = tcp(&format!("{LAN}:9200"));
            between(
                &lab.lan,
                "0.0.0.0:9200",
                "a remote elasticsearch",
                &lab.host,
                ask,
            )
        })
        .shown_as("this host's connection to a remote port 9200"),
    ]
}

fn own_lan_address(variant: &str, transport: Transport, port: u16) -> Legitimate {
    let name = format!("the_host_to_its_own_lan_address::{variant}");
    Legitimate::new(name, move |lab| {
        let any = format!("0.0.0.0:{port}");
        let server = Server::start(&lab.host, transport, &any, "its own")?;
        let ask = Ask::new(transport, &format!("{HOST_LAN}:{port}"));
        Ok(Box::new(move |patience| {
            let _server = &server;
            ask.ask(&lab.host, patience)
        }))
    })
    .counted(
        Guard::Socket,
        Reason::Loopback,
        Port(transport.protocol().name(), port),
    )
    .needs_all(transport.needs())
}

fn containers() -> Vec<Legitimate> {
    vec![
        Legitimate::new("containers_to_each_other_on_the_same_port", |lab| {
            let ask = tcp(&format!("{CT2}:9200"));
            between(&lab.ct2, "0.0.0.0:9200", "a container", &lab.ct, ask)
        })
        .shown_as("container to container, on port 9200"),
        Legitimate::new("a_container_to_itself_on_the_same_port", |lab| {
            let ask = tcp(&format!("{CT}:9200"));
            between(&lab.ct, "0.0.0.0:9200", "a container", &lab.ct, ask)
        })
        .host_only(SAME_PATH),
        Legitimate::new("the_host_to_a_container_on_the_same_port", |lab| {
            let ask = tcp(&format!("{CT}:9200"));
            between(&lab.ct, "0.0.0.0:9200", "a container", &lab.host, ask)
        })
        .host_only(SAME_PATH),
        Legitimate::new("a_container_to_a_remote_registered_port", |lab| {
            lab.host.nft(
                "table ip masquerading {
                   chain postrouting {
                     type nat hook postrouting priority 100; policy accept;
                     oifname eth0 masquerade
                   }
                 }",
            )?;
            let ask = tcp(&format!("{LAN}:6379"));
            between(&lab.lan, "0.0.0.0:6379", "a remote redis", &lab.ct, ask)
        })
        .shown_as("a container's connection to a remote port 6379"),
        Legitimate::new("a_local_client_of_a_dnated_public_port", |lab| {
            lab.publish_like_netavark(8080, 80)?;
            let ask = tcp("127.0.0.1:8080");
            between(&lab.ct, "0.0.0.0:80", "traefik", &lab.host, ask)
        })
        .host_only(SAME_PATH),
        Legitimate::new("a_local_client_of_a_dnated_registered_port", |lab| {
            lab.publish_like_netavark(9001, 81)?;
            let ask = tcp("127.0.0.1:9001");
            between(&lab.ct, "0.0.0.0:81", "minio", &lab.host, ask)
        })
        .shown_as("127.0.0.1:9001, sent on to a container by DNAT"),
        Legitimate::new("a_container_at_a_public_port", |lab| {
            let ask = tcp(&format!("{HOST_BRIDGE}:8443"));
            between(&lab.host, "0.0.0.0:8443", "traefik", &lab.ct, ask)
        })
        .counted(Guard::Socket, Reason::Public, Port("tcp", 8443)),
    ]
}

fn doors() -> Vec<Legitimate> {
    vec![
        Legitimate::new("public::traefik_https", |lab| {
            let ask = tcp(&format!("{HOST_LAN}:8443"));
            between(&lab.host, "0.0.0.0:8443", "traefik", &lab.lan, ask)
        })
        .counted(Guard::Wire, Reason::Public, Port("tcp", 8443))
        .counted(Guard::Socket, Reason::Public, Port("tcp", 8443))
        .shown_as("the public door: Traefik on 8443"),
        Legitimate::new("public::traefik_over_ipv6", |lab| {
            let ask = tcp(&format!("[{HOST_LAN6}]:8080"));
            between(&lab.host, "[::]:8080", "traefik", &lab.lan, ask)
        })
        .host_only(SAME_PATH)
        .counted(Guard::Wire, Reason::Public, Port("tcp", 8080)),
        // netavark-like rules send port 80 to the public service on the loopback address.
        Legitimate::new("port_80_dnated_to_a_public_service_on_127.0.0.1", |lab| {
            lab.host.sysctl("net/ipv4/conf/eth0/route_localnet", "1")?;
            lab.host.nft(
                "table ip front {
                   chain prerouting {
                     type nat hook prerouting priority -100; policy accept;
                     iifname eth0 tcp dport 80 dnat to 127.0.0.1:8080
                   }
                 }",
            )?;
            let ask = tcp(&format!("{HOST_LAN}:80"));
            between(&lab.host, "127.0.0.1:8080", "traefik", &lab.lan, ask)
        })
        .counted(Guard::Socket, Reason::Public, Port("tcp", 8080))
        .shown_as("port 80, sent on to Traefik at 127.0.0.1:8080"),
        Legitimate::new("an_unregistered_port", |lab| {
            let ask = tcp(&format!("{HOST_LAN}:8888"));
            between(&lab.host, "0.0.0.0:8888", "unregistered", &lab.lan, ask)
        })
        .shown_as("an unregistered port, 8888"),
        // Registered for TCP alone.
        Legitimate::new("the_same_number_in_another_protocol", |lab| {
            let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:9200", "something")?;
            let ask = Ask::new(Transport::Udp, &format!("{HOST_LAN}:9200"));
            Ok(Box::new(move |patience| {
                let _server = &server;
                ask.ask(&lab.lan, patience)
            }))
        })
        .host_only(SAME_PATH),
    ]
}

fn peers() -> Vec<Legitimate> {
    let (v4, from_v4) = (format!("{HOST_WG}:9100"), format!("{PEER}:0"));
    let (v6, from_v6) = (format!("[{HOST_WG6}]:9100"), format!("[{PEER6}]:0"));
    vec![
        allowed(
            "an_allowed_peer::ipv4",
            "0.0.0.0:9100",
            Transport::Tcp,
            v4.clone(),
            from_v4.clone(),
        )
        .host_only(TUNNELLED),
        allowed(
            "an_allowed_peer::ipv6",
            "[::]:9100",
            Transport::Tcp,
            v6,
            from_v6,
        )
        .host_only(TUNNELLED),
        // Over IPv4 to a dual-stack socket: the source is an IPv4 address, whatever the socket
        // says.
        allowed(
            "an_allowed_peer::dual_stack_listener",
            "[::]:9100",
            Transport::Tcp,
            v4.clone(),
            from_v4.clone(),
        )
        .host_only(TUNNELLED),
        allowed(
            "an_allowed_peer::udp",
            "0.0.0.0:9100",
            Transport::Udp,
            v4,
            from_v4,
        )
        .host_only(TUNNELLED),
        tunnelled(
            "an_allowed_peer::wireguard_tcp",
            "0.0.0.0:9100",
            Transport::Tcp,
            format!("{HOST_WG}:9100"),
        ),
        tunnelled(
            "an_allowed_peer::wireguard_udp",
            "[::]:9100",
            Transport::Udp,
            format!("{HOST_WG}:9100"),
        ),
        tunnelled(
            "an_allowed_peer::wireguard_ipv6",
            "[::]:9100",
            Transport::Tcp,
            format!("[{HOST_WG6}]:9100"),
        ),
    ]
}

/// The allowed peer at its service.
fn allowed(
    name: &str,
    service: &'static str,
    transport: Transport,
    to: String,
    from: String,
) -> Legitimate {
    let port = Port(transport.protocol().name(), 9100);
    Legitimate::new(name, move |lab: &Lab| {
        let server = Server::start(&lab.host, transport, service, "metrics")?;
        let ask = Ask::new(transport, &to).from(&from);
        Ok(Box::new(move |patience| {
            let _server = &server;
            ask.ask(&lab.peer, patience)
        }))
    })
    .counted(Guard::Wire, Reason::Peer, port)
    .counted(Guard::Socket, Reason::Peer, port)
}

/// The same over real WireGuard.
fn tunnelled(name: &str, service: &'static str, transport: Transport, to: String) -> Legitimate {
    let port = Port(transport.protocol().name(), 9100);
    Legitimate::new(name, move |lab: &Lab| {
        let hub = WireGuard::hub(lab, Member::usual())?;
        let server = Server::start(&lab.host, transport, service, "metrics")?;
        let ask = Ask::new(transport, &to);
        Ok(Box::new(move |patience| {
            let _server = &server;
            ask.ask(&hub.peers[0].namespace, patience)
        }))
    })
    .counted(Guard::Wire, Reason::Peer, port)
    .counted(Guard::Socket, Reason::Peer, port)
    .needs(Feature::WireGuard)
}

fn bystanders() -> Vec<Legitimate> {
    let collides = |variant, interface: &'static str, transport: Transport, port| {
        let name = format!("a17_another_namespace::{variant}");
        Legitimate::new(name, move |lab| {
            with_the_index_of(lab, interface, transport, port)
        })
        .needs_all(transport.needs())
    };
    vec![
        Legitimate::new("a_macvlan_child_in_its_own_namespace", |lab| {
            let child = Netns::new("macvlan")?;
            lab.host.ip(&format!(
                "link add child0 link eth0 type macvlan mode bridge
                 link set child0 netns {}",
                child.path()
            ))?;
            child.ip("addr add 192.168.77.30/24 dev child0\nlink set child0 up")?;
            let server = Server::start(&child, Transport::Tcp, "0.0.0.0:9200", "the child")?;
            let ask = tcp("192.168.77.30:9200");
            Ok(Box::new(move |patience| {
                let _kept = (&server, &child);
                ask.ask(&lab.lan, patience)
            }))
        })
        .shown_as("a macvlan child of eth0, on its own port 9200"),
        // A17: interface indexes are per namespace.
        collides("tcp_and_wg0", "wg0", Transport::Tcp, 9200).host_only(SAME_PATH),
        collides("tcp_and_eth0", "eth0", Transport::Tcp, 9200),
        collides("udp_and_wg0", "wg0", Transport::Udp, 8125),
        collides("udp_and_eth0", "eth0", Transport::Udp, 8125),
        collides("mptcp_and_eth0", "eth0", Transport::Mptcp, 9200),
        collides("sctp_and_wg0", "wg0", Transport::Sctp, 3868),
        collides("sctp_and_eth0", "eth0", Transport::Sctp, 3868),
    ]
}

fn with_the_index_of<'lab>(
    lab: &'lab Lab,
    interface: &str,
    transport: Transport,
    port: u16,
) -> anyhow::Result<Attempt<'lab>> {
    let (other, client) = (Netns::new("other")?, Netns::new("client")?);
    let index = lab.host.ifindex(interface)?;
    other.ip(&format!(
        "link add same0 index {index} type veth peer name far0 netns {}
         addr add 192.168.79.1/24 dev same0
         link set same0 up",
        client.path()
    ))?;
    anyhow::ensure!(other.ifindex("same0")? == index, "the indexes differ");
    client.ip("addr add 192.168.79.2/24 dev far0\nlink set far0 up")?;
    let any = format!("0.0.0.0:{port}");
    let server = Server::start(&other, transport, &any, "another namespace")?;
    let ask = Ask::new(transport, &format!("192.168.79.1:{port}"));
    Ok(Box::new(move |patience| {
        let _kept = (&server, &other);
        ask.ask(&client, patience)
    }))
}
