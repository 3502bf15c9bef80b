//! Citations from a registry of every sort of entry.

use std::io::Write as _;

use enforcer_ebpf::{Guard, Protocol, Route};

use super::*;
use crate::{
    policy::{PolicyHost, PolicyInterface, Slots, compile},
    printable::decode_path,
    registry::{Reader, Source, load},
};

const REGISTRY: &str = r#"mode = "audit"
[services.grafana]
ports = [
    2999,
    "3000-3001",
]
allow = [
    "collector",
    "office",
]
[services.redis]
ports = [6379]
[services.statsd]
ports = [8125]
protocol = "udp"
mode = "audit"
[services.traefik]
public = true
ports = [8443]
[services.strict]
ports = [9100]
mode = "enforce"
allow = ["office"]
[peers.collector]
interface = "wg0"
addresses = ["10.10.0.5"]
[peers.office]
interface = "wg0"
addresses = ["10.10.0.0/28"]
[interfaces."wg*"]
forward = true
[services.minio]
ports = [9000]
on = ["192.168.1.10"]
allow = ["office"]
[services.backup]
ports = [9000]
on = ["192.168.1.11"]
mode = "enforce"
[unregistered]
sctp = "drop"
"#;

struct Packet {
    interface: &'static str,
    source: &'static str,
    protocol: Protocol,
    port: u16,
    destination: Option<&'static str>,
    forwarded: bool,
}

const fn packet(interface: &'static str, source: &'static str, port: u16) -> Packet {
    Packet {
        interface,
        source,
        protocol: Protocol::Tcp,
        port,
        destination: None,
        forwarded: false,
    }
}

fn cited(packet: &Packet) -> Vec<String> {
    cited_under(REGISTRY, packet)
}

/// Returns the citations for a packet as `line entry`, and checks that all name one file.
fn cited_under(registry: &str, packet: &Packet) -> Vec<String> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(registry.as_bytes()).unwrap();
    let registry = load(&Source::Named(file.path().to_owned()), &Reader::NAMED).unwrap();
    let registry = registry.registry;
    let attachments = [("eth0", 10), ("wg0", 11), ("podman1", 12)];
    let attachments = attachments.map(|(name, ifindex)| PolicyInterface {
        ifindex,
        name: name.to_owned(),
        is_bridge: ifindex == 12,
        addresses: match ifindex {
            12 => vec!["10.88.0.1/16".parse().unwrap()],
            _ => Vec::new(),
        },
        ..PolicyInterface::default()
    });
    let tables = compile(&registry, &PolicyHost::of(&attachments), &Slots::new()).unwrap();
    let ifindex = match packet.interface {
        "lo" => 1,
        "eth0" => 10,
        _ => 11,
    };
    let address = |text: &str| text.parse::<IpAddr>().unwrap().into();
    let spec = PacketSpec {
        guard: Guard::Wire,
        ifindex,
        loopback: ifindex == 1,
        source: address(packet.source),
        destination: packet.destination.map(address),
        protocol: packet.protocol,
        port: packet.port,
        route: if packet.forwarded {
            Route::Back
        } else {
            Route::Here
        },
        opens: true,
    };
    let decision = tables.judge(&spec);
    let peer = match decision.reason {
        Reason::Peer => tables.granting_peer(&spec),
        _ => None,
    };
    let name = peer.map(|peer| peer.name.as_str());
    let table = registry.interface_table(["podman1"].into_iter());
    let interface = Interface {
        name: packet.interface.to_owned(),
        ..Interface::default()
    };
    let found = cite(&registry, &spec, &interface, &decision, name, table);
    let is_ours = |citation: &Citation| citation.file == decode_path(file.path());
    assert!(found.iter().all(is_ours));
    found
        .into_iter()
        .map(|citation| format!("{} {}", citation.line, citation.what))
        .collect()
}

#[test]
fn a_peer_is_let_in_by_the_item_that_names_it() {
    assert_eq!(
        cited(&packet("wg0", "10.10.0.5", 3001)),
        ["8 allow of grafana", "24 peer collector"]
    );
    assert_eq!(
        cited(&packet("wg0", "10.10.0.6", 2999)),
        ["9 allow of grafana", "27 peer office"]
    );
}

#[test]
fn a_drop_is_for_the_port_and_for_whom_alone_it_is_there() {
    assert_eq!(
        cited(&packet("wg0", "10.10.0.99", 9100)),
        ["21 port 9100 of strict", "23 allow of strict"]
    );
    assert_eq!(
        cited(&packet("eth0", "10.10.0.5", 3000)),
        ["5 port 3000 of grafana", "7 allow of grafana", "1 mode"]
    );
}

#[test]
fn what_is_only_counted_is_so_by_the_nearest_mode() {
    assert_eq!(
        cited(&packet("eth0", "192.0.2.1", 6379)),
        ["12 port 6379 of redis", "1 mode"]
    );
    let statsd = Packet {
        protocol: Protocol::Udp,
        ..packet("eth0", "192.0.2.1", 8125)
    };
    assert_eq!(
        cited(&statsd),
        ["14 port 8125 of statsd", "16 mode of statsd"]
    );
    // Rule 2 follows the global mode, whatever the port.
    let looped = Packet {
        destination: Some("127.0.0.1"),
        ..statsd
    };
    assert_eq!(cited(&looped), ["1 mode"]);
}

#[test]
fn public_and_forwarded_have_a_line_each() {
    assert_eq!(
        cited(&packet("eth0", "192.0.2.1", 8443)),
        ["18 public of traefik"]
    );
    let passing = Packet {
        forwarded: true,
        destination: Some("203.0.113.9"),
        ..packet("wg0", "10.10.0.99", 6379)
    };
    assert_eq!(cited(&passing), ["31 forward of wg0"]);
}

#[test]
fn the_service_at_the_destination_is_cited_or_the_on_that_leaves_it_out() {
    let at = |interface, destination| Packet {
        destination: Some(destination),
        ..packet(interface, "10.10.0.6", 9000)
    };
    assert_eq!(
        cited(&at("wg0", "192.168.1.10")),
        ["35 allow of minio", "27 peer office"]
    );
    assert_eq!(
        cited(&at("eth0", "192.168.1.10")),
        ["33 port 9000 of minio", "35 allow of minio", "1 mode"]
    );
    assert_eq!(
        cited(&at("wg0", "192.168.1.11")),
        ["37 port 9000 of backup"]
    );
    assert_eq!(
        cited(&at("wg0", "192.168.1.12")),
        ["37 port 9000 of backup", "38 on of backup"]
    );
}

#[test]
fn a_port_of_no_service_is_closed_by_the_action_of_its_protocol() {
    let sctp = Packet {
        protocol: Protocol::Sctp,
        ..packet("eth0", "192.0.2.1", 22)
    };
    assert_eq!(cited(&sctp), ["41 sctp of [unregistered]", "1 mode"]);
    // The global mode says nothing of an action that only counts.
    let text = "mode = \"enforce\"\n[services.a]\nports = [1]\n\
                [unregistered]\ntcp = \"audit\"\n";
    let tcp = packet("eth0", "192.0.2.1", 22);
    assert_eq!(cited_under(text, &tcp), ["5 tcp of [unregistered]"]);
}

#[test]
fn where_no_line_decided_none_is_cited() {
    assert!(cited(&packet("eth0", "192.0.2.1", 22)).is_empty());
    assert!(cited(&packet("lo", "127.0.0.1", 6379)).is_empty());
}

#[test]
fn a_container_network_is_closed_and_opened_by_its_bridges_table() {
    const BASE: &str = "[services.redis]\nports = [6379]\nmode = \"audit\"\n\
                        [peers.office]\ninterface = \"wg0\"\naddresses = [\"10.10.0.0/28\"]\n";
    let to_container = |interface, port| Packet {
        destination: Some("10.88.0.2"),
        ..packet(interface, "10.10.0.5", port)
    };
    let lines = |table: &str, packet: &Packet| cited_under(&format!("{BASE}{table}"), packet);
    let none: [&str; 0] = [];
    assert_eq!(lines("", &to_container("eth0", 80)), none, "no table");
    // The service of the same port has no part in rule 4.
    assert_eq!(lines("", &to_container("eth0", 6379)), none);
    let other = "[interfaces.eth0]\nforward = true\n";
    assert_eq!(lines(other, &to_container("eth0", 80)), none);
    let marked = "[interfaces.\"podman*\"]\ncontainers = true\nallow = [\"office\"]\n";
    for port in [80, 6379] {
        assert_eq!(
            lines(marked, &to_container("eth0", port)),
            ["9 allow of podman*", "8 containers of podman*"]
        );
        assert_eq!(
            lines(marked, &to_container("wg0", port)),
            ["9 allow of podman*", "4 peer office"]
        );
    }
    let audited = "[interfaces.podman1]\nmode = \"audit\"\n";
    assert_eq!(
        lines(audited, &to_container("eth0", 6379)),
        ["7 [interfaces.podman1]", "8 mode of podman1"]
    );
}
