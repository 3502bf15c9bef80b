//! A31: tags before the IP header, on links without an Ethernet header.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use enforcer_ebpf::Reason::{HeaderChain, UntrustedInterface};

use crate::lab::bridge::publish_where;
use crate::lab::command::eventually;
use crate::lab::frames::number::UDP;
use crate::lab::frames::{DOT1AD, DOT1Q, Ends, IPV4, ethernet, udp};
use crate::lab::topology::{
    GHOST as LAN_GHOST, GHOST6, HOST_LAN, HOST_LAN6, HOST_MAC, LAN_MAC, Lab,
};
use crate::lab::tun::{Kind, Tun};
use crate::lab::wire::{Reply, Wire, reply_in};
use crate::lab::{Because, Feature, Outcome, Patience, Port, Server, Transport};
use crate::scenario::host_only::SAME_PATH;
use crate::scenarios::attack::{Attack, Attempt, attempt};
use crate::scenarios::raw_packet::Probe;

const STATSD: Port<'static> = Port("udp", 8125);
const PUBLISHED: Port<'static> = Port("tcp", 8065);
/// The host's address at the tunnel, and the far end's.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 67, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 67, 0, 2);
/// The protocol number of GRE (IANA).
const GRE: u8 = 47;

pub(super) fn attacks() -> Vec<Attack> {
    let to_a_socket = |name, tags: &'static [u16]| {
        Attack::new(name, STATSD, move |lab| {
            let tun = tun(lab)?;
            let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
            Ok(through(tun, server, STATSD, tags))
        })
        .held_by_wire(Because::from(UntrustedInterface).or(HeaderChain))
        .held_by_socket(UntrustedInterface)
    };
    let mut attacks = vec![
        to_a_socket("a31_tags_without_ethernet::none", &[]).host_only(SAME_PATH),
        to_a_socket("a31_tags_without_ethernet::one", &[DOT1Q]).host_only(SAME_PATH),
        to_a_socket("a31_tags_without_ethernet::two", &[DOT1Q, DOT1Q]),
        to_a_socket("a31_tags_without_ethernet::two_mixed", &[DOT1AD, DOT1Q]).host_only(SAME_PATH),
        to_a_socket("a31_tags_without_ethernet::three", &[DOT1Q; 3]).host_only(SAME_PATH),
        Attack::new(
            "a31_tags_without_ethernet::to_a_container",
            PUBLISHED,
            |lab| {
                let tun = tun(lab)?;
                publish_where(lab, &format!("ip daddr {HOST} tcp dport {}", PUBLISHED.1))?;
                let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "mattermost")?;
                Ok(through(tun, server, PUBLISHED, &[DOT1Q, DOT1Q]))
            },
        )
        .held_by_wire(Because::from(UntrustedInterface).or(HeaderChain)),
        under_generic_xdp("a31_tags_without_ethernet::one_under_generic_xdp", 0),
        // The priority of the inner tag makes the first nibble that of IPv6.
        under_generic_xdp(
            "a31_tags_without_ethernet::a_tag_that_looks_like_ipv6",
            0x6000,
        ),
    ];
    attacks.extend(over_tunnels());
    attacks
}

fn tun(lab: &Lab) -> Result<Tun> {
    let tun = Tun::new(&lab.host, "tun0", Kind::TunWithInformation)?;
    lab.host
        .ip(&format!("addr add {HOST}/24 dev tun0\nlink set tun0 up"))?;
    Ok(tun)
}

/// A packet behind tags with this tag control information: the bytes from the EtherType on.
fn behind(tags: &[u16], control: u16, packet: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for kind in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(control.to_be_bytes());
    }
    bytes.extend(IPV4.to_be_bytes());
    bytes.extend(packet);
    bytes
}

/// Probes from the program of a tun with packet information, which chooses the EtherType.
fn through<'lab>(
    tun: Tun,
    server: Server,
    port: Port<'static>,
    tags: &'static [u16],
) -> Attempt<'lab> {
    through_with(tun, server, port, tags, 0)
}

fn through_with<'lab>(
    tun: Tun,
    server: Server,
    port: Port<'static>,
    tags: &'static [u16],
    control: u16,
) -> Attempt<'lab> {
    attempt((server, tun), move |(_, tun), patience| {
        ask_through(tun, patience, port, &|probe| {
            let ends = Ends::V4(FAR, HOST);
            let packet = Probe { ends, ..probe }.packet();
            let flags = [0; 2];
            [&flags[..], &behind(tags, control, &packet)].concat()
        })
    })
}

/// Sends what `craft` makes of a probe into a tun or tap, again and again if the patience is long.
pub(super) fn ask_through(
    tun: &Tun,
    patience: Patience,
    port: Port<'static>,
    craft: &dyn Fn(Probe) -> Vec<u8>,
) -> Result<Outcome> {
    let end = Instant::now() + patience.limit();
    loop {
        let probe = Probe::v4(port);
        tun.send(&craft(probe))?;
        let deadline = end.min(Instant::now() + Duration::from_millis(500));
        let heard = tun.expect(deadline, |frame| reply_in(frame, port.1, probe.source))?;
        match heard {
            Some(Reply::Rejection) => return Ok(Outcome::Refused),
            Some(reply) => return Ok(Outcome::Answered(format!("{reply:?}"))),
            None if Instant::now() >= end => return Ok(Outcome::Silent),
            None => {}
        }
    }
}

/// Generic XDP runs before the stack takes the first tag off.
fn under_generic_xdp(name: &'static str, control: u16) -> Attack {
    Attack::new(name, STATSD, move |lab| {
        let tun = tun(lab)?;
        let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
        Ok(through_with(tun, server, STATSD, &[DOT1Q], control))
    })
    .held_by_wire(Because::from(UntrustedInterface).or(HeaderChain))
    .held_by_socket(UntrustedInterface)
    .under("[interfaces.tun0]\nhook = \"xdp-generic\"\n")
}

/// A tunnel of the host with a far end on the LAN, which chooses the inner protocol.
struct Tunnel {
    name: &'static str,
    needs: Feature,
    /// Kind and options of the device, in the words of `ip link`.
    device: String,
    /// EtherTypes of the tags before the inner packet.
    tags: &'static [u16],
    /// Makes a frame to the host around the bytes from the inner EtherType on.
    wrap: fn(&[u8]) -> Vec<u8>,
}

fn over_tunnels() -> Vec<Attack> {
    const TWO: [u16; 2] = [DOT1Q, DOT1Q];
    let (host, ghost) = (HOST_LAN6, GHOST6);
    let tunnels = [
        Tunnel {
            name: "a31_tags_without_ethernet::over_gre",
            needs: Feature::Gre,
            device: format!("gre local {HOST_LAN} remote {LAN_GHOST}"),
            tags: &TWO,
            wrap: |inner| {
                let ends = Ends::V4(LAN_GHOST, HOST_LAN);
                framed(ends, GRE, &[&[0, 0], inner].concat())
            },
        },
        Tunnel {
            name: "a31_tags_without_ethernet::over_ip6gre",
            needs: Feature::Ip6Gre,
            device: format!("ip6gre local {host} remote {ghost}"),
            tags: &TWO,
            wrap: |inner| {
                let ends = Ends::V6(GHOST6, HOST_LAN6);
                framed(ends, GRE, &[&[0, 0], inner].concat())
            },
        },
        Tunnel {
            name: "a31_tags_without_ethernet::over_geneve",
            needs: Feature::Geneve,
            device: format!("geneve id 5 remote {LAN_GHOST} innerprotoinherit"),
            tags: &TWO,
            wrap: in_geneve,
        },
        Tunnel {
            name: "a31_tags_without_ethernet::over_geneve_untagged",
            needs: Feature::Geneve,
            device: format!("geneve id 5 remote {LAN_GHOST} innerprotoinherit"),
            tags: &[],
            wrap: in_geneve,
        },
    ];
    let sockets = tunnels.into_iter().map(|tunnel| {
        let (name, needs, tags) = (tunnel.name, tunnel.needs, tunnel.tags);
        let attack = Attack::new(name, STATSD, move |lab| {
            let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
            through_a_tunnel(lab, &tunnel.device, server, tags, tunnel.wrap)
        });
        let held = attack
            .held_by_socket(UntrustedInterface)
            .held_by_wire(Because::from(UntrustedInterface).or(HeaderChain))
            .needs(needs);
        // Linux 6.1 alone has no tcx, and drops tags behind Geneve before the device.
        match (needs, tags) {
            (Feature::Geneve, [_, ..]) => held.needs(Feature::Tcx),
            _ => held,
        }
    });
    sockets.chain([over_gre_to_a_container()]).collect()
}

/// The wire guard stands alone where DNAT takes the packet to a container.
fn over_gre_to_a_container() -> Attack {
    let name = "a31_tags_without_ethernet::over_gre_to_a_container";
    Attack::new(name, STATSD, |lab| {
        publish_where(lab, &format!("ip daddr {HOST} udp dport {}", STATSD.1))?;
        let server = Server::start(&lab.ct, Transport::Udp, "0.0.0.0:80", "statsd")?;
        let device = format!("gre local {HOST_LAN} remote {LAN_GHOST}");
        through_a_tunnel(lab, &device, server, &[DOT1Q, DOT1Q], |inner| {
            let ends = Ends::V4(LAN_GHOST, HOST_LAN);
            framed(ends, GRE, &[&[0, 0], inner].concat())
        })
    })
    .held_by_wire(Because::from(UntrustedInterface).or(HeaderChain))
    .needs(Feature::Gre)
}

/// Geneve without options (RFC 8926, section 3.4) in UDP: flags, inner protocol, VNI 5.
fn in_geneve(inner: &[u8]) -> Vec<u8> {
    const GENEVE: u16 = 6081;
    let ends = Ends::V4(LAN_GHOST, HOST_LAN);
    let (protocol, packet) = inner.split_at(2);
    let header = [&[0, 0], protocol, &[0, 0, 5, 0]].concat();
    let datagram = udp(ends, GENEVE, GENEVE, &[&header, packet].concat());
    framed(ends, UDP, &datagram)
}

/// An outer packet in a frame to the host.
fn framed(ends: Ends, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let packet = ends.packet(protocol, payload);
    ethernet(HOST_MAC, LAN_MAC, &[], ends.ethertype(), &packet)
}

/// Probes behind these tags. The answer stays inside the tunnel: the service itself tells of the
/// datagram.
fn through_a_tunnel<'lab>(
    lab: &'lab Lab,
    device: &str,
    server: Server,
    tags: &'static [u16],
    wrap: fn(&[u8]) -> Vec<u8>,
) -> Result<Attempt<'lab>> {
    lab.host.ip(&format!(
        "link add tunnel9 type {device}
         addr add {HOST}/24 dev tunnel9
         link set tunnel9 up"
    ))?;
    let wire = Wire::open(&lab.lan, "eth0")?;
    Ok(attempt((server, wire), move |(server, wire), patience| {
        let before = server.received();
        let end = Instant::now() + patience.limit();
        while Instant::now() < end {
            let probe = Probe::between(Ends::V4(FAR, HOST), STATSD);
            wire.send(&wrap(&behind(tags, 0, &probe.packet())))?;
            let moment = end.saturating_duration_since(Instant::now());
            let arrived = eventually(moment.min(Duration::from_millis(500)), || {
                (server.received() > before).then_some(())
            });
            if arrived.is_some() {
                return Ok(Outcome::Answered("a datagram at the service".into()));
            }
        }
        Ok(Outcome::Silent)
    }))
}
