//! A34: a datagram whose fragments arrive on two interfaces.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use enforcer_ebpf::Reason::{UnknownPeer, UntrustedInterface};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::frames::number::FRAGMENT;
use crate::lab::frames::{Ends, V4, v6, v6_fragment};
use crate::lab::topology::{HOST_LAN, HOST_WG, HOST_WG_MAC, HOST_WG6, LAN, Lab, PEER, PEER6};
use crate::lab::wire::Wire;
use crate::lab::wireguard::Member;
use crate::lab::{Ask, Feature, Patience, Port, Server, Transport, WireGuard};
use crate::scenario::{Rig, Scenario};
use crate::scenarios::attack::{Attack, Attempt, Legitimate, attempt};
use crate::scenarios::keys;
use crate::scenarios::raw_packet::{Probe, from_peer, send_probe};
use crate::scenarios::runner::{answered, expect_no_drops};

const METRICS: Port<'static> = Port("udp", 9100);
/// A DNS server in no subnet of the host (TEST-NET-2, RFC 5737).
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);
/// Bytes of the first fragment: the header, and the first half of the payload.
const FIRST: usize = 16;

pub(super) fn attacks() -> Vec<Attack> {
    // What the LAN adds is the later part: the peer's own first fragment is no attack.
    let later = |name, v6| {
        Attack::new(name, METRICS, move |lab| torn(lab, v6, Part::Later)).held_by_wire(UnknownPeer)
    };
    let first = |name, v6| {
        Attack::new(name, METRICS, move |lab| torn(lab, v6, Part::First))
            .held_by_wire(UntrustedInterface)
    };
    vec![
        later("a34_fragments_of_two_interfaces::later", false),
        later("a34_fragments_of_two_interfaces::later_over_ipv6", true),
        first("a34_fragments_of_two_interfaces::first", false),
        first("a34_fragments_of_two_interfaces::first_over_ipv6", true),
    ]
}

/// The part of the datagram that the LAN sends, under the peer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    First,
    Later,
}

/// The LAN sends a part, and the trusted peer the other.
fn torn(lab: &Lab, v6: bool, of_the_lan: Part) -> Result<Attempt<'_>> {
    let server = Server::start(&lab.host, Transport::Udp, "[::]:9100", "metrics")?;
    let lan = Wire::open(&lab.lan, "eth0")?;
    let peer = Wire::open(&lab.peer, "wg0")?;
    Ok(attempt(
        (server, lan, peer),
        move |(_, lan, peer), patience| {
            let end = std::time::Instant::now() + patience.limit();
            loop {
                let probe = Probe::between(ends(v6), METRICS);
                let [first, later] = parts(probe);
                let (forged, own) = match of_the_lan {
                    Part::First => (first, later),
                    Part::Later => (later, first),
                };
                lan.send(&probe.framed(&forged))?;
                let outcome = send_probe(peer, peer, Patience::Brief, &|| {
                    (probe, vec![probe.framed_to(HOST_WG_MAC, &own)])
                })?;
                if outcome.reached() || std::time::Instant::now() >= end {
                    return Ok(outcome);
                }
            }
        },
    ))
}

fn ends(v6: bool) -> Ends {
    if v6 {
        Ends::V6(PEER6, HOST_WG6)
    } else {
        Ends::V4(PEER, HOST_WG)
    }
}

/// The probe's packet in two fragments.
fn parts(probe: Probe) -> [Vec<u8>; 2] {
    let segment = probe.segment();
    let (first, later) = segment.split_at(FIRST);
    match probe.ends {
        Ends::V4(source, destination) => {
            let header = V4::new(source, destination).identification(probe.source);
            [
                header.fragment(probe.protocol, first, 0, true),
                header.fragment(probe.protocol, later, FIRST, false),
            ]
        }
        Ends::V6(source, destination) => {
            [(first, 0, true), (later, FIRST, false)].map(|(part, offset, more)| {
                let part = v6_fragment(probe.protocol, part, offset, more, probe.source.into());
                v6(source, destination, FRAGMENT, &part)
            })
        }
    }
}

pub(super) fn traffic() -> Vec<Legitimate> {
    // The peer's prefix on wg0 covers the LAN, which is eth0's own subnet.
    let covering = "[peers.branch]\ninterface = \"wg0\"\naddresses = [\"192.168.0.0/16\"]\n\
                    [services.branch]\nports = [9500]\nprotocol = \"udp\"\nallow = [\"branch\"]\n";
    let everything = "[peers.exit]\ninterface = \"wg0\"\naddresses = [\"0.0.0.0/0\"]\n\
                      [services.exit]\nports = [9500]\nprotocol = \"udp\"\nallow = [\"exit\"]\n";
    vec![
        Legitimate::new("fragments::a_large_answer_beside_a_peer_of_all", |lab| {
            large_answer(lab, FAR)
        })
        .under(everything),
        Legitimate::new("fragments::a_large_answer_from_the_own_subnet", |lab| {
            large_answer(lab, LAN)
        })
        .under(covering),
        Legitimate::new("fragments::of_an_allowed_peer", |lab| {
            let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:9100", "metrics")?;
            from_peer(lab, server, || {
                let probe = Probe::between(ends(false), METRICS);
                let frames = parts(probe).map(|part| probe.framed_to(HOST_WG_MAC, &part));
                (probe, frames.to_vec())
            })
        })
        .counted(Guard::Wire, Reason::Peer, METRICS),
    ]
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let name = "goes_on::fragments::a_large_answer_beside_a_key_of_all";
    vec![Scenario::new(name, beside_a_key).needs(Feature::WireGuard)]
}

/// AllowedIPs of everything, as for an exit of a VPN, are no claim to the sources of the internet.
fn beside_a_key(rig: &Rig<'_>) -> Result<()> {
    let [collector, laptop, stranger] = Member::usual();
    let laptop = laptop.allowed(&["0.0.0.0/0", "::/0"]);
    let hub = WireGuard::hub(rig.lab, [collector, laptop, stranger])?;
    let mut answer = large_answer(rig.lab, FAR)?;
    answered(answer(Patience::Long)?).context("before the enforcer was up")?;
    let registry = keys::registry(hub.peers[1].public_key());
    rig.enforcer.registry(&registry)?;
    rig.enforcer.expect(&["up", "--static-peers"], 0)?;
    answered(answer(Patience::Long)?).context("with both guards up")?;
    expect_no_drops(rig)
}

/// An answer of several packets from a DNS server on the LAN, or beyond.
fn large_answer(lab: &Lab, from: Ipv4Addr) -> Result<Attempt<'_>> {
    if from != LAN {
        lab.lan.ip(&format!("addr add {from}/32 dev lo"))?;
        lab.host.ip(&format!("route add {from}/32 via {LAN}"))?;
    }
    let token = "large ".repeat(500);
    let server = Server::start(&lab.lan, Transport::Udp, &format!("{from}:53"), &token)?;
    let ask = Ask::new(Transport::Udp, &format!("{from}:53")).from(&format!("{HOST_LAN}:0"));
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.host, patience)
    }))
}
