//! Rootful Podman: netavark's DNAT, bridges and egress.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use super::containers::Container;
use super::firewall::with_firewalld;
use super::host::{Attack, Host, goes_on, reached, unreached};
use super::scenario::SystemScenario;
use crate::lab::frames::Ends;
use crate::lab::topology::{GHOST, HOST_LAN, LAN};
use crate::lab::{Guards, Patience, Port, Server, Transport};
use crate::scenarios::raw_packet::{Probe, send_probe};

pub(super) const ELASTIC: Port<'static> = Port("tcp", 9200);

pub(super) fn scenarios() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "a02_dnat_of_127::a_neighbour_known_by_mac",
            body: dnat_of_127,
        },
        SystemScenario {
            name: "a02_dnat_of_127::a_neighbour_never_met",
            body: dnat_of_127_for_a_stranger,
        },
        SystemScenario {
            name: "a07_published_behind_firewalld",
            body: published_behind_firewalld,
        },
        SystemScenario {
            name: "a20_bridge_nf::dnat_on_the_member",
            body: bridge_nf,
        },
        SystemScenario {
            name: "goes_on::a_local_client_of_a_published_port",
            body: local_client,
        },
        SystemScenario {
            name: "goes_on::containers_on_ct_net_on_registered_numbers",
            body: ct_net,
        },
        SystemScenario {
            name: "goes_on::egress_to_a_registered_number",
            body: egress,
        },
        SystemScenario {
            name: "goes_on::port_80_sent_on_to_a_public_service_on_127",
            body: redirected_public,
        },
    ]
}

/// netavark matches 127.0.0.1 wherever the packet comes from, and before the martian check.
fn dnat_of_127(host: &Host) -> Result<()> {
    let _container = Container::start(host, "es", &["-p", "127.0.0.1:9200:80"], "80")?;
    let wire = host.wire()?;
    Attack {
        port: ELASTIC,
        held: &[
            (Guards::Wire, Guard::Wire, Reason::LoopbackAddress),
            (Guards::Both, Guard::Wire, Reason::LoopbackAddress),
        ],
        // Packets that go on to a container reach no socket of the host.
        open: &[Guards::Socket],
    }
    .judge(host, |patience| {
        send_probe(&wire, &wire, patience, &|| loopback_probe(GHOST))
    })
}

/// The container answers, but the host asks for the neighbour's MAC address in the name of
/// 127.0.0.1, which no ordinary stack answers: so the attack needs a neighbour that the host
/// already knows.
fn dnat_of_127_for_a_stranger(host: &Host) -> Result<()> {
    let _container = Container::start(host, "es", &["-p", "127.0.0.1:9200:80"], "80")?;
    let wire = host.wire()?;
    host.guards_off()?;
    host.own
        .ip(&format!("neigh flush to {LAN} dev lan0"))
        .context("to forget the neighbour")?;
    let (_, frames) = loopback_probe(LAN);
    for frame in &frames {
        wire.send(frame)?;
    }
    let asked = wire.expect(Instant::now() + Duration::from_secs(6), |frame| {
        asks_as_127(frame, LAN).then_some(())
    })?;
    ensure!(
        asked.is_some(),
        "expected the host to ask for {LAN} in the name of 127.0.0.1"
    );
    unreached(&send_probe(&wire, &wire, Patience::Brief, &|| {
        loopback_probe(LAN)
    })?)
}

fn loopback_probe(from: Ipv4Addr) -> (Probe, Vec<Vec<u8>>) {
    let probe = Probe::between(Ends::V4(from, Ipv4Addr::LOCALHOST), ELASTIC);
    (probe, vec![probe.frame()])
}

/// Whether a frame is an ARP request (RFC 826) for `target` by 127.0.0.1.
fn asks_as_127(frame: &[u8], target: Ipv4Addr) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06])
        && frame.get(20..22) == Some(&[0, 1])
        && frame.get(28..32) == Some(&Ipv4Addr::LOCALHOST.octets())
        && frame.get(38..42) == Some(&target.octets())
}

/// firewalld lets DNATed packets by, whatever its zones say.
fn published_behind_firewalld(host: &Host) -> Result<()> {
    with_firewalld(host, || {
        let _container = Container::start(host, "es", &["-p", "9200:80"], "80")?;
        // firewalld is at work: a port of the host's own that no zone opens.
        let _own = Server::start(&host.own, Transport::Tcp, "0.0.0.0:9300", "own")?;
        host.guards_off()?;
        unreached(&host.ask_from_lan("192.168.77.1:9300", Patience::Brief)?)?;
        Attack {
            port: ELASTIC,
            held: &[
                (Guards::Wire, Guard::Wire, Reason::UntrustedInterface),
                (Guards::Both, Guard::Wire, Reason::UntrustedInterface),
            ],
            open: &[Guards::Socket],
        }
        .judge(host, |patience| {
            host.ask_from_lan("192.168.77.1:9200", patience)
        })
    })
}

/// DNAT runs on the member of a bridge, before the bridge's own hook could see the port. A VLAN
/// device stands in for a NIC: bridges of nothing but veth ends are a container's.
fn bridge_nf(host: &Host) -> Result<()> {
    const BRIDGED: &str = "net/bridge/bridge-nf-call-iptables";
    let _container = Container::start(host, "es", &["-p", "9200:80"], "80")?;
    host.run(&["modprobe", "br_netfilter"])?;
    host.own.sysctl(BRIDGED, "1")?;
    host.own
        .ip("link add link lan0 name lan0.20 type vlan id 20
         link add br20 type bridge
         link set lan0.20 master br20
         addr add 192.168.20.1/24 dev br20
         link set lan0.20 up
         link set br20 up")?;
    host.lan
        .ip("link add link eth0 name eth0.20 type vlan id 20
         addr add 192.168.20.2/24 dev eth0.20
         link set eth0.20 up")?;
    let done = Attack {
        port: ELASTIC,
        held: &[
            (Guards::Wire, Guard::Wire, Reason::UntrustedInterface),
            (Guards::Both, Guard::Wire, Reason::UntrustedInterface),
        ],
        open: &[Guards::Socket],
    }
    .judge(host, |patience| {
        host.ask_from_lan("192.168.20.1:9200", patience)
    });
    host.own.ip("link del br20\nlink del lan0.20")?;
    host.own.sysctl(BRIDGED, "0")?;
    done
}

/// The reply reaches the client's socket from 127.0.0.1 to 127.0.0.1, on podman0.
fn local_client(host: &Host) -> Result<()> {
    let options = ["-p", "127.0.0.1:8080:80", "-p", "127.0.0.1:9200:80"];
    let _container = Container::start(host, "es", &options, "80")?;
    goes_on(host, || {
        reached(&host.ask_locally("127.0.0.1:9200")?)?;
        host.ask_locally("127.0.0.1:8080")
    })
}

fn ct_net(host: &Host) -> Result<()> {
    host.run(&["podman", "network", "create", "--ignore", "ct-net"])?;
    let network = ["--network", "ct-net"];
    let _elastic = Container::start(host, "elasticsearch-svc", &network, "9200")?;
    let client = Container::start(host, "grafana-svc", &network, "3000")?;
    goes_on(host, || {
        client.exec(&[
            "wget",
            "-q",
            "-T",
            "10",
            "-O-",
            "http://elasticsearch-svc:9200/",
        ])
    })
}

fn egress(host: &Host) -> Result<()> {
    let _remote = Server::start(&host.lan, Transport::Tcp, "0.0.0.0:9200", "remote")?;
    let client = Container::start(host, "client", &[], "80")?;
    let ask = format!("nc -w 5 {LAN} 9200 </dev/null");
    goes_on(host, || client.exec(&["sh", "-c", &ask]))
}

fn redirected_public(host: &Host) -> Result<()> {
    let _proxy = Server::start(&host.own, Transport::Tcp, "127.0.0.1:8080", "traefik")?;
    host.own.sysctl("net/ipv4/conf/lan0/route_localnet", "1")?;
    host.own.nft(
        "table ip door {
           chain in {
             type nat hook prerouting priority dstnat
             iifname lan0 tcp dport 80 dnat to 127.0.0.1:8080
           }
         }",
    )?;
    let to = format!("{HOST_LAN}:80");
    let done = goes_on(host, || host.ask_from_lan(&to, Patience::Long));
    host.own.nft("delete table ip door")?;
    host.own.sysctl("net/ipv4/conf/lan0/route_localnet", "0")?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arp_request_in_the_name_of_loopback_is_known() {
        let mut frame = vec![0xff; 12];
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0x77, 1]);
        frame.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 192, 168, 77, 2]);
        assert!(asks_as_127(&frame, LAN));
        assert!(!asks_as_127(&frame, GHOST));
        frame[21] = 2;
        assert!(!asks_as_127(&frame, LAN));
    }
}
