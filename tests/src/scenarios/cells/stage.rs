//! The host with one interface of every kind, and the way of a frame through the guards.

use std::net::IpAddr;
use std::ops::Range;

use anyhow::{Context, Result};
use enforcer_ebpf::{Link, VlanIds};

use crate::lab::bridge::{Bridge, Uplink, containers_over_ipv6};
use crate::lab::frames::{self, Mac};
use crate::lab::topology::{CT, PEER, PEER6};
use crate::lab::tun::{Kind, Tun};
use crate::lab::wire::Wire;
use crate::lab::{Lab, Netns};
use crate::reference::Reading;

use super::addresses::{
    ANY_IP_PREFIXES, CONTAINERS, FOREIGN, FOREIGN6, GUESTS, MACVLAN, NOWHERE, PEER_MAC, device,
    frame_macs, neighbour, own, peer,
};
use super::cell::{Cell, Destination, Family, Ingress, Tags};
use super::forge::{self, VLAN_ID};
use super::sinks::{Place, Sinks};

/// The lab with all devices.
pub(super) struct Stage<'lab> {
    pub(super) lab: &'lab Lab,
    pub(super) ingresses: Vec<Ingress>,
    bridge: Bridge,
    _guests: Netns,
    wires: Vec<(Ingress, Wire)>,
    tun: Tun,
}

/// The hooks of the wire guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hooks {
    Tcx,
    /// On a device above another, XDP does not see the outermost tag: the kernel took the tag off
    /// the frame below (`__netif_receive_skb_core` in net/core/dev.c).
    GenericXdp,
}

/// A wire guard on the way of a frame.
pub(super) struct Step {
    pub(super) device: &'static str,
    /// The frame as the guard sees it.
    pub(super) reading: Reading,
    /// The destination MAC, `None` without an Ethernet header.
    pub(super) mac: Option<Mac>,
    /// A drop passes, uncounted: the frame is for a macvlan device on this one.
    pub(super) is_exempt: bool,
    /// A pass is left to the counters of the master's guard.
    pub(super) is_member: bool,
}

impl<'lab> Stage<'lab> {
    /// Makes all devices that this kernel has.
    pub(super) fn new(lab: &'lab Lab) -> Result<Self> {
        let ingresses = Ingress::possible();
        let bridge = Bridge::with(lab, Uplink::Vxlan, "mcast_snooping 0")?;
        let guests = Netns::new("guests")?;
        let tun = Tun::new(&lab.host, "tun0", Kind::Tun)?;
        containers_over_ipv6(lab)?;
        lab.ct
            .ip(&format!("link set eth0 address {}", text(CONTAINERS[1])))?;
        lab.peer
            .ip(&format!("link set wg0 address {}", text(PEER_MAC)))?;
        lab.host.ip(&format!(
            "link set podman0 address {}
             link add gbr0 address {} type bridge forward_delay 0
             link add vguest type veth peer name eth0 address {} netns {}
             link set vguest master gbr0
             link set vguest up",
            text(CONTAINERS[0]),
            text(GUESTS[0]),
            text(GUESTS[1]),
            guests.path()
        ))?;
        guests.ip("link set eth0 up")?;
        if ingresses.contains(&Ingress::Vlan) {
            lab.host.ip(&format!(
                "link add link eth0 name eth0.5 type vlan id {VLAN_ID}"
            ))?;
        }
        if ingresses.contains(&Ingress::Macvlan) {
            lab.host.ip(&format!(
                "link add nic1 type veth peer name nic1 address {} netns {}
                 link set nic1 up
                 link add mv0 link nic1 address {} type macvlan mode bridge",
                text(MACVLAN[1]),
                lab.lan.path(),
                text(MACVLAN[0])
            ))?;
            lab.lan.ip("link set nic1 up")?;
        }
        for &ingress in &ingresses {
            lab.host.ip(&addressed(ingress))?;
        }
        routed(lab, &bridge)?;
        let wires = wires(lab, &guests, &ingresses)?;
        Ok(Self {
            lab,
            ingresses,
            bridge,
            _guests: guests,
            wires,
            tun,
        })
    }

    /// Opens the sinks of all places, for cells with these source ports.
    pub(super) fn sinks(&self, marks: Range<u16>) -> Result<Sinks<'_>> {
        let places = vec![
            (Place::Host, &self.lab.host),
            (Place::Container, &self.lab.ct),
            (Place::Guest, &self.bridge.guest),
            (Place::Foreign, &self.lab.peer),
        ];
        let devices = self.ingresses.iter().map(|ingress| device(*ingress));
        let indexes: Result<Vec<u32>> = devices.map(|it| self.lab.host.ifindex(it)).collect();
        Sinks::open(places, &indexes?, marks)
    }

    /// Sends frames of a cell, as [`frames`] makes them.
    pub(super) fn send(&self, cell: &Cell, frames: &[Vec<u8>]) -> Result<()> {
        for frame in frames {
            if cell.ingress == Ingress::Tun {
                self.tun.send(frame)?;
                continue;
            }
            let mut wires = self.wires.iter();
            let (_, wire) = wires
                .find(|(ingress, _)| *ingress == cell.ingress)
                .with_context(|| format!("no wire for {cell:?}"))?;
            wire.send(frame)?;
        }
        Ok(())
    }
}

/// The frames of IP packets of a cell; the packets themselves on a device without Ethernet.
pub(super) fn frames(cell: &Cell, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    framed(cell, packets, &forge::tags(cell))
}

fn framed(cell: &Cell, packets: &[Vec<u8>], tags: &[(u16, u16)]) -> Vec<Vec<u8>> {
    let [to, from] = frame_macs(cell);
    let kind = match cell.family {
        Family::V4 => frames::IPV4,
        Family::V6 => frames::IPV6,
    };
    let packets = packets.iter();
    match cell.ingress {
        Ingress::Tun => packets.cloned().collect(),
        _ => packets
            .map(|packet| frames::ethernet(to, from, tags, kind, packet))
            .collect(),
    }
}

/// The device whose packets IP takes for a cell.
pub(super) fn last_device(cell: &Cell) -> &'static str {
    match (cell.ingress, cell.tags) {
        (Ingress::Veth, Tags::WithDevice) => device(Ingress::Vlan),
        (ingress, _) => device(ingress),
    }
}

/// The wire guards that meet a packet of a cell, in order. Inside bridges and their ports have
/// none.
pub(super) fn way(cell: &Cell, packet: &[u8], hooks: Hooks) -> Vec<Step> {
    let packets = [packet.to_vec()];
    let tags = forge::tags(cell);
    let tagged = framed(cell, &packets, &tags).swap_remove(0);
    let upper = match hooks {
        Hooks::Tcx => tagged.clone(),
        Hooks::GenericXdp => {
            framed(cell, &packets, tags.get(1..).unwrap_or_default()).swap_remove(0)
        }
    };
    let (link, mac) = match cell.ingress {
        Ingress::Tun => (Link::Ip, None),
        _ => (Link::Ethernet, Some(frame_macs(cell)[0])),
    };
    let step = |device, frame: &[u8]| Step {
        device,
        reading: Reading::strict(frame, link, VlanIds::Stop),
        mac,
        is_exempt: false,
        is_member: false,
    };
    let is_for_the_bridge = match cell.destination {
        Destination::Guest | Destination::OtherMac => false,
        _ => cell.ingress == Ingress::Bridge,
    };
    let last = step(last_device(cell), &tagged);
    match cell.ingress {
        Ingress::Guests | Ingress::Containers => Vec::new(),
        Ingress::Trusted | Ingress::Tun => vec![last],
        Ingress::Veth | Ingress::Vlan if last.device == device(Ingress::Vlan) => {
            // The VLAN device takes the tag off, and all priority tags before it.
            let bare = framed(cell, &packets, &[]).swap_remove(0);
            vec![step("eth0", &tagged), step(last.device, &bare)]
        }
        Ingress::Veth | Ingress::Vlan => vec![last],
        Ingress::Macvlan => {
            let parent = Step {
                is_exempt: true,
                ..step("nic1", &tagged)
            };
            match cell.destination {
                Destination::OtherMac => vec![parent],
                _ => vec![parent, step(last.device, &upper)],
            }
        }
        Ingress::Bridge => {
            let member = Step {
                is_member: true,
                ..step("up0", &tagged)
            };
            match is_for_the_bridge {
                true => vec![member, step(last.device, &upper)],
                false => vec![member],
            }
        }
    }
}

/// The neighbours' ends of all interfaces, for raw frames; a tun device has none.
fn wires(lab: &Lab, guests: &Netns, ingresses: &[Ingress]) -> Result<Vec<(Ingress, Wire)>> {
    let mut wires = Vec::new();
    for &ingress in ingresses {
        let (namespace, name) = match ingress {
            Ingress::Veth | Ingress::Vlan => (&lab.lan, "eth0"),
            Ingress::Trusted => (&lab.peer, "wg0"),
            Ingress::Bridge => (&lab.lan, "up0"),
            Ingress::Macvlan => (&lab.lan, "nic1"),
            Ingress::Guests => (guests, "eth0"),
            Ingress::Containers => (&lab.ct, "eth0"),
            Ingress::Tun => continue,
        };
        wires.push((ingress, Wire::open(namespace, name)?));
    }
    Ok(wires)
}

/// Addresses on an interface, and entries for the senders there.
fn addressed(ingress: Ingress) -> String {
    let device = device(ingress);
    let mut batch = String::new();
    let is_addressed = matches!(
        ingress,
        Ingress::Veth | Ingress::Trusted | Ingress::Bridge | Ingress::Containers
    );
    if !is_addressed {
        let [v4, v6] = Family::ALL.map(|family| own(ingress, family));
        batch += &format!(
            "addr add {v4}/24 dev {device}\naddr add {v6}/64 dev {device} nodad\nlink set {device} up\n"
        );
    }
    if ingress == Ingress::Tun {
        return batch;
    }
    let mut senders = Family::ALL
        .map(|family| neighbour(ingress, family))
        .to_vec();
    if ingress == Ingress::Trusted {
        senders.extend(Family::ALL.map(peer));
    }
    for sender in senders {
        batch += &entry(sender, NOWHERE, device);
    }
    batch
}

fn entry(address: IpAddr, mac: Mac, device: &str) -> String {
    let mac = text(mac);
    format!("neigh replace {address} lladdr {mac} dev {device} nud permanent\n")
}

/// Routes of the host and of the machines behind it.
fn routed(lab: &Lab, bridge: &Bridge) -> Result<()> {
    use crate::lab::bridge::{CT6, GUEST, GUEST_MAC, GUEST6};
    let [any_ip, any_ip6] = ANY_IP_PREFIXES;
    let entries = [
        entry(CT.into(), CONTAINERS[1], "podman0"),
        entry(CT6.into(), CONTAINERS[1], "podman0"),
        entry(GUEST.into(), GUEST_MAC, "br0"),
        entry(GUEST6.into(), GUEST_MAC, "br0"),
        entry(PEER.into(), PEER_MAC, "wg0"),
        entry(PEER6.into(), PEER_MAC, "wg0"),
    ];
    lab.host.ip(&format!(
        "route add local {any_ip} dev lo
         route add local {any_ip6} dev lo
         route add default via {PEER}
         route add default via {PEER6}
         {}",
        entries.concat()
    ))?;
    let default = |ingress| {
        let [v4, v6] = Family::ALL.map(|family| own(ingress, family));
        format!("route add default via {v4}\nroute add default via {v6}\n")
    };
    // A sender without an answer to ARP would make the stack drop the request behind a SYN.
    let senders = |ingress, device| {
        let senders = Family::ALL.map(|family| neighbour(ingress, family));
        senders
            .map(|sender| entry(sender, NOWHERE, device))
            .concat()
    };
    bridge.guest.ip(&format!(
        "{}{}",
        default(Ingress::Bridge),
        senders(Ingress::Bridge, "eth0")
    ))?;
    let peers = Family::ALL.map(|family| entry(peer(family), NOWHERE, "wg0"));
    lab.peer.ip(&format!(
        "addr add {FOREIGN}/32 dev lo
         addr add {FOREIGN6}/128 dev lo nodad
         {}{}{}",
        default(Ingress::Trusted),
        senders(Ingress::Trusted, "wg0"),
        peers.concat()
    ))
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
