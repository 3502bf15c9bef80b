//! A31: tags before the IP header, on links without an Ethernet header.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use enforcer_ebpf::Reason::{HeaderChain, UntrustedInterface};

use crate::lab::bridge::publish_where;
use crate::lab::frames::{DOT1AD, DOT1Q, Ends, IPV4};
use crate::lab::topology::{GHOST as LAN_GHOST, HOST_LAN, HOST_MAC, LAN_MAC, Lab};
use crate::lab::tun::{Kind, Tun};
use crate::lab::wire::{Reply, Wire, reply_in};
use crate::lab::{Because, Feature, Outcome, Patience, Port, Server, Transport};
use crate::scenario::host_only::SAME_PATH;
use crate::scenarios::attack::{Attack, Attempt, attempt};
use crate::scenarios::raw_packet::{Probe, send_probe};

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
    vec![
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
        over_gre(),
    ]
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

/// The LAN chooses the protocol of a GRE packet (RFC 2784) to an address of the host.
fn over_gre() -> Attack {
    Attack::new("a31_tags_without_ethernet::over_gre", STATSD, |lab| {
        lab.host.ip(&format!(
            "link add gre9 type gre local {HOST_LAN} remote {LAN_GHOST}
             addr add {HOST}/24 dev gre9
             link set gre9 up"
        ))?;
        let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
        let wire = Wire::open(&lab.lan, "eth0")?;
        // The answer stays inside the tunnel: the service itself tells of the datagram.
        Ok(attempt((server, wire), |(server, wire), patience| {
            let before = server.received();
            let sent = send_probe(wire, wire, patience, &|| {
                let probe = Probe::between(Ends::V4(FAR, HOST), STATSD);
                let inner = behind(&[DOT1Q, DOT1Q], 0, &probe.packet());
                let gre = [&[0, 0][..], &inner].concat();
                let outer = Ends::V4(LAN_GHOST, HOST_LAN).packet(GRE, &gre);
                let frame = crate::lab::frames::ethernet(HOST_MAC, LAN_MAC, &[], IPV4, &outer);
                (probe, vec![frame])
            })?;
            Ok(if server.received() > before {
                Outcome::Answered("a datagram at the service".into())
            } else {
                sent
            })
        }))
    })
    .held_by_wire(Because::from(UntrustedInterface).or(HeaderChain))
    .held_by_socket(UntrustedInterface)
    .needs(Feature::Gre)
}
