//! A3, A6, A7 and A18: containers, and ports published by accident or by DNAT.

use enforcer_ebpf::Reason;

use super::reach::{asked, tcp};
use crate::lab::redis::{Redis, ping};
use crate::lab::topology::{CT, HOST_LAN, HOST_LAN6};
use crate::lab::{Because, Port, Server, Transport};
use crate::scenario::host_only::SAME_PATH;
use crate::scenarios::attack::Attack;

use Reason::UntrustedInterface;

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = containers();
    attacks.extend(accidents());
    attacks
}

fn containers() -> Vec<Attack> {
    vec![
        // No DNAT and no published port: the neighbour only knows the container's address.
        Attack::new("a03_routed_to_a_container", Port("tcp", 9200), |lab| {
            let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:9200", "elasticsearch")?;
            lab.route_from_lan(CT)?;
            let ask = tcp(&format!("{CT}:9200"));
            Ok(Box::new(move |patience| {
                let _server = &server;
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_wire(Because::CONTAINER_NETWORK)
        .shown_as("a container's own address and port, by a route"),
        Attack::new("a07_published_container_port", Port("tcp", 3001), |lab| {
            let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "gitea")?;
            lab.publish_like_netavark(3001, 80)?;
            let ask = tcp(&format!("{HOST_LAN}:3001"));
            Ok(Box::new(move |patience| {
                let _server = &server;
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_wire(UntrustedInterface),
        Attack::new("a18_any_address_to_our_mac", Port("tcp", 8065), |lab| {
            let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:8065", "mattermost")?;
            lab.host.nft(&format!(
                "table ip careless {{
                   chain prerouting {{
                     type nat hook prerouting priority -100; policy accept;
                     iifname eth0 tcp dport 8065 dnat to {CT}:8065
                   }}
                 }}"
            ))?;
            lab.route_from_lan([8, 8, 8, 8].into())?;
            let ask = tcp("8.8.8.8:8065");
            Ok(Box::new(move |patience| {
                let _server = &server;
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_wire(UntrustedInterface)
        .shown_as("8.8.8.8:8065 to our MAC, sent on by DNAT"),
    ]
}

/// Services on every address of the host.
fn accidents() -> Vec<Attack> {
    vec![
        Attack::new(
            "a06_accidental_publish::redis_on_0.0.0.0",
            Port("tcp", 6379),
            |lab| {
                let redis = Redis::start(lab)?;
                Ok(Box::new(move |patience| {
                    let _redis = &redis;
                    ping(&lab.lan, &format!("{HOST_LAN}:6379"), patience)
                }))
            },
        )
        .held_by_both(UntrustedInterface)
        .shown_as("Redis published on 0.0.0.0:6379"),
        Attack::new(
            "a06_accidental_publish::on_[::]",
            Port("tcp", 9000),
            |lab| {
                let ask = tcp(&format!("[{HOST_LAN6}]:9000"));
                asked(lab, "[::]:9000", "minio", &lab.lan, ask)
            },
        )
        .host_only(SAME_PATH)
        .held_by_both(UntrustedInterface)
        .shown_as("MinIO on [::]:9000, over IPv6"),
    ]
}
