//! A23, A27, A30, A32 and A33: members of bridges, where a packet meets the IP
//! stack or NAT before the bridge's own hook.

use anyhow::Result;
use enforcer_ebpf::Reason::UntrustedInterface;

use crate::lab::bridge::{
    BRIDGE_MAC, Bridge, GHOST, HOST, HOST6, OUTSIDE, Uplink, netfilter_on_members, publish,
    publish_over_ipv6,
};
use crate::lab::broute;
use crate::lab::frames::{Ends, ethernet};
use crate::lab::{Ask, Feature, Lab, Netns, Port, Server, Transport};
use crate::scenarios::attack::{Attack, Attempt, attempt};
use crate::scenarios::raw_packet::Probe;

/// A port that DNAT takes to a container.
const PUBLISHED: Port<'static> = Port("tcp", 8065);
const STATSD: Port<'static> = Port("udp", 8125);

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = guests();
    attacks.extend(by_the_bridges_own_option());
    attacks.extend(from_a_container());
    attacks.extend([tagged(), brouted(true), brouted(false)]);
    attacks
}

/// Who asks for the published port.
#[derive(Clone, Copy)]
enum Who {
    Guest,
    Neighbour,
}

/// A published port of the host, asked at the host's address on the bridge.
fn asked(lab: &Lab, bridge: Bridge, who: Who, v6: bool) -> Result<Attempt<'_>> {
    let (any, host) = if v6 {
        publish_over_ipv6(lab, PUBLISHED.1)?;
        ("[::]:80", format!("[{HOST6}]"))
    } else {
        publish(lab, PUBLISHED.1)?;
        ("0.0.0.0:80", HOST.to_string())
    };
    let server = Server::start(&lab.ct, Transport::Tcp, any, "mattermost")?;
    let ask = Ask::new(Transport::Tcp, &format!("{host}:{}", PUBLISHED.1));
    Ok(attempt((server, bridge), move |(_, bridge), patience| {
        let from = match who {
            Who::Guest => &bridge.guest,
            Who::Neighbour => &lab.lan,
        };
        ask.ask(from, patience)
    }))
}

/// A23: a member that is no NIC, under the sysctl of Docker and Kubernetes.
fn guests() -> Vec<Attack> {
    let under_the_sysctl = |name, uplink, who, v6| {
        Attack::new(name, PUBLISHED, move |lab| {
            let bridge = Bridge::new(lab, uplink)?;
            netfilter_on_members(lab, true)?;
            asked(lab, bridge, who, v6)
        })
        .held_by_wire(UntrustedInterface)
        .needs(Feature::BridgeNetfilter)
    };
    vec![
        under_the_sysctl(
            "a23_a_guest_of_a_bridge::veth",
            Uplink::Vxlan,
            Who::Guest,
            false,
        ),
        under_the_sysctl(
            "a23_a_guest_of_a_bridge::veth_over_ipv6",
            Uplink::Vxlan,
            Who::Guest,
            true,
        ),
        under_the_sysctl(
            "a23_a_guest_of_a_bridge::marked_outside",
            Uplink::Veth,
            Who::Guest,
            false,
        )
        .under(OUTSIDE),
        under_the_sysctl(
            "a23_a_guest_of_a_bridge::a_veth_as_uplink",
            Uplink::Veth,
            Who::Neighbour,
            false,
        )
        .under(OUTSIDE),
        tap(),
    ]
}

/// The program of a VPN, or a virtual machine, writes frames to a tap.
fn tap() -> Attack {
    use crate::lab::tun::{Kind, Tun};
    Attack::new("a23_a_guest_of_a_bridge::tap", PUBLISHED, |lab| {
        let bridge = Bridge::new(lab, Uplink::Vxlan)?;
        netfilter_on_members(lab, true)?;
        publish(lab, PUBLISHED.1)?;
        let tap = Tun::new(&lab.host, "tap0", Kind::Tap)?;
        lab.host.ip(&format!(
            "link set tap0 master br0
             link set tap0 up
             neigh replace {GHOST} lladdr 02:00:00:00:85:66 dev br0 nud permanent"
        ))?;
        let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "mattermost")?;
        Ok(attempt((server, bridge, tap), |(.., tap), patience| {
            super::tunnels::ask_through(tap, patience, PUBLISHED, &|probe| {
                let ends = Ends::V4(GHOST, HOST);
                let probe = Probe { ends, ..probe };
                let kind = ends.ethertype();
                ethernet(
                    BRIDGE_MAC,
                    [2, 0, 0, 0, 0x85, 0x66],
                    &[],
                    kind,
                    &probe.packet(),
                )
            })
        }))
    })
    .held_by_wire(UntrustedInterface)
    .needs(Feature::BridgeNetfilter)
}

/// A30: the option of the bridge, the sysctl being 0.
fn by_the_bridges_own_option() -> Vec<Attack> {
    let by_option = |name, who, v6| {
        Attack::new(name, PUBLISHED, move |lab| {
            let option = if v6 {
                "nf_call_ip6tables 1"
            } else {
                "nf_call_iptables 1"
            };
            let bridge = Bridge::with(lab, Uplink::Vxlan, option)?;
            asked(lab, bridge, who, v6)
        })
        .held_by_wire(UntrustedInterface)
        .needs(Feature::BridgeNetfilter)
    };
    vec![
        by_option("a30_the_bridges_own_option::nic", Who::Neighbour, false),
        by_option("a30_the_bridges_own_option::guest", Who::Guest, false),
        by_option(
            "a30_the_bridges_own_option::nic_over_ipv6",
            Who::Neighbour,
            true,
        ),
    ]
}

/// A27: the clients of a VPN server in a container come out of the container network.
fn from_a_container() -> Vec<Attack> {
    let masqueraded = |name, netfilter: bool| {
        Attack::new(name, PUBLISHED, move |lab| {
            netfilter_on_members(lab, netfilter)?;
            let client = behind_the_container(lab)?;
            let (db, server) = second_network(lab)?;
            let ask = Ask::new(
                Transport::Tcp,
                &format!("{}:{}", crate::lab::topology::HOST_LAN, PUBLISHED.1),
            );
            Ok(attempt(
                (server, db, client),
                move |(.., client), patience| ask.ask(client, patience),
            ))
        })
        .held_by_wire(UntrustedInterface)
        .under("[interfaces.podman0]\nside = \"outside\"\n")
    };
    vec![
        masqueraded("a27_a_vpn_in_a_container::under_netfilter", true)
            .needs(Feature::BridgeNetfilter),
        masqueraded("a27_a_vpn_in_a_container::beside_netfilter", false),
    ]
}

/// A remote client, whose packets the first container masquerades.
fn behind_the_container(lab: &Lab) -> Result<Netns> {
    let client = Netns::new("vpn-client")?;
    lab.ct.sysctl("net/ipv4/ip_forward", "1")?;
    lab.ct.ip(&format!(
        "link add vpn type veth peer name eth0 netns {}
         addr add 10.8.0.1/24 dev vpn
         link set vpn up",
        client.path()
    ))?;
    client.ip("link set lo up
         addr add 10.8.0.2/24 dev eth0
         link set eth0 up
         route add default via 10.8.0.1")?;
    lab.ct.nft(
        "table ip vpn {
           chain postrouting {
             type nat hook postrouting priority 100; policy accept;
             oifname eth0 masquerade
           }
         }",
    )?;
    Ok(client)
}

/// Another container network with a published database.
fn second_network(lab: &Lab) -> Result<(Netns, Server)> {
    let db = Netns::new("db")?;
    lab.host.ip(&format!(
        "link add podman1 type bridge forward_delay 0
         link add veth-db type veth peer name eth0 netns {}
         link set veth-db master podman1
         addr add 10.89.0.1/24 dev podman1
         link set veth-db up
         link set podman1 up",
        db.path()
    ))?;
    db.ip("link set lo up
         addr add 10.89.0.2/24 dev eth0
         link set eth0 up
         route add default via 10.89.0.1")?;
    lab.host.nft(&format!(
        "table ip published {{
           chain prerouting {{
             type nat hook prerouting priority -100; policy accept;
             fib daddr type local tcp dport {} dnat to 10.89.0.2:80
           }}
         }}",
        PUBLISHED.1
    ))?;
    let server = Server::start(&db, Transport::Tcp, "0.0.0.0:80", "mattermost")?;
    Ok((db, server))
}

/// A32: netfilter looks behind the tag on the member.
fn tagged() -> Attack {
    Attack::new("a32_a_tagged_frame_on_a_member", PUBLISHED, |lab| {
        let bridge = Bridge::new(lab, Uplink::Veth)?;
        netfilter_on_members(lab, true)?;
        lab.host
            .sysctl("net/bridge/bridge-nf-filter-vlan-tagged", "1")?;
        lab.host.ip(&format!(
            "addr flush dev br0
             link add link br0 name br0.5 type vlan id 5
             addr add {HOST}/24 dev br0.5
             link set br0.5 up"
        ))?;
        lab.lan.ip("addr flush dev up0
             link add link up0 name up0.5 type vlan id 5
             addr add 192.168.85.2/24 dev up0.5
             link set up0.5 up")?;
        asked(lab, bridge, Who::Neighbour, false)
    })
    .held_by_wire(UntrustedInterface)
    .under("[interfaces.br0]\nside = \"outside\"\n[interfaces.\"br0.5\"]\nside = \"outside\"\n")
    .needs(Feature::BridgeNetfilter)
    .needs(Feature::Vlan)
}

/// A33: IP takes a brouted frame on the bridge's member.
fn brouted(container: bool) -> Attack {
    let (name, port) = if container {
        ("a33_a_brouted_frame::to_a_container", PUBLISHED)
    } else {
        ("a33_a_brouted_frame::to_a_socket", STATSD)
    };
    let attack = Attack::new(name, port, move |lab| {
        let bridge = Bridge::new(lab, Uplink::Vxlan)?;
        // The stack answers on the member.
        lab.host.ip(&format!(
            "addr flush dev br0
             addr add {HOST}/24 dev up0"
        ))?;
        broute::route_all(&lab.host, "up0")?;
        bridge_routes(lab, bridge, container)
    })
    .needs(Feature::Broute);
    if container {
        attack.held_by_wire(UntrustedInterface)
    } else {
        attack.held_by_both(UntrustedInterface)
    }
}

fn bridge_routes(lab: &Lab, bridge: Bridge, container: bool) -> Result<Attempt<'_>> {
    if container {
        return asked(lab, bridge, Who::Neighbour, false);
    }
    let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
    let ask = Ask::new(Transport::Udp, &format!("{HOST}:8125"));
    Ok(attempt((server, bridge), move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}
