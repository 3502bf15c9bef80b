//! A15 and A22: other transports, and destinations beside unicast.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_ebpf::Reason;

use crate::lab::frames::Ends;
use crate::lab::topology::{GHOST, GHOST6, HOST_LAN, HOST_LAN6};
use crate::lab::{Ask, Feature, Port, Server, Transport};
use crate::scenario::host_only::SAME_PATH;
use crate::scenarios::attack::Attack;
use crate::scenarios::raw_packet::{Probe, from_lan, group_mac};

use super::reach::asked;
use Reason::UntrustedInterface;

const STATSD: Port<'static> = Port("udp", 8125);
const SCTP: Port<'static> = Port("sctp", 3868);

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = tcp_and_udp();
    attacks.extend(sctp());
    attacks.extend(datagrams());
    attacks
}

fn tcp_and_udp() -> Vec<Attack> {
    vec![
        Attack::new("a15_mptcp_listener", Port("tcp", 9200), |lab| {
            let service =
                Server::start(&lab.host, Transport::Mptcp, "0.0.0.0:9200", "elasticsearch")?;
            let ask = Ask::new(Transport::Mptcp, &format!("{HOST_LAN}:9200"));
            Ok(Box::new(move |patience| {
                let _service = &service;
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_both(UntrustedInterface)
        .needs(Feature::Mptcp),
        Attack::new("a15_syncookies_always", Port("tcp", 9200), |lab| {
            lab.host.sysctl("net/ipv4/tcp_syncookies", "2")?;
            let ask = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:9200"));
            asked(lab, "0.0.0.0:9200", "elasticsearch", &lab.lan, ask)
        })
        .held_by_both(UntrustedInterface),
        Attack::new("a15_connected_udp", STATSD, |lab| {
            let service = Server::connected_udp(
                &lab.host,
                "0.0.0.0:8125",
                &format!("{}:4444", crate::lab::topology::LAN),
                "statsd",
            )?;
            let ask = Ask::new(Transport::Udp, &format!("{HOST_LAN}:8125")).from("0.0.0.0:4444");
            Ok(Box::new(move |patience| {
                let _service = &service;
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_both(UntrustedInterface),
    ]
}

fn sctp() -> Vec<Attack> {
    vec![
        Attack::new("a15_sctp::a_listener", SCTP, |lab| {
            let service = Server::start(&lab.host, Transport::Sctp, "0.0.0.0:3868", "diameter")?;
            let ask = Ask::new(Transport::Sctp, &format!("{HOST_LAN}:3868"));
            Ok(Box::new(move |patience| {
                let _service = &service;
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_both(UntrustedInterface)
        .needs(Feature::Sctp),
        Attack::new("a15_sctp::ipv6_listener", SCTP, |lab| {
            let service = Server::start(&lab.host, Transport::Sctp, "[::]:3868", "diameter")?;
            let ask = Ask::new(Transport::Sctp, &format!("[{HOST_LAN6}]:3868"));
            Ok(Box::new(move |patience| {
                let _service = &service;
                ask.ask(&lab.lan, patience)
            }))
        })
        .held_by_both(UntrustedInterface)
        .needs(Feature::Sctp),
        Attack::new("a15_sctp::an_init_without_a_listener", SCTP, |lab| {
            from_lan(lab, (), || {
                let probe = Probe::v4(SCTP);
                (probe, vec![probe.frame()])
            })
        })
        .host_only(SAME_PATH)
        .refused_by_the_stack("nobody listens, or the kernel has no SCTP and says so by ICMP")
        .held_by_wire(UntrustedInterface),
    ]
}

fn datagrams() -> Vec<Attack> {
    vec![
        to_many("a22_datagrams::broadcast", Ipv4Addr::BROADCAST.into()),
        to_many(
            "a22_datagrams::subnet_broadcast",
            Ipv4Addr::new(192, 168, 77, 255).into(),
        )
        .host_only(SAME_PATH),
        to_many(
            "a22_datagrams::multicast",
            Ipv4Addr::new(239, 1, 2, 3).into(),
        ),
        to_many(
            "a22_datagrams::ipv6_multicast",
            Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x77).into(),
        ),
        udp_lite(
            "a22_datagrams::udp_lite",
            "0.0.0.0:8125",
            format!("{HOST_LAN}:8125"),
        ),
        udp_lite(
            "a22_datagrams::udp_lite_ipv6",
            "[::]:8125",
            format!("[{HOST_LAN6}]:8125"),
        ),
    ]
}

/// Datagrams to a multicast group of the service, or to a broadcast address.
fn to_many(name: &'static str, destination: IpAddr) -> Attack {
    Attack::new(name, STATSD, move |lab| {
        let eth0 = lab.host.ifindex("eth0")?;
        let any = if destination.is_ipv4() {
            "0.0.0.0:8125"
        } else {
            "[::]:8125"
        };
        let server = if destination.is_multicast() {
            Server::multicast(&lab.host, any, destination, eth0, "statsd")?
        } else {
            Server::start(&lab.host, Transport::Udp, any, "statsd")?
        };
        let ends = match destination {
            IpAddr::V4(group) => Ends::V4(GHOST, group),
            IpAddr::V6(group) => Ends::V6(GHOST6, group),
        };
        from_lan(lab, server, move || {
            let probe = Probe::between(ends, STATSD);
            (
                probe,
                vec![probe.framed_to(group_mac(destination), &probe.packet())],
            )
        })
    })
    .held_by_both(UntrustedInterface)
}

fn udp_lite(name: &'static str, service: &'static str, to: String) -> Attack {
    Attack::new(name, STATSD, move |lab| {
        let server = Server::start(&lab.host, Transport::UdpLite, service, "statsd")?;
        let ask = Ask::new(Transport::UdpLite, &to);
        Ok(Box::new(move |patience| {
            let _server = &server;
            ask.ask(&lab.lan, patience)
        }))
    })
    .held_by_both(UntrustedInterface)
    .needs(Feature::UdpLite)
}
