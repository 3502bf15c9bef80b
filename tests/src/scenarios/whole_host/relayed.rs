//! A35 and A38: packets that the host itself puts before its own sockets.

use std::net::Ipv4Addr;

use anyhow::Result;
use enforcer_ebpf::Reason::UntrustedInterface;

use crate::lab::frames::{Ends, ethernet};
use crate::lab::multicast::Relay;
use crate::lab::topology::{CT, HOST_LAN, Lab};
use crate::lab::wire::Wire;
use crate::lab::{Ask, Feature, Port, Server, Transport};
use crate::scenarios::attack::{Attack, Attempt, attempt};
use crate::scenarios::raw_packet::{Probe, group_mac, send_probe};

const STATSD: Port<'static> = Port("udp", 8125);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        Attack::new("a35_relayed_multicast::of_a_container", STATSD, |lab| {
            relayed(lab, "podman0", "eth0")
        })
        .held_by_both(UntrustedInterface)
        // XDP does not know the type of a packet.
        .wire_with(Feature::Tcx),
        Attack::new("a38_what_the_host_puts_on_lo::nft_dup", STATSD, |lab| {
            lab.host.nft(
                "table ip copies {
                   chain prerouting {
                     type filter hook prerouting priority mangle; policy accept;
                     iifname eth0 udp dport 8125 dup to 127.0.0.1 device lo
                   }
                 }",
            )?;
            let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
            let ask = Ask::new(Transport::Udp, &format!("{HOST_LAN}:8125"));
            Ok(attempt(server, move |_, patience| {
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_wire(UntrustedInterface),
        // The host opens the second half of a connection by itself, over lo.
        Attack::new(
            "a38_what_the_host_puts_on_lo::synproxy",
            Port("tcp", 9200),
            synproxy,
        )
        .held_by_wire(UntrustedInterface),
    ]
}

/// A group that the host relays, and is a member of behind the outgoing interface: the stack loops
/// a copy back (net/ipv4/ip_output.c, `ip_mc_output`).
fn relayed<'lab>(lab: &'lab Lab, from: &str, to: &str) -> Result<Attempt<'lab>> {
    let relay = Relay::start(&lab.host, CT, GROUP, from, to)?;
    let member = lab.host.ifindex(to)?;
    let server = Server::multicast(&lab.host, "0.0.0.0:8125", GROUP.into(), member, "statsd")?;
    let wire = Wire::open(&lab.ct, "eth0")?;
    Ok(attempt((server, relay, wire), |(.., wire), patience| {
        send_probe(wire, wire, patience, &|| {
            let probe = Probe::between(Ends::V4(CT, GROUP), STATSD);
            let (mac, kind) = (group_mac(GROUP.into()), probe.ends.ethertype());
            let own = [2, 0, 0, 0, 0x88, 2];
            (probe, vec![ethernet(mac, own, &[], kind, &probe.packet())])
        })
    }))
}

/// The rules of the page "Synproxy" in the nftables wiki.
fn synproxy(lab: &Lab) -> Result<Attempt<'_>> {
    lab.host
        .sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")?;
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
    let server = Server::start(&lab.host, Transport::Tcp, "0.0.0.0:9200", "elasticsearch")?;
    let ask = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:9200"));
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}
