//! A10 and A20, and the QinQ of A11, on devices on top of other devices.

use std::net::Ipv4Addr;

use anyhow::Result;
use enforcer_ebpf::Reason;

use crate::lab::frames::{DOT1AD, DOT1Q, Ends, ethernet};
use crate::lab::topology::{CT, HOST_MAC, LAN_MAC};
use crate::lab::{Ask, Feature, Lab, Port, Server, Transport};
use crate::scenarios::attack::{Attack, Attempt};
use crate::scenarios::raw_packet::{Probe, from_lan};

use Reason::UntrustedInterface;

const PORT: Port<'static> = Port("tcp", 9200);
/// The host's and the neighbour's address on the device in question.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 1);
const NEIGHBOUR: &str = "192.168.85.2/24";
/// A neighbour there that no stack owns, as on the LAN itself.
const GHOST: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 50);

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = vlans();
    attacks.extend(masters());
    attacks
}

/// A service on every address, asked at the device's own.
fn asked(lab: &Lab) -> Result<Attempt<'_>> {
    let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:9200", "elasticsearch")?;
    let ask = Ask::new(Transport::Tcp, &format!("{HOST}:9200"));
    Ok(Box::new(move |patience| {
        let _server = &server;
        ask.ask(&lab.lan, patience)
    }))
}

fn vlans() -> Vec<Attack> {
    // Both stacks tag in metadata here: on a veth a tag never is among the bytes by itself.
    let accelerated = Attack::new("a10_vlan::a_tag_that_the_driver_took_off", PORT, |lab| {
        lab.host.ip(&format!(
            "link add link eth0 name eth0.5 type vlan id 5
             addr add {HOST}/24 dev eth0.5
             link set eth0.5 up"
        ))?;
        lab.lan.ip(&format!(
            "link add link eth0 name eth0.5 type vlan id 5
             addr add {NEIGHBOUR} dev eth0.5
             link set eth0.5 up"
        ))?;
        asked(lab)
    })
    .held_by_both(UntrustedInterface);
    vec![
        accelerated,
        tagged_in_the_bytes(
            "a10_vlan::a_tag_in_the_bytes",
            "link add link eth0 name eth0.5 type vlan id 5",
            "eth0.5",
            &[(DOT1Q, 5)],
        ),
        tagged_in_the_bytes(
            "a10_vlan::behind_a_priority_tag",
            "link add link eth0 name eth0.5 type vlan id 5",
            "eth0.5",
            &[(DOT1Q, 0), (DOT1Q, 5)],
        ),
        tagged_in_the_bytes(
            "a11_qinq::two_devices",
            "link add link eth0 name outer type vlan protocol 802.1ad id 5
             link set outer up
             link add link outer name inner type vlan id 7",
            "inner",
            &[(DOT1AD, 5), (DOT1Q, 7)],
        ),
    ]
    .into_iter()
    .map(|attack| attack.needs(Feature::Vlan))
    .collect()
}

/// A frame with tags in its bytes, to a device on top of others.
fn tagged_in_the_bytes(
    name: &'static str,
    devices: &'static str,
    top: &'static str,
    tags: &'static [(u16, u16)],
) -> Attack {
    Attack::new(name, PORT, move |lab| {
        let lladdr = "02:00:00:00:77:02";
        lab.host.ip(&format!(
            "{devices}
             addr add {HOST}/24 dev {top}
             link set {top} up
             neigh replace {GHOST} lladdr {lladdr} dev {top} nud permanent"
        ))?;
        let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:9200", "service")?;
        from_lan(lab, server, move || {
            let probe = Probe::between(Ends::V4(GHOST, HOST), PORT);
            let kind = probe.ends.ethertype();
            let frame = ethernet(HOST_MAC, LAN_MAC, tags, kind, &probe.packet());
            (probe, vec![frame])
        })
    })
    .held_by_both(UntrustedInterface)
}

/// A second wire to the neighbour, with the host's end for some master.
fn second_wire(lab: &Lab) -> Result<()> {
    lab.host.ip(&format!(
        "link add nic1 type veth peer name nic1 netns {}",
        lab.lan.path()
    ))?;
    lab.lan
        .ip(&format!("addr add {NEIGHBOUR} dev nic1\nlink set nic1 up"))
}

fn masters() -> Vec<Attack> {
    vec![
        Attack::new("a10_bond", PORT, |lab| {
            second_wire(lab)?;
            lab.host.ip(&format!(
                "link add bond0 type bond mode active-backup miimon 10
                 link set nic1 master bond0
                 link set nic1 up
                 addr add {HOST}/24 dev bond0
                 link set bond0 up"
            ))?;
            asked(lab)
        })
        .held_by_both(UntrustedInterface)
        .needs(Feature::Bond),
        // No hook sees a packet on the VRF itself; the members are guarded, and `status` says so.
        Attack::new("a10_vrf", PORT, |lab| {
            second_wire(lab)?;
            lab.host.sysctl("net/ipv4/tcp_l3mdev_accept", "1")?;
            lab.host.ip(&format!(
                "link add vrf0 type vrf table 77
                 link set vrf0 up
                 link set nic1 master vrf0
                 addr add {HOST}/24 dev nic1
                 link set nic1 up"
            ))?;
            asked(lab)
        })
        .held_by_both(UntrustedInterface)
        .leaves_uncovered("vrf0")
        .needs(Feature::Vrf),
        Attack::new("a10_macvlan_child_of_the_host", PORT, |lab| {
            // Only the child answers for this address.
            lab.host.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
            lab.host.ip(&format!(
                "link add child0 link eth0 type macvlan mode bridge
                 addr add {HOST}/24 dev child0
                 link set child0 up"
            ))?;
            lab.lan.ip(&format!("addr add {NEIGHBOUR} dev eth0"))?;
            asked(lab)
        })
        .held_by_both(UntrustedInterface)
        .needs(Feature::Macvlan),
        dnat_on_a_bridge_member(),
    ]
}

/// The DNAT rule runs between the member's hooks and the bridge's, which see port 80. A veth would
/// be taken for a container's: the NIC of this bridge is a bond.
fn dnat_on_a_bridge_member() -> Attack {
    Attack::new(
        "a20_dnat_on_a_member_of_a_bridge",
        Port("tcp", 8065),
        |lab| {
            second_wire(lab)?;
            lab.host.ip(&format!(
                "link add bond0 type bond mode active-backup miimon 10
                 link add br0 type bridge
                 link set nic1 master bond0
                 link set nic1 up
                 link set bond0 master br0
                 link set bond0 up
                 addr add {HOST}/24 dev br0
                 link set br0 up"
            ))?;
            lab.host.sysctl("net/bridge/bridge-nf-call-iptables", "1")?;
            lab.host.nft(&format!(
                "table ip careless {{
                   chain prerouting {{
                     type nat hook prerouting priority -100; policy accept;
                     ip daddr {HOST} tcp dport 8065 dnat to {CT}:80
                   }}
                 }}"
            ))?;
            let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "mattermost")?;
            let ask = Ask::new(Transport::Tcp, &format!("{HOST}:8065"));
            Ok(Box::new(move |patience| {
                let _server = &server;
                ask.ask(&lab.lan, patience)
            }))
        },
    )
    .held_by_wire(UntrustedInterface)
    .needs(Feature::Bond)
    .needs(Feature::BridgeNetfilter)
}
