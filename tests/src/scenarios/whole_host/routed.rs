//! The host as a router: from the LAN to its guests, from peer to peer, and on a stick.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::lab::frames::Ends;
use crate::lab::topology::{HOST_MAC, LAN, PEER};
use crate::lab::tun::{Kind, Tun};
use crate::lab::wire::Wire;
use crate::lab::wireguard::Member;
use crate::lab::{Ask, Feature, Lab, Outcome, Patience, Port, Server, Transport, WireGuard};
use crate::scenarios::attack::{Attempt, Legitimate, attempt};
use crate::scenarios::raw_packet::Probe;

use super::forwarded::behind_a_veth;

/// An address on the LAN that belongs to a third machine.
const THIRD: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 60);
const CLOSED: &str = "[unregistered]\ntcp = \"drop\"\nudp = \"drop\"\n";

pub(super) fn traffic() -> Vec<Legitimate> {
    vec![
        Legitimate::new("routed::a_lan_client_at_a_guests_own_port", |lab| {
            to_a_guest(lab, 9200)
        }),
        Legitimate::new("routed::a_lan_client_at_a_port_of_nobody", |lab| {
            to_a_guest(lab, 7070)
        })
        .under(CLOSED),
        Legitimate::new("routed::on_a_stick", |lab| on_a_stick(lab, 9200))
            .under("[interfaces.eth0]\nforward = true\n"),
        through_a_hub("routed::from_peer_to_peer", 9200, ""),
        through_a_hub(
            "routed::from_peer_to_peer_at_a_port_of_nobody",
            7070,
            CLOSED,
        ),
        Legitimate::new("routed::from_tun_to_tun", |lab| through_a_tun(lab, 9200)),
        Legitimate::new("routed::from_tun_to_tun_at_a_port_of_nobody", |lab| {
            through_a_tun(lab, 7070)
        })
        .under(CLOSED),
    ]
}

fn to_a_guest(lab: &Lab, port: u16) -> Result<Attempt<'_>> {
    let guest = behind_a_veth(lab, "ve-x")?;
    let to: Ipv4Addr = [10, 0, 5, 2].into();
    lab.route_from_lan(to)?;
    let any = format!("0.0.0.0:{port}");
    let server = Server::start(&guest, Transport::Tcp, &any, "a routed guest")?;
    let ask = Ask::new(Transport::Tcp, &format!("{to}:{port}"));
    Ok(attempt((server, guest), move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}

/// The host sends a packet back to the segment that it came from, for a third machine.
fn on_a_stick(lab: &Lab, port: u16) -> Result<Attempt<'_>> {
    lab.host.ip(&format!(
        "neigh replace {THIRD} lladdr 02:00:00:00:77:02 dev eth0 nud permanent"
    ))?;
    let wire = Wire::open(&lab.lan, "eth0")?;
    Ok(attempt(wire, move |wire, patience| {
        let end = Instant::now() + patience.limit();
        while Instant::now() < end {
            let probe = Probe::between(Ends::V4(LAN, THIRD), Port("tcp", port));
            wire.send(&probe.frame())?;
            let deadline = end.min(Instant::now() + Duration::from_millis(500));
            let seen = wire.expect(deadline, |frame| {
                (frame.get(6..12)? == HOST_MAC && shows(frame, THIRD, probe)).then_some(())
            })?;
            if seen.is_some() {
                return Ok(Outcome::Answered("the host's next hop".into()));
            }
        }
        Ok(Outcome::Silent)
    }))
}

/// Whether a frame holds the probe, on the way to an address.
fn shows(frame: &[u8], to: Ipv4Addr, probe: Probe) -> bool {
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else {
        return false;
    };
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (packet.net, packet.transport)
    else {
        return false;
    };
    ip.header().destination_addr() == to
        && (tcp.source_port(), tcp.destination_port()) == (probe.source, probe.port)
}

/// Two peers of a WireGuard hub: both ways lead through the hub's wg0.
fn through_a_hub(name: &str, port: u16, policy: &'static str) -> Legitimate {
    Legitimate::new(name, move |lab| {
        let hub = WireGuard::hub(lab, Member::usual())?;
        let (collector, stranger) = (0, 2);
        let any = format!("0.0.0.0:{port}");
        let server = Server::start(
            &hub.peers[collector].namespace,
            Transport::Tcp,
            &any,
            "a peer",
        )?;
        let ask = Ask::new(Transport::Tcp, &format!("{PEER}:{port}"));
        Ok(attempt((server, hub), move |(_, hub), patience| {
            ask.ask(&hub.peers[stranger].namespace, patience)
        }))
    })
    .needs(Feature::WireGuard)
    .under(policy)
}

/// The same through a tun of a VPN program: the packet comes back to the program, for another peer.
fn through_a_tun(lab: &Lab, port: u16) -> Result<Attempt<'_>> {
    let (from, to): (Ipv4Addr, Ipv4Addr) = ([10, 66, 0, 2].into(), [10, 66, 0, 3].into());
    let tun = Tun::new(&lab.host, "vpn0", Kind::Tun)?;
    lab.host
        .ip("addr add 10.66.0.1/24 dev vpn0\nlink set vpn0 up")?;
    Ok(attempt(tun, move |tun, patience: Patience| {
        let end = Instant::now() + patience.limit();
        while Instant::now() < end {
            let ends = Ends::V4(from, to);
            let probe = Probe::between(ends, Port("tcp", port));
            tun.send(&probe.packet())?;
            let deadline = end.min(Instant::now() + Duration::from_millis(500));
            let seen = tun.expect(deadline, |frame| shows(frame, to, probe).then_some(()))?;
            if seen.is_some() {
                return Ok(Outcome::Answered("the other peer".into()));
            }
        }
        Ok(Outcome::Silent)
    }))
}
