//! Bridges, container networks and local routes that come while `run` lives.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::bridge::{self, Bridge, GUEST, OUTSIDE, Uplink, netfilter_on_members, publish};
use crate::lab::command::eventually;
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::topology::{HOST_LAN, Lab, PEER};
use crate::lab::{
    Ask, Because, Feature, Guards, Netns, Outcome, Patience, Port, Server, Transport,
};
use crate::scenario::{Rig, Scenario};
use crate::scenarios::confirm::pending::{arm, candidate};
use crate::scenarios::runner::{answered, unanswered};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::a29_a_container_network_that_comes_later", |rig| {
            network(rig, |rig| rig.enforcer.run(&[]))
        }),
        Scenario::new(
            "live::a29_a_container_network_that_comes_while_pending",
            |rig| {
                network(rig, |rig| {
                    let run = rig.enforcer.run(&[])?;
                    arm(rig, &candidate(), "60s")?;
                    Ok(run)
                })
            },
        ),
        Scenario::new(
            "live::a29_a_container_network_that_comes_without_a_registry",
            |rig| {
                network(rig, |rig| {
                    rig.enforcer.up(Guards::Both)?;
                    rig.enforcer.registry("no registry")?;
                    rig.enforcer.run(&[])
                })
            },
        ),
        Scenario::new("live::a40_a_local_route_that_comes_later", local_route),
        Scenario::new("live::a23_a_member_that_joins_later", member)
            .needs(Feature::BridgeNetfilter),
        Scenario::new("live::a_nic_that_joins_a_guarded_bridge", nic),
    ]
}

/// Asks until the wire guard counts the question, from when on no answer may come.
fn closes(
    rig: &Rig<'_>,
    reason: Because,
    port: Port<'_>,
    mut ask: impl FnMut(Patience) -> Result<Outcome>,
) -> Result<()> {
    let counted = eventually(SETTLE, || {
        ask(Patience::Brief).ok()?;
        let counters = rig.enforcer.counters().ok()?;
        (counters.count(Guard::Wire, reason, port) > 0).then_some(())
    });
    let counters = rig.enforcer.counters()?;
    ensure!(
        counted.is_some(),
        "expected a drop of {port} as `{reason}`, but the counters are\n{counters}"
    );
    unanswered(ask(Patience::Brief)?)
}

/// A network of a container engine, with a container.
fn podman7(lab: &Lab) -> Result<(Netns, Server)> {
    let inner = Netns::new("inner")?;
    lab.host.ip(&format!(
        "link add podman7 type bridge forward_delay 0
         link add veth7 type veth peer name eth0 netns {}
         link set veth7 master podman7
         addr add 10.77.0.1/24 dev podman7
         link set veth7 up
         link set podman7 up",
        inner.path()
    ))?;
    inner.ip("link set lo up
         addr add 10.77.0.2/24 dev eth0
         link set eth0 up
         route add default via 10.77.0.1")?;
    let server = Server::start(&inner, Transport::Tcp, "0.0.0.0:7070", "inner")?;
    Ok((inner, server))
}

/// `start` brings up a `run` that follows the host.
fn network<'a, T>(rig: &'a Rig<'_>, start: impl FnOnce(&'a Rig<'_>) -> Result<T>) -> Result<()> {
    let to = Ipv4Addr::new(10, 77, 0, 2);
    rig.lab.route_from_lan(to)?;
    let ask =
        |patience| Ask::new(Transport::Tcp, &format!("{to}:7070")).ask(&rig.lab.lan, patience);
    let first = podman7(rig.lab)?;
    answered(ask(Patience::Long)?).context("before the enforcer was up")?;
    rig.lab.host.ip("link del podman7")?;
    drop(first);
    let _run = start(rig)?;
    let _second = podman7(rig.lab)?;
    closes(rig, Because::CONTAINER_NETWORK, Port("tcp", 7070), ask)
}

/// A prefix that becomes local (AnyIP): a packet there was for others, and is for this host.
fn local_route(rig: &Rig<'_>) -> Result<()> {
    let to = Ipv4Addr::new(198, 51, 100, 7);
    let host = &rig.lab.host;
    rig.lab
        .lan
        .ip(&format!("route add {to}/32 via {HOST_LAN}"))?;
    host.ip(&format!("route add default via {PEER}"))?;
    let _server = Server::start(host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
    let ask =
        |patience| Ask::new(Transport::Udp, &format!("{to}:8125")).ask(&rig.lab.lan, patience);
    let (add, remove) = (
        "route add local 198.51.100.0/24 dev lo",
        "route del local 198.51.100.0/24 dev lo",
    );
    host.ip(add)?;
    answered(ask(Patience::Long)?).context("before the enforcer was up")?;
    host.ip(remove)?;
    // The socket guard would hide what the wire guard lets pass, so the wire guard has to count.
    let _run = rig.enforcer.run(&[])?;
    host.ip(add)?;
    let reason = Reason::UntrustedInterface.into();
    closes(rig, reason, Port("udp", 8125), ask)
}

/// A guest that starts on a guarded bridge: the guest reaches no published port, others reach the
/// guest, and `status` knows no interface without a guard.
fn member(rig: &Rig<'_>) -> Result<()> {
    let port = Port("tcp", 8065);
    let bridge = Bridge::new(rig.lab, Uplink::Vxlan)?;
    netfilter_on_members(rig.lab, true)?;
    publish(rig.lab, port.1)?;
    let _published = Server::start(&rig.lab.ct, Transport::Tcp, "0.0.0.0:80", "published")?;
    let _own = Server::start(&bridge.guest, Transport::Tcp, "0.0.0.0:9200", "guest")?;
    let ask = |patience| {
        Ask::new(Transport::Tcp, &format!("{}:8065", bridge::HOST)).ask(&bridge.guest, patience)
    };
    let of_the_guest =
        |patience| Ask::new(Transport::Tcp, &format!("{GUEST}:9200")).ask(&rig.lab.lan, patience);
    answered(ask(Patience::Long)?).context("before the enforcer was up")?;
    rig.lab.host.ip("link set vnet0 nomaster")?;
    let _run = rig.enforcer.run(&[])?;
    rig.lab.host.ip("link set vnet0 master br0")?;
    closes(rig, Reason::UntrustedInterface.into(), port, ask)?;
    answered(of_the_guest(Patience::Long)?).context("the LAN at the guest's own port")?;
    let (_, status) = rig.enforcer.status()?;
    ensure!(
        status.uncovered.is_empty(),
        "`status` names interfaces without a guard: {status:?}"
    );
    Ok(())
}

/// A NIC that joins a bridge with a guard: the guests' ports and the public service are reached
/// through the NIC at once, and the closed port is not. Without tcx the kernel takes no XDP program
/// on a member while the bridge has one (`dev_xdp_attach` in net/core/dev.c): `status` may then
/// name the member, and no other interface.
fn nic(rig: &Rig<'_>) -> Result<()> {
    let host = &rig.lab.host;
    let bridge = Bridge::new(rig.lab, Uplink::Vxlan)?;
    let own = Server::start(&bridge.guest, Transport::Tcp, "0.0.0.0:9200", "guest")?;
    let door = Server::start(host, Transport::Tcp, "0.0.0.0:8443", "traefik")?;
    let closed = Server::start(host, Transport::Tcp, "0.0.0.0:6379", "redis")?;
    let _servers = (own, door, closed);
    let ask = |to: Ipv4Addr, port: u16, patience| {
        Ask::new(Transport::Tcp, &format!("{to}:{port}")).ask(&rig.lab.lan, patience)
    };
    answered(ask(bridge::HOST, 6379, Patience::Long)?).context("before the enforcer was up")?;
    host.ip("link set up0 nomaster")?;
    rig.enforcer.registry(&format!("{REGISTRY}\n{OUTSIDE}"))?;
    let _run = rig.enforcer.run(&[])?;
    host.ip("link set up0 master br0")?;
    answered(ask(GUEST, 9200, Patience::Long)?).context("the LAN at the guest's own port")?;
    answered(ask(bridge::HOST, 8443, Patience::Long)?).context("the LAN at the public service")?;
    let redis = Port("tcp", 6379);
    closes(rig, Reason::UntrustedInterface.into(), redis, |patience| {
        ask(bridge::HOST, redis.1, patience)
    })?;
    answered(ask(GUEST, 9200, Patience::Long)?).context("the guest's own port, afterwards")?;
    let (_, status) = rig.enforcer.status()?;
    let is_explained = |name: &str| name == "up0" && !Feature::Tcx.is_here();
    ensure!(
        status
            .uncovered
            .iter()
            .all(|one| is_explained(&one.interface)),
        "`status` names interfaces without a guard: {status:?}"
    );
    Ok(())
}
