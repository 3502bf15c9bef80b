//! Transparent proxies: connections to other machines that end on this host.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::lab::bridge::netfilter_on_members;
use crate::lab::topology::{HOST_LAN, PEER};
use crate::lab::{Ask, Lab, Netns, Server, Transport};
use crate::scenarios::attack::{Attempt, Legitimate, attempt};

/// A remote server (TEST-NET-3, RFC 5737), which the proxy answers for.
const REMOTE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

pub(super) fn traffic() -> Vec<Legitimate> {
    // A listener is always judged, so the proxy's own port needs a service under `[unregistered]`.
    let closed = "[unregistered]\ntcp = \"drop\"\nudp = \"drop\"\n[services.proxy]\nports = [7893]\npublic = true\n";
    vec![
        Legitimate::new("tproxy::of_a_container", |lab| proxied(lab, &lab.ct, 9200)),
        Legitimate::new("tproxy::of_a_lan_client", |lab| {
            proxied(lab, &lab.lan, 9200)
        }),
        Legitimate::new("tproxy::of_a_container_at_a_port_of_nobody", |lab| {
            proxied(lab, &lab.ct, 7070)
        })
        .under(closed),
        Legitimate::new("tproxy::of_a_lan_client_at_a_port_of_nobody", |lab| {
            proxied(lab, &lab.lan, 7070)
        })
        .under(closed),
    ]
}

/// The rules of ss-tproxy and of the kernel's Documentation/networking/tproxy.rst; the way to the
/// remote server would lead through wg0.
fn proxied<'lab>(lab: &'lab Lab, client: &'lab Netns, port: u16) -> Result<Attempt<'lab>> {
    netfilter_on_members(lab, false)?;
    lab.host.ip(&format!(
        "route add 203.0.113.0/24 via {PEER} dev wg0
         rule add fwmark 1 lookup 100
         route add local default dev lo table 100"
    ))?;
    lab.host.nft(
        "table ip proxy {
           chain prerouting {
             type filter hook prerouting priority mangle; policy accept;
             ip daddr 203.0.113.0/24 meta l4proto tcp tproxy to :7893 meta mark set 1 accept
           }
         }",
    )?;
    lab.lan
        .ip(&format!("route add 203.0.113.0/24 via {HOST_LAN}"))?;
    let server = Server::transparent(&lab.host, "0.0.0.0:7893", "the proxy")?;
    let ask = Ask::new(Transport::Tcp, &format!("{REMOTE}:{port}"));
    Ok(attempt(server, move |_, patience| {
        ask.ask(client, patience)
    }))
}
