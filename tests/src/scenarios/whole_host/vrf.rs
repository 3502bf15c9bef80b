//! A VRF for the management of the host, and VLANs behind priority tags.

use std::os::fd::AsFd;

use anyhow::{Context, Result};

use crate::lab::frames::{DOT1Q, Ends, ethernet};
use crate::lab::topology::{HOST_MAC, LAN_MAC};
use crate::lab::{Feature, Lab, Outcome, Patience, Port, Server, Transport};
use crate::scenarios::attack::{Attempt, Legitimate, attempt};
use crate::scenarios::raw_packet::{Probe, from_lan};

const HOST: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 168, 87, 1);
const GHOST: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 168, 87, 50);

pub(super) fn traffic() -> Vec<Legitimate> {
    vec![
        Legitimate::new("vrf::a_local_client_at_the_hosts_address", |lab| {
            local_client(lab)
        })
        .leaves_uncovered("mgmt")
        .needs(Feature::Vrf),
        vlan_behind_tags("vlan::behind_four_priority_tags"),
        // XDP finds all five tags among the bytes; for tcx the stack has taken one off.
        vlan_behind_tags("vlan::behind_four_priority_tags_under_xdp")
            .under("[interfaces.eth0]\nhook = \"xdp-generic\"\n"),
    ]
}

/// A client bound to the VRF asks an address of the host in the same VRF
/// (Documentation/networking/vrf.rst).
fn local_client(lab: &Lab) -> Result<Attempt<'_>> {
    lab.host.sysctl("net/ipv4/tcp_l3mdev_accept", "1")?;
    lab.host.ip(&format!(
        "link add nic1 type veth peer name nic1 netns {}
         link add mgmt type vrf table 10
         link set mgmt up
         link set nic1 master mgmt
         addr add {HOST}/24 dev nic1
         link set nic1 up",
        lab.lan.path()
    ))?;
    lab.lan.ip("link set nic1 up")?;
    let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:9200", "elasticsearch")?;
    let to = std::net::SocketAddr::from((HOST, 9200));
    Ok(attempt(server, move |_, patience: Patience| {
        let heard = lab.host.run(|| bound_client(to, "mgmt", patience))?;
        heard.context("failed to ask through the VRF")
    }))
}

fn bound_client(
    to: std::net::SocketAddr,
    device: &str,
    patience: Patience,
) -> std::io::Result<Outcome> {
    use rustix::net::{AddressFamily, SocketType, socket, sockopt};
    let client = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_timeout(&client, sockopt::Timeout::Send, Some(patience.limit()))?;
    sockopt::set_socket_timeout(&client, sockopt::Timeout::Recv, Some(patience.limit()))?;
    crate::lab::sockopt::bind_to_device(client.as_fd(), device)?;
    if rustix::net::connect(&client, &to).is_err() {
        return Ok(Outcome::Silent);
    }
    let mut buffer = [0; 64];
    let mut stream = std::net::TcpStream::from(client);
    Ok(match std::io::Read::read(&mut stream, &mut buffer) {
        Ok(length) if length > 0 => {
            Outcome::Answered(String::from_utf8_lossy(&buffer[..length]).into_owned())
        }
        _ => Outcome::Silent,
    })
}

/// A frame of VLAN 5 belongs to VLAN 5's device, however many priority tags stand in front.
fn vlan_behind_tags(name: &str) -> Legitimate {
    const DOOR: Port<'static> = Port("tcp", 8443);
    Legitimate::new(name, |lab| {
        lab.host.ip(&format!(
            "link add link eth0 name eth0.5 type vlan id 5
             addr add {HOST}/24 dev eth0.5
             link set eth0.5 up
             neigh replace {GHOST} lladdr 02:00:00:00:77:02 dev eth0.5 nud permanent"
        ))?;
        let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:8443", "traefik")?;
        from_lan(lab, server, || {
            let probe = Probe::between(Ends::V4(GHOST, HOST), DOOR);
            let mut tags = [(DOT1Q, 0); 5];
            tags[4] = (DOT1Q, 5);
            let kind = probe.ends.ethertype();
            let frame = ethernet(HOST_MAC, LAN_MAC, &tags, kind, &probe.packet());
            (probe, vec![frame])
        })
    })
    .needs(Feature::Vlan)
}
