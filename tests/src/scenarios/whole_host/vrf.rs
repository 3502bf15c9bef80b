//! A VRF for the management of the host, VLANs behind priority tags, and an inside VLAN.

use std::os::fd::AsFd;

use anyhow::{Context, Result};

use crate::lab::frames::{DOT1Q, Ends, ethernet};
use crate::lab::topology::{HOST_MAC, LAN_MAC};
use crate::lab::{Ask, Because, Feature, Lab, Outcome, Patience, Port, Server, Transport};
use crate::scenarios::attack::{Attack, Attempt, Legitimate, attempt};
use crate::scenarios::raw_packet::{Probe, from_lan};

const HOST: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 168, 87, 1);
const GHOST: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 168, 87, 50);

/// The neighbour's address in the VRF, and in the VLAN.
const NEIGHBOUR: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 168, 87, 2);

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        // `side` accepts that the VRF itself has no wire guard, and trusts no member.
        Attack::new(
            "a28_an_unregistered_port::in_a_vrf_with_a_side",
            Port("tcp", 7070),
            |lab| {
                vrf_with_nic(lab)?;
                lab.lan.ip(&format!("addr add {NEIGHBOUR}/24 dev nic1"))?;
                asked(lab)
            },
        )
        .under("[unregistered]\ntcp = \"drop\"\n[interfaces.mgmt]\nside = \"inside\"\n")
        .held_by_both(Because::UNREGISTERED_PORT)
        .needs(Feature::Vrf),
    ]
}

pub(super) fn traffic() -> Vec<Legitimate> {
    vec![
        Legitimate::new("vlan::an_inside_vlan_under_xdp", |lab| {
            inside_vlan(lab)?;
            asked(lab)
        })
        .under(
            "[unregistered]\ntcp = \"drop\"\n[interfaces.eth0]\nhook = \"xdp-generic\"\n\
             [interfaces.\"eth0.5\"]\nside = \"inside\"\n",
        )
        .needs(Feature::Vlan),
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

/// A port of the host's that no service names, asked from the LAN at [`HOST`].
fn asked(lab: &Lab) -> Result<Attempt<'_>> {
    let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:7070", "a new database")?;
    let ask = Ask::new(Transport::Tcp, &format!("{HOST}:7070"));
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}

/// VLAN 5 between the host and the neighbour. Both stacks tag in metadata: on a veth the tag is
/// not among the bytes.
fn inside_vlan(lab: &Lab) -> Result<()> {
    for (namespace, own) in [(&lab.host, HOST), (&lab.lan, NEIGHBOUR)] {
        namespace.ip(&format!(
            "link add link eth0 name eth0.5 type vlan id 5
             addr add {own}/24 dev eth0.5
             link set eth0.5 up"
        ))?;
    }
    Ok(())
}

/// A VRF with a second wire to the neighbour, and services of all VRFs.
fn vrf_with_nic(lab: &Lab) -> Result<()> {
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
    lab.lan.ip("link set nic1 up")
}

/// A client bound to the VRF asks an address of the host in the same VRF
/// (Documentation/networking/vrf.rst).
fn local_client(lab: &Lab) -> Result<Attempt<'_>> {
    vrf_with_nic(lab)?;
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
