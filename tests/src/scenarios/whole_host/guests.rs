//! Guests on a bridge of the host: their ports are theirs.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::lab::bridge::{Bridge, GUEST, GUEST_MAC, GUEST6, OUTSIDE, Uplink, netfilter_on_members};
use crate::lab::frames::{Ends, ethernet};
use crate::lab::topology::{HOST_LAN, LAN, LAN_MAC};
use crate::lab::wire::{Wire, reply_in};
use crate::lab::{Ask, Feature, Lab, Netns, Outcome, Port, Server, Transport};
use crate::scenario::host_only::SAME_PATH;
use crate::scenarios::attack::{Attempt, Legitimate, attempt};
use crate::scenarios::raw_packet::Probe;

const PORT: Port<'static> = Port("tcp", 9200);

pub(super) fn traffic() -> Vec<Legitimate> {
    let mut traffic = under_netfilter();
    traffic.extend(beside_netfilter());
    traffic.extend(promiscuous());
    traffic
}

/// Asks the guest from the LAN.
fn asked(
    lab: &Lab,
    uplink: Uplink,
    netfilter: bool,
    transport: Transport,
    to: String,
) -> Result<Attempt<'_>> {
    let bridge = Bridge::new(lab, uplink)?;
    if netfilter {
        netfilter_on_members(lab, true)?;
    }
    let any = if to.starts_with('[') {
        "[::]"
    } else {
        "0.0.0.0"
    };
    let port = to.rsplit(':').next().unwrap_or_default();
    let server = Server::start(
        &bridge.guest,
        transport,
        &format!("{any}:{port}"),
        "a guest",
    )?;
    let ask = Ask::new(transport, &to);
    Ok(attempt((server, bridge), move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}

/// A host with Docker and virtual machines: netfilter sees the frames that the bridge forwards.
fn under_netfilter() -> Vec<Legitimate> {
    let tcp = |name, uplink, to: String| {
        Legitimate::new(name, move |lab| {
            asked(lab, uplink, true, Transport::Tcp, to.clone())
        })
        .needs(Feature::BridgeNetfilter)
    };
    let v4 = || format!("{GUEST}:9200");
    vec![
        tcp(
            "guests::their_own_port_under_netfilter",
            Uplink::Vxlan,
            v4(),
        ),
        tcp(
            "guests::their_own_port_behind_native_xdp",
            Uplink::Veth,
            v4(),
        )
        .under("[interfaces.br0]\nside = \"outside\"\n[interfaces.up0]\nhook = \"xdp-native\"\n"),
        tcp(
            "guests::their_own_port_under_netfilter_over_ipv6",
            Uplink::Vxlan,
            format!("[{GUEST6}]:9200"),
        ),
        Legitimate::new("guests::their_own_port_under_netfilter_udp", |lab| {
            let to = format!("{GUEST}:8125");
            asked(lab, Uplink::Vxlan, true, Transport::Udp, to)
        })
        .host_only(SAME_PATH)
        .needs(Feature::BridgeNetfilter),
        // A frame for another machine is forwarded before rule 4 knows the host's own network.
        Legitimate::new("guests::with_an_address_of_the_hosts_containers", |lab| {
            let bridge = Bridge::new(lab, Uplink::Vxlan)?;
            bridge.guest.ip("addr add 10.88.0.2/16 dev eth0")?;
            lab.lan.ip("addr add 10.88.0.9/16 dev up0")?;
            let server = Server::start(&bridge.guest, Transport::Tcp, "0.0.0.0:9200", "guest")?;
            let ask = Ask::new(Transport::Tcp, "10.88.0.2:9200");
            Ok(attempt((server, bridge), move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        }),
        Legitimate::new("guests::out_to_a_remote_registered_port", |lab| {
            let bridge = Bridge::new(lab, Uplink::Vxlan)?;
            netfilter_on_members(lab, true)?;
            let server = Server::start(&lab.lan, Transport::Tcp, "0.0.0.0:9200", "remote")?;
            let ask = Ask::new(
                Transport::Tcp,
                &format!("{}:9200", crate::lab::bridge::NEIGHBOUR),
            );
            Ok(attempt((server, bridge), move |(_, bridge), patience| {
                ask.ask(&bridge.guest, patience)
            }))
        })
        .needs(Feature::BridgeNetfilter),
    ]
}

fn beside_netfilter() -> Vec<Legitimate> {
    vec![
        Legitimate::new("guests::their_own_port", |lab| {
            let to = format!("{GUEST}:9200");
            asked(lab, Uplink::Veth, false, Transport::Tcp, to)
        })
        .under(OUTSIDE),
        Legitimate::new("guests::a_port_of_nobody", |lab| {
            let to = format!("{GUEST}:7070");
            asked(lab, Uplink::Veth, false, Transport::Tcp, to)
        })
        .under("[interfaces.br0]\nside = \"outside\"\n[unregistered]\ntcp = \"drop\"\n"),
    ]
}

/// A NIC that shows the host the frames of others: no frame is dropped, and none is counted.
fn promiscuous() -> Vec<Legitimate> {
    vec![
        Legitimate::new("promiscuous::a_nic", |lab| {
            lab.host.ip("link set eth0 promisc on")?;
            let wire = Wire::open(&lab.lan, "eth0")?;
            let door = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:8443", "traefik")?;
            let ask = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:8443"));
            Ok(attempt((door, wire), move |(_, wire), patience| {
                for _ in 0..5 {
                    let probe = Probe::between(Ends::V4(LAN, [192, 168, 77, 99].into()), PORT);
                    wire.send(&probe.framed_to([2, 0, 0, 0, 0x77, 0x99], &probe.packet()))?;
                }
                ask.ask(&lab.lan, patience)
            }))
        }),
        Legitimate::new("promiscuous::a_bridge_of_guests", |lab| {
            let bridge = Bridge::new(lab, Uplink::Veth)?;
            lab.host.ip("link set br0 promisc on")?;
            let server = Server::start(&bridge.guest, Transport::Tcp, "0.0.0.0:9200", "guest")?;
            let ask = Ask::new(Transport::Tcp, &format!("{GUEST}:9200"));
            Ok(attempt((server, bridge), move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        })
        .under(OUTSIDE),
        unanswered_by_the_host(),
    ]
}

/// The guest's MAC stands in the frame, and an address behind the guest in the packet.
fn unanswered_by_the_host() -> Legitimate {
    Legitimate::new("guests::an_address_behind_a_guest", |lab| {
        let bridge = Bridge::new(lab, Uplink::Vxlan)?;
        netfilter_on_members(lab, true)?;
        let inner: std::net::Ipv4Addr = [172, 20, 0, 9].into();
        bridge.guest.ip(&format!(
            "addr add {inner}/32 dev lo
             neigh replace {} lladdr 02:00:00:00:85:02 dev eth0 nud permanent",
            crate::lab::bridge::GHOST
        ))?;
        let server = Server::start(&bridge.guest, Transport::Tcp, "0.0.0.0:9200", "guest")?;
        let wire = Wire::open(&lab.lan, "up0")?;
        Ok(attempt((server, bridge, wire), move |kept, patience| {
            let ends = Ends::V4(crate::lab::bridge::GHOST, inner);
            syn_ack(&kept.2, ends, patience.limit())
        }))
    })
    .needs(Feature::BridgeNetfilter)
}

fn syn_ack(wire: &Wire, ends: Ends, limit: Duration) -> Result<Outcome> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        let probe = Probe::between(ends, PORT);
        let frame = ethernet(GUEST_MAC, LAN_MAC, &[], ends.ethertype(), &probe.packet());
        wire.send(&frame)?;
        let deadline = end.min(Instant::now() + Duration::from_millis(500));
        let heard = wire.expect(deadline, |frame| reply_in(frame, PORT.1, probe.source))?;
        if let Some(reply) = heard {
            return Ok(Outcome::Answered(format!("{reply:?}")));
        }
    }
    Ok(Outcome::Silent)
}

/// Gives packets that leave by eth0 the host's own address.
pub(super) fn masquerade(host: &Netns) -> Result<()> {
    host.nft(
        "table ip masquerading {
           chain postrouting {
             type nat hook postrouting priority 100; policy accept;
             oifname eth0 masquerade
           }
         }",
    )
}
