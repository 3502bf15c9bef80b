//! A35 and A38: packets that the host itself puts before its own sockets.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use enforcer_ebpf::{Guard, Reason, Reason::UntrustedInterface};

use crate::lab::frames::{Ends, Mac, ethernet};
use crate::lab::multicast::Relay;
use crate::lab::topology::{CT, GHOST, HOST_LAN, HOST_MAC, HOST_WG, LAN_MAC, Lab, PEER};
use crate::lab::wire::Wire;
use crate::lab::{Ask, Feature, Guards, Netns, Patience, Port, Server, Transport};
use crate::scenario::{Rig, Scenario};
use crate::scenarios::attack::{Attack, Attempt, attempt};
use crate::scenarios::raw_packet::{Probe, from_lan, from_lan_as_peer, group_mac, send_probe};
use crate::scenarios::runner::{answered, expect_no_drops, unanswered};

const STATSD: Port<'static> = Port("udp", 8125);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

pub(super) fn attacks() -> Vec<Attack> {
    let of_a_container = Attack::new("a35_relayed_multicast::of_a_container", STATSD, |lab| {
        let own = [2, 0, 0, 0, 0x88, 2];
        relayed(lab, (&lab.ct, CT, own), "podman0", "eth0")
    });
    let mut attacks = put_on_lo();
    attacks.extend([
        // XDP does not know the type of a packet.
        of_a_container
            .held_by_both(UntrustedInterface)
            .wire_with(Feature::Tcx),
        Attack::new("a35_relayed_multicast::of_the_lan", STATSD, |lab| {
            relayed(lab, (&lab.lan, GHOST, LAN_MAC), "eth0", "wg0")
        })
        .held_by_both(UntrustedInterface),
        duplicated_to_the_broadcast(),
    ]);
    attacks
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let name = "a38_what_the_host_puts_on_lo::mpls_is_not_held";
    vec![Scenario::new(name, mpls).needs(Feature::Mpls)]
}

/// A datagram from the LAN to the service at any address of the host.
fn asked(lab: &Lab) -> Result<Attempt<'_>> {
    let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
    let ask = Ask::new(Transport::Udp, &format!("{HOST_LAN}:8125"));
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}

fn put_on_lo() -> Vec<Attack> {
    vec![
        Attack::new("a38_what_the_host_puts_on_lo::nft_dup", STATSD, |lab| {
            lab.host.nft(
                "table ip copies {
                   chain prerouting {
                     type filter hook prerouting priority mangle; policy accept;
                     iifname eth0 udp dport 8125 dup to 127.0.0.1 device lo
                   }
                 }",
            )?;
            asked(lab)
        })
        .held_by_wire(UntrustedInterface),
        // The guard of tcx runs before the filters of clsact (`sch_handle_ingress` in
        // net/core/dev.c).
        Attack::new("a38_what_the_host_puts_on_lo::mirred", STATSD, |lab| {
            lab.host.tc("qdisc add dev eth0 clsact
                 filter add dev eth0 ingress protocol ip u32 match ip protocol 17 0xff \
                 match ip dport 8125 0xffff action mirred ingress redirect dev lo")?;
            asked(lab)
        })
        .held_by_wire(UntrustedInterface),
        redirected_to_a_peers_interface(),
        // The host opens the second half of a connection by itself, over lo.
        Attack::new(
            "a38_what_the_host_puts_on_lo::synproxy",
            Port("tcp", 9200),
            synproxy,
        )
        .held_by_wire(UntrustedInterface),
    ]
}

/// A packet with a peer's source, which the host moves to the peer's interface behind the guard of
/// eth0: the socket guard cannot tell such a packet from the peer's.
fn redirected_to_a_peers_interface() -> Attack {
    let metrics = Port("udp", 9100);
    let name = "a38_what_the_host_moves_to_a_peers_interface";
    Attack::new(name, metrics, move |lab| {
        lab.host.tc("qdisc add dev eth0 clsact
             filter add dev eth0 ingress protocol ip u32 match ip protocol 17 0xff \
             match ip dport 9100 0xffff action mirred ingress redirect dev wg0")?;
        let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:9100", "metrics")?;
        from_lan_as_peer(lab, server, move || {
            let probe = Probe::between(Ends::V4(PEER, HOST_WG), metrics);
            (probe, vec![probe.frame()])
        })
    })
    .held_by_wire(UntrustedInterface)
}

/// The copy leaves for the broadcast address, and the stack loops another copy back to eth0 with
/// the type of the host's own packets (`nf_dup_ipv4`, and `ip_mc_output` in
/// net/ipv4/ip_output.c). The original is dropped, and the copy is not copied again.
fn duplicated_to_the_broadcast() -> Attack {
    let name = "a38_what_the_host_puts_on_lo::nft_dup_to_the_broadcast";
    Attack::new(name, STATSD, |lab| {
        lab.host.nft(
            "table ip copies {
               chain prerouting {
                 type filter hook prerouting priority mangle; policy accept;
                 iifname eth0 meta pkttype host udp dport 8125 \
                   dup to 192.168.77.255 device eth0 drop
               }
             }",
        )?;
        asked(lab)
    })
    .held_by_both(UntrustedInterface)
}

/// MPLS packets with a label that the host routes to lo (`mpls_forward` in net/mpls/af_mpls.c):
/// both guards take the packets for the host's own, and the defence is an interface that takes no
/// MPLS.
fn mpls(rig: &Rig<'_>) -> Result<()> {
    /// EtherType of unicast MPLS (RFC 3032, section 5).
    const MPLS: u16 = 0x8847;
    let host = &rig.lab.host;
    host.sysctl("net/mpls/platform_labels", "1000")?;
    host.sysctl("net/mpls/conf/eth0/input", "1")?;
    host.ip_of("mpls", "route add 100 dev lo")?;
    let server = Server::start(host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
    let mut labelled = from_lan(rig.lab, server, || {
        let probe = Probe::v4(STATSD);
        // Label, bottom of the stack, time to live (RFC 3032, section 2.1).
        let entry: u32 = 100 << 12 | 1 << 8 | 64;
        let packet = [&entry.to_be_bytes(), &probe.packet()[..]].concat();
        (probe, vec![ethernet(HOST_MAC, LAN_MAC, &[], MPLS, &packet)])
    })?;
    answered(labelled(Patience::Long)?).context("before the enforcer was up")?;
    rig.enforcer.up(Guards::Both)?;
    answered(labelled(Patience::Long)?).context("under both guards")?;
    expect_no_drops(rig)?;
    let (guard, reason) = (Guard::Socket, Reason::Loopback);
    rig.enforcer.expect_counted(guard, reason, STATSD, 1)?;
    host.sysctl("net/mpls/conf/eth0/input", "0")?;
    unanswered(labelled(Patience::Brief)?).context("without MPLS on the interface")
}

/// A group that the host relays, and is a member of behind the outgoing interface: the stack loops
/// a copy back (net/ipv4/ip_output.c, `ip_mc_output`).
fn relayed<'lab>(
    lab: &'lab Lab,
    sender: (&'lab Netns, Ipv4Addr, Mac),
    from: &str,
    to: &str,
) -> Result<Attempt<'lab>> {
    let (namespace, source, own) = sender;
    let relay = Relay::start(&lab.host, source, GROUP, from, to)?;
    let member = lab.host.ifindex(to)?;
    let server = Server::multicast(&lab.host, "0.0.0.0:8125", GROUP.into(), member, "statsd")?;
    let wire = Wire::open(namespace, "eth0")?;
    Ok(attempt(
        (server, relay, wire),
        move |(.., wire), patience| {
            send_probe(wire, wire, patience, &|| {
                let probe = Probe::between(Ends::V4(source, GROUP), STATSD);
                let (mac, kind) = (group_mac(GROUP.into()), probe.ends.ethertype());
                (probe, vec![ethernet(mac, own, &[], kind, &probe.packet())])
            })
        },
    ))
}

/// The rules of the page "Synproxy" in the nftables wiki.
fn synproxy(lab: &Lab) -> Result<Attempt<'_>> {
    lab.host.nft(
        "table ip handshakes {
           chain prerouting {
             type filter hook prerouting priority raw; policy accept;
             iifname eth0 tcp dport 9200 tcp flags syn notrack
           }
           chain input {
             type filter hook input priority 0; policy accept;
             tcp dport 9200 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
             ct state invalid drop
           }
         }",
    )?;
    // The rules load the module of this setting.
    lab.host
        .sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")?;
    let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:9200", "elasticsearch")?;
    let ask = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:9200"));
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}
