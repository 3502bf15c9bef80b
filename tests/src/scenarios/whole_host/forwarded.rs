//! Containers, guests and pods on their way out, or on their way to each other, through the host.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::lab::frames::{Ends, Mac, ethernet};
use crate::lab::topology::{HOST_LAN, LAN, Lab};
use crate::lab::tun::{Kind, Tun};
use crate::lab::wire::reply_in;
use crate::lab::{Ask, Feature, Netns, Outcome, Port, Server, Transport};
use crate::scenarios::attack::{Attempt, Legitimate, attempt};
use crate::scenarios::raw_packet::Probe;

use super::guests::masquerade;

const PORT: Port<'static> = Port("tcp", 9200);
/// A guest's MAC address behind a tap.
const TAP_GUEST: Mac = [2, 0, 0, 0, 0x66, 2];
/// The host's MAC address at a tap.
const TAP_HOST: Mac = [2, 0, 0, 0, 0x66, 1];

pub(super) fn traffic() -> Vec<Legitimate> {
    let mut traffic = egress();
    traffic.extend(pods_and_guests());
    traffic
}

fn egress() -> Vec<Legitimate> {
    vec![
        Legitimate::new("egress::through_a_veth_without_a_master", |lab| {
            let guest = behind_a_veth(lab, "ve-x")?;
            out(lab, guest)
        }),
        Legitimate::new("egress::through_a_routed_tap", through_a_tap),
        Legitimate::new("egress::through_netkit", |lab| {
            // Without options the kernel makes the peer beside, under the first free name.
            let guest = Netns::new("guest")?;
            lab.host.ip(&format!(
                "link add host0 type netkit
                 link set nk0 netns {} name eth0
                 addr add 10.0.5.1/28 dev host0
                 link set host0 up",
                guest.path()
            ))?;
            guest.ip("link set lo up
                 addr add 10.0.5.2/28 dev eth0
                 link set eth0 up
                 route add default via 10.0.5.1")?;
            out(lab, guest)
        })
        .needs(Feature::Netkit),
        Legitimate::new("egress::through_a_bridge_with_a_dummy", |lab| {
            let guest = behind_a_veth(lab, "vb1")?;
            lab.host.ip("link add br9 type bridge forward_delay 0
                 link add dummy9 type dummy
                 link set dummy9 master br9
                 link set dummy9 up
                 addr flush dev vb1
                 link set vb1 master br9
                 addr add 10.0.5.1/28 dev br9
                 link set br9 up")?;
            out(lab, guest)
        })
        .needs(Feature::Dummy),
        Legitimate::new("egress::through_a_vlan_of_a_bridge_of_guests", |lab| {
            let guest = behind_a_veth(lab, "vb1")?;
            lab.host.ip("link add br9 type bridge forward_delay 0
                 addr flush dev vb1
                 link set vb1 master br9
                 link set br9 up
                 link add link br9 name br9.10 type vlan id 10
                 addr add 10.0.5.1/28 dev br9.10
                 link set br9.10 up")?;
            guest.ip("addr flush dev eth0
                 link add link eth0 name eth0.10 type vlan id 10
                 addr add 10.0.5.2/28 dev eth0.10
                 link set eth0.10 up
                 route add default via 10.0.5.1")?;
            out(lab, guest)
        })
        .needs(Feature::Vlan),
    ]
}

/// Pods of this node and of another, and a guest where ports of nobody are closed.
fn pods_and_guests() -> Vec<Legitimate> {
    vec![
        Legitimate::new("egress::under_unregistered_drop", |lab| {
            let guest = behind_a_veth(lab, "ve-x")?;
            masquerade(&lab.host)?;
            let server = Server::start(&lab.lan, Transport::Tcp, "0.0.0.0:7070", "remote")?;
            let ask = Ask::new(Transport::Tcp, &format!("{LAN}:7070"));
            Ok(attempt((server, guest), move |(_, guest), patience| {
                ask.ask(guest, patience)
            }))
        })
        .under("[unregistered]\ntcp = \"drop\"\nudp = \"drop\"\n"),
        to_a_pod("pods::on_this_node_from_another_node", 9200, ""),
        to_a_pod(
            "pods::at_a_port_of_nobody",
            7070,
            "[unregistered]\ntcp = \"drop\"\nudp = \"drop\"\n",
        ),
        Legitimate::new("pods::of_another_node", |lab| {
            let pod = pods(lab)?;
            let server = Server::start(&lab.lan, Transport::Tcp, "0.0.0.0:9200", "a pod")?;
            let ask = Ask::new(Transport::Tcp, "10.244.1.1:9200");
            Ok(attempt((server, pod), move |(_, pod), patience| {
                ask.ask(pod, patience)
            }))
        }),
    ]
}

/// A namespace behind a veth end of the host, which has no master (systemd-nspawn's `ve-*`).
pub(super) fn behind_a_veth(lab: &Lab, end: &str) -> Result<Netns> {
    let guest = Netns::new("guest")?;
    lab.host.ip(&format!(
        "link add {end} type veth peer name eth0 netns {}
         addr add 10.0.5.1/28 dev {end}
         link set {end} up",
        guest.path()
    ))?;
    guest.ip("link set lo up
         addr add 10.0.5.2/28 dev eth0
         link set eth0 up
         route add default via 10.0.5.1")?;
    Ok(guest)
}

/// The guest asks the neighbour, who serves a number that is registered here.
fn out(lab: &Lab, guest: Netns) -> Result<Attempt<'_>> {
    masquerade(&lab.host)?;
    let server = Server::start(&lab.lan, Transport::Tcp, "0.0.0.0:9200", "remote")?;
    let ask = Ask::new(Transport::Tcp, &format!("{LAN}:9200"));
    Ok(attempt((server, guest), move |(_, guest), patience| {
        ask.ask(guest, patience)
    }))
}

/// A virtual machine behind a tap with an address of the host's own (firecracker, urunc).
fn through_a_tap(lab: &Lab) -> Result<Attempt<'_>> {
    let tap = Tun::new(&lab.host, "tap0", Kind::Tap)?;
    lab.host.ip("link set tap0 address 02:00:00:00:66:01
         addr add 10.0.6.1/28 dev tap0
         link set tap0 up
         neigh replace 10.0.6.2 lladdr 02:00:00:00:66:02 dev tap0 nud permanent")?;
    masquerade(&lab.host)?;
    let server = Server::start(&lab.lan, Transport::Tcp, "0.0.0.0:9200", "remote")?;
    Ok(attempt((server, tap), move |(_, tap), patience| {
        let end = Instant::now() + patience.limit();
        while Instant::now() < end {
            let ends = Ends::V4([10, 0, 6, 2].into(), LAN);
            let probe = Probe::between(ends, PORT);
            let packet = probe.packet();
            tap.send(&ethernet(
                TAP_HOST,
                TAP_GUEST,
                &[],
                ends.ethertype(),
                &packet,
            ))?;
            let deadline = end.min(Instant::now() + Duration::from_millis(500));
            let heard = tap.expect(deadline, |frame| reply_in(frame, PORT.1, probe.source))?;
            if let Some(reply) = heard {
                return Ok(Outcome::Answered(format!("{reply:?}")));
            }
        }
        Ok(Outcome::Silent)
    }))
}

/// Another node of a cluster: flannel's vxlan device, with a route to the pods of either node.
///
/// The container network of the lab has a name of Podman's, which rule 4 would protect, so pods of
/// this node have a bridge called cni0.
fn pods(lab: &Lab) -> Result<Netns> {
    let device = "type vxlan id 1 dstport 8472 nolearning";
    for (namespace, local, remote, own, other) in [
        (&lab.host, HOST_LAN, LAN, "10.244.0.0", "10.244.1.0"),
        (&lab.lan, LAN, HOST_LAN, "10.244.1.0", "10.244.0.0"),
    ] {
        namespace.ip(&format!(
            "link add flannel.1 {device} local {local} remote {remote}
             addr add {own}/32 dev flannel.1
             link set flannel.1 up
             route add {other}/24 via {other} dev flannel.1 onlink"
        ))?;
    }
    lab.lan.ip("addr add 10.244.1.1/32 dev lo")?;
    let pod = Netns::new("pod")?;
    lab.host.ip(&format!(
        "link add cni0 type bridge forward_delay 0
         link add veth-pod type veth peer name eth0 netns {}
         link set veth-pod master cni0
         addr add 10.244.0.1/24 dev cni0
         link set veth-pod up
         link set cni0 up",
        pod.path()
    ))?;
    pod.ip("link set lo up
         addr add 10.244.0.2/24 dev eth0
         link set eth0 up
         route add default via 10.244.0.1")?;
    Ok(pod)
}

fn to_a_pod(name: &str, port: u16, policy: &'static str) -> Legitimate {
    Legitimate::new(name, move |lab| {
        let pod = pods(lab)?;
        let server = Server::start(&pod, Transport::Tcp, &format!("0.0.0.0:{port}"), "a pod")?;
        let ask = Ask::new(Transport::Tcp, &format!("10.244.0.2:{port}"));
        Ok(attempt((server, pod), move |_, patience| {
            ask.ask(&lab.lan, patience)
        }))
    })
    .under(policy)
}
