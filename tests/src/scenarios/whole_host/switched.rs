//! Open vSwitch in place of a bridge: the host's own port, and guests behind the datapath.
//!
//! A datapath's rx_handler takes every frame of a port (`netdev_frame_hook` in
//! net/openvswitch/vport-netdev.c), and the host receives by the datapath's own port alone
//! (`internal_dev_recv` in net/openvswitch/vport-internal_dev.c).

use anyhow::Result;
use enforcer_ebpf::Reason::UntrustedInterface;

use crate::lab::bridge::{Bridge, GUEST, HOST, Uplink, publish};
use crate::lab::topology::LAN;
use crate::lab::{Ask, Feature, Lab, Port, Server, Transport};
use crate::scenarios::attack::{Attack, Attempt, Legitimate, attempt};

use super::guests::masquerade;

const ELASTIC: Port<'static> = Port("tcp", 9200);
/// A port that DNAT takes to a container.
const PUBLISHED: Port<'static> = Port("tcp", 8065);

/// Who asks, and who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Neighbour,
    Guest,
}

pub(super) fn attacks() -> Vec<Attack> {
    let at_a_socket = |name, who: Who| {
        Attack::new(name, ELASTIC, move |lab| {
            let bridge = Bridge::switched(lab, Uplink::Vxlan)?;
            let any = "0.0.0.0:9200";
            let server = Server::start(&lab.host, Transport::Tcp, any, "elasticsearch")?;
            Ok(asked(lab, (server, bridge), who, ELASTIC))
        })
        .held_by_both(UntrustedInterface)
        .needs(Feature::OpenVSwitch)
    };
    let at_a_container = Attack::new("a10_open_vswitch::to_a_container", PUBLISHED, |lab| {
        let bridge = Bridge::switched(lab, Uplink::Vxlan)?;
        publish(lab, PUBLISHED.1)?;
        let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "mattermost")?;
        Ok(asked(lab, (server, bridge), Who::Neighbour, PUBLISHED))
    })
    .held_by_wire(UntrustedInterface)
    .needs(Feature::OpenVSwitch);
    vec![
        at_a_socket("a10_open_vswitch::by_the_lan", Who::Neighbour),
        at_a_socket("a10_open_vswitch::by_a_guest", Who::Guest),
        at_a_container,
    ]
}

/// Asks at the host's address on the datapath's own port.
fn asked<'lab>(
    lab: &'lab Lab,
    kept: (Server, Bridge),
    who: Who,
    port: Port<'static>,
) -> Attempt<'lab> {
    let ask = Ask::new(Transport::Tcp, &format!("{HOST}:{}", port.1));
    attempt(kept, move |(_, bridge), patience| {
        let from = match who {
            Who::Neighbour => &lab.lan,
            Who::Guest => &bridge.guest,
        };
        ask.ask(from, patience)
    })
}

pub(super) fn traffic() -> Vec<Legitimate> {
    let native = "[interfaces.up0]\nside = \"outside\"\nhook = \"xdp-native\"\n";
    let traffic = [
        Legitimate::new("guests::behind_open_vswitch", |lab| {
            at_the_guest(lab, Uplink::Vxlan)
        }),
        // The registry speaks for the NIC, whose kind is that of a guest's port.
        Legitimate::new("guests::behind_open_vswitch_and_native_xdp", |lab| {
            at_the_guest(lab, Uplink::Veth)
        })
        .under(native),
        Legitimate::new("guests::out_through_open_vswitch", |lab| {
            let bridge = Bridge::switched(lab, Uplink::Vxlan)?;
            masquerade(&lab.host)?;
            bridge.guest.ip(&format!("route add default via {HOST}"))?;
            let server = Server::start(&lab.lan, Transport::Tcp, "0.0.0.0:9200", "remote")?;
            let ask = Ask::new(Transport::Tcp, &format!("{LAN}:9200"));
            Ok(attempt((server, bridge), move |(_, bridge), patience| {
                ask.ask(&bridge.guest, patience)
            }))
        }),
    ];
    let traffic = traffic.map(|one| one.needs(Feature::OpenVSwitch));
    traffic.into()
}

/// A client of the LAN at the guest's own port (docker/for-linux#949 with Open vSwitch).
fn at_the_guest(lab: &Lab, uplink: Uplink) -> Result<Attempt<'_>> {
    let bridge = Bridge::switched(lab, uplink)?;
    let server = Server::start(&bridge.guest, Transport::Tcp, "0.0.0.0:9200", "a guest")?;
    let ask = Ask::new(Transport::Tcp, &format!("{GUEST}:9200"));
    Ok(attempt((server, bridge), move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}
