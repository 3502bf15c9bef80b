//! A36, A37 and A39: frames to MAC addresses that a bridge, or a bond's slave, takes for the host,
//! and frames that lose their tag behind the guard.

use anyhow::Result;
use enforcer_ebpf::Reason::UntrustedInterface;

use crate::lab::bpf::Foreign;
use crate::lab::bridge::{
    Bridge, GHOST, HOST, NEIGHBOUR_MAC, PORT_MAC, Uplink, netfilter_on_members, publish_where,
};
use crate::lab::frames::{DOT1Q, Ends, Mac, ethernet};
use crate::lab::wire::Wire;
use crate::lab::{Feature, Lab, Port, Server, Transport, team};
use crate::scenarios::attack::{Attack, Attempt, attempt};
use crate::scenarios::raw_packet::{Probe, from_lan, send_probe};

/// A port that DNAT takes to a container.
const PUBLISHED: Port<'static> = Port("tcp", 8065);
const STATSD: Port<'static> = Port("udp", 8125);

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = ports_mac();
    attacks.extend([
        reserved_group(),
        on_a_backup_slave(),
        on_a_disabled_port_of_a_team(),
        untagged_behind_the_guard(),
    ]);
    attacks
}

/// A36: IP in a frame to an address that a bridge never forwards (IEEE 802.1D, table 7-10).
fn reserved_group() -> Attack {
    Attack::new("a36_link_local_group::on_a_bridges_member", STATSD, |lab| {
        let bridge = Bridge::new(lab, Uplink::Vxlan)?;
        let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
        let wire = Wire::open(&lab.lan, "up0")?;
        let group = [1, 0x80, 0xc2, 0, 0, 3];
        Ok(raw(wire, (server, bridge), group, HOST, STATSD))
    })
    .held_by_both(UntrustedInterface)
}

/// Raw frames to any MAC address, and the answers on the same wire.
fn raw<'lab>(
    wire: Wire,
    keep: impl Send + 'lab,
    mac: Mac,
    to: std::net::Ipv4Addr,
    port: Port<'static>,
) -> Attempt<'lab> {
    attempt((keep, wire), move |(_, wire), patience| {
        send_probe(wire, wire, patience, &|| {
            let probe = Probe::between(Ends::V4(GHOST, to), port);
            let kind = probe.ends.ethertype();
            let frame = ethernet(mac, NEIGHBOUR_MAC, &[], kind, &probe.packet());
            (probe, vec![frame])
        })
    })
}

/// A36 on the slave that an active-backup bond does not use (`bond_handle_frame` in
/// drivers/net/bonding/bond_main.c).
fn on_a_backup_slave() -> Attack {
    Attack::new("a36_link_local_group::on_a_backup_slave", STATSD, |lab| {
        backup_wires(lab)?;
        lab.host
            .ip("link add bond0 type bond mode active-backup miimon 10
             link set nic1 master bond0
             link set nic2 master bond0")?;
        from_the_backup(lab, "bond0")
    })
    .held_by_both(UntrustedInterface)
    .needs(Feature::Bond)
}

/// A36 on a disabled port of a team (`team_handle_frame` in drivers/net/team/team_core.c).
fn on_a_disabled_port_of_a_team() -> Attack {
    Attack::new("a36_link_local_group::on_a_teams_backup", STATSD, |lab| {
        backup_wires(lab)?;
        team::active_backup(&lab.host, "nic1", "nic2")?;
        lab.host.ip("link set nic1 up\nlink set nic2 up")?;
        from_the_backup(lab, "team0")
    })
    .held_by_both(UntrustedInterface)
    .needs(Feature::Team)
}

/// Two wires to the LAN: `nic1`, and `nic2` with the LAN's end `up0`. The host's ends are down.
fn backup_wires(lab: &Lab) -> Result<()> {
    let lan = lab.lan.path();
    lab.host.ip(&format!(
        "link add nic1 type veth peer name nic1 netns {lan}
         link add nic2 type veth peer name up0 address 02:00:00:00:85:02 netns {lan}"
    ))?;
    lab.lan.ip("addr add 192.168.85.3/24 dev nic1
         link set nic1 up
         link set up0 up")
}

/// Frames into the backup's wire; the answers leave by the master's other wire.
fn from_the_backup<'lab>(lab: &'lab Lab, master: &str) -> Result<Attempt<'lab>> {
    lab.host.ip(&format!(
        "addr add {HOST}/24 dev {master}
         link set {master} up
         neigh replace {GHOST} lladdr 02:00:00:00:85:02 dev {master} nud permanent"
    ))?;
    let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
    let (out, answers) = (Wire::open(&lab.lan, "up0")?, Wire::open(&lab.lan, "nic1")?);
    let kept = (server, out, answers);
    Ok(attempt(kept, |(_, out, answers), patience| {
        send_probe(out, answers, patience, &|| {
            let probe = Probe::between(Ends::V4(GHOST, HOST), STATSD);
            let (group, kind) = ([1, 0x80, 0xc2, 0, 0, 3], probe.ends.ethertype());
            let frame = ethernet(group, NEIGHBOUR_MAC, &[], kind, &probe.packet());
            (probe, vec![frame])
        })
    }))
}

/// A39: a bridge takes the MAC address of each port for its own, and a packet to an address of the
/// same segment would leave by the bridge again.
fn ports_mac() -> Vec<Attack> {
    let foreign = [192, 168, 85, 77].into();
    vec![
        // The stack itself takes such a frame from the wire of that port alone.
        Attack::new(
            "a39_a_ports_mac::by_the_ports_guest",
            PUBLISHED,
            move |lab| {
                let bridge = Bridge::new(lab, Uplink::Vxlan)?;
                lab.host.ip(&format!(
                    "neigh replace {GHOST} lladdr 02:00:00:00:85:50 dev br0 nud permanent"
                ))?;
                publish_where(lab, &format!("iifname br0 tcp dport {}", PUBLISHED.1))?;
                let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "mattermost")?;
                let wire = Wire::open(&bridge.guest, "eth0")?;
                Ok(raw(wire, (server, bridge), PORT_MAC, foreign, PUBLISHED))
            },
        )
        .held_by_wire(UntrustedInterface),
        // Netfilter on the member delivers the frame of another port.
        Attack::new("a39_a_ports_mac::under_netfilter", PUBLISHED, move |lab| {
            let bridge = Bridge::new(lab, Uplink::Vxlan)?;
            netfilter_on_members(lab, true)?;
            publish_where(lab, &format!("iifname br0 tcp dport {}", PUBLISHED.1))?;
            let server = Server::start(&lab.ct, Transport::Tcp, "0.0.0.0:80", "mattermost")?;
            let wire = Wire::open(&lab.lan, "up0")?;
            Ok(raw(wire, (server, bridge), PORT_MAC, foreign, PUBLISHED))
        })
        .held_by_wire(UntrustedInterface)
        .needs(Feature::BridgeNetfilter),
    ]
}

/// A37: the wire guard passes the frame of a VLAN, and a program behind takes the tag off. The
/// socket guard alone stands there.
fn untagged_behind_the_guard() -> Attack {
    Attack::new("a37_a_tag_that_goes_behind_the_guard", STATSD, |lab| {
        let program = Foreign::taking_tags_off(&lab.host, "eth0")?;
        let server = Server::start(&lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
        from_lan(lab, (server, program), || {
            let probe = Probe::v4(STATSD);
            (probe, vec![probe.tagged(&[(DOT1Q, 5)])])
        })
    })
    .held_by_socket(UntrustedInterface)
    .needs(Feature::Tcx)
}
