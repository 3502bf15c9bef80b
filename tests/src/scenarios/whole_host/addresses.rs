//! Services at some addresses of the host (`on`), and peers by other names of an interface.

use anyhow::Result;
use enforcer_ebpf::{Guard, Reason};

use crate::lab::topology::{HOST_LAN, HOST_LAN6, HOST_WG, Lab, PEER};
use crate::lab::{Ask, Port, Server, Transport};
use crate::scenarios::attack::{Attack, Attempt, Legitimate, attempt};

const SHARED: Port<'static> = Port("tcp", 9500);
/// Two services on one port: everybody's on the LAN, and the collector's on the trusted link.
const TWO_SERVICES: &str = r#"
[services.shop]
ports = [9500]
on = ["192.168.77.1"]
public = true
[services.ledger]
ports = [9500]
on = ["10.10.0.2"]
allow = ["collector"]
"#;
const ELSEWHERE: Port<'static> = Port("tcp", 9501);
/// The name of wg0 that only `ip link property` knows.
const BY_ANOTHER_NAME: &str = r#"
[peers.office]
interface = "wgoffice"
addresses = ["10.10.0.5/32"]
[services.intranet]
ports = [9501]
allow = ["office"]
"#;
const BY_A_PATTERN: &str = r#"
[peers.office]
interface = "wg*"
addresses = ["10.10.0.5/32"]
[services.intranet]
ports = [9501]
allow = ["office"]
"#;

/// A service on every address, asked from the LAN at one of them.
fn from_the_lan(lab: &Lab, to: String) -> Result<Attempt<'_>> {
    let server = Server::start(&lab.host, Transport::Tcp, "[::]:9500", "a service")?;
    let ask = Ask::new(Transport::Tcp, &to);
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}

/// A service on every address, asked by the allowed peer.
fn from_the_peer(lab: &Lab, port: u16) -> Result<Attempt<'_>> {
    let any = format!("0.0.0.0:{port}");
    let server = Server::start(&lab.host, Transport::Tcp, &any, "a service")?;
    let ask = Ask::new(Transport::Tcp, &format!("{HOST_WG}:{port}")).from(&format!("{PEER}:0"));
    Ok(attempt(server, move |_, patience| {
        ask.ask(&lab.peer, patience)
    }))
}

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        Attack::new(
            "a05_weak_host_model::at_the_address_of_another_service",
            SHARED,
            |lab| {
                lab.route_from_lan(HOST_WG)?;
                from_the_lan(lab, format!("{HOST_WG}:9500"))
            },
        )
        .held_by_both(Reason::UntrustedInterface)
        .under(TWO_SERVICES),
        Attack::new(
            "a06_accidental_publish::at_an_address_without_a_service",
            SHARED,
            |lab| from_the_lan(lab, format!("[{HOST_LAN6}]:9500")),
        )
        .held_by_both(Reason::UntrustedInterface)
        .under(TWO_SERVICES),
    ]
}

pub(super) fn traffic() -> Vec<Legitimate> {
    vec![
        Legitimate::new("public::at_one_address", |lab| {
            from_the_lan(lab, format!("{HOST_LAN}:9500"))
        })
        .under(TWO_SERVICES)
        .counted(Guard::Wire, Reason::Public, SHARED)
        .counted(Guard::Socket, Reason::Public, SHARED),
        Legitimate::new("an_allowed_peer::at_another_address_of_the_port", |lab| {
            from_the_peer(lab, SHARED.1)
        })
        .under(TWO_SERVICES)
        .counted(Guard::Wire, Reason::Peer, SHARED)
        .counted(Guard::Socket, Reason::Peer, SHARED),
        Legitimate::new("an_allowed_peer::by_an_alternative_name", |lab| {
            lab.host.ip("link property add dev wg0 altname wgoffice")?;
            from_the_peer(lab, ELSEWHERE.1)
        })
        .under(BY_ANOTHER_NAME)
        .counted(Guard::Wire, Reason::Peer, ELSEWHERE),
        Legitimate::new("an_allowed_peer::by_a_pattern", |lab| {
            from_the_peer(lab, ELSEWHERE.1)
        })
        .under(BY_A_PATTERN)
        .counted(Guard::Wire, Reason::Peer, ELSEWHERE),
    ]
}
