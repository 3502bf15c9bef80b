//! Interfaces that get another name, or another master.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Verdict};

use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::{Ask, Feature, Outcome, Patience, Server, Transport};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};
use crate::scenarios::runner::{answered, unanswered};

use super::plug::{FAR, NEAR, Plug, is_guarded, look_again};
use super::timing::within;

/// The host's address at the plug, and the neighbour's.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 2);
/// The host's and the neighbour's address on a VLAN.
const HOST_ON_VLAN: Ipv4Addr = Ipv4Addr::new(192, 168, 98, 1);
const NEIGHBOUR_ON_VLAN: Ipv4Addr = Ipv4Addr::new(192, 168, 98, 2);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::renames_and_masters", |rig| {
            renames(rig)?;
            bridge(rig)
        }),
        Scenario::new("live::masters::a_bridge_that_takes_no_guard", unguarded).host_only(LOADER),
        Scenario::new("live::masters::bond", bond).needs(Feature::Bond),
        Scenario::new("live::masters::vlan", vlan).needs(Feature::Vlan),
    ]
}

/// The lab's registry, in which metrics are for a neighbour at `trust0`, and interfaces called
/// `den…` are inside.
fn registry(more: &str) -> String {
    let rest = REGISTRY.replace("[\"collector\"]", "[\"collector\", \"neighbour\"]");
    format!(
        "{rest}
         [peers.neighbour]
         interface = \"trust0\"
         addresses = [\"{NEIGHBOUR}/32\"]
         [interfaces.\"den*\"]
         side = \"inside\"
         {more}"
    )
}

struct Services {
    _metrics: Server,
    search: Server,
}

impl Services {
    fn start(rig: &Rig<'_>) -> Result<Self> {
        let host = &rig.lab.host;
        Ok(Self {
            _metrics: Server::start(host, Transport::Tcp, "0.0.0.0:9100", "metrics")?,
            search: Server::start(host, Transport::Tcp, "0.0.0.0:9200", "elasticsearch")?,
        })
    }
}

/// A plug that is up, with addresses at both ends, and answered without the enforcer.
fn plugged<'lab>(rig: &Rig<'lab>) -> Result<Plug<'lab>> {
    let plug = Plug::new(rig.lab)?;
    rig.lab
        .lan
        .ip(&format!("addr add {NEIGHBOUR}/24 dev {FAR}"))?;
    rig.lab.host.ip(&format!("addr add {HOST}/24 dev {NEAR}"))?;
    plug.up()?;
    answered(ask(rig, HOST, 9200, Patience::Long)?).context("through the plug, unguarded")?;
    Ok(plug)
}

fn ask(rig: &Rig<'_>, host: Ipv4Addr, port: u16, patience: Patience) -> Result<Outcome> {
    Ask::new(Transport::Tcp, &format!("{host}:{port}")).ask(&rig.lab.lan, patience)
}

/// Packets dropped by the wire guards, and packets past them.
fn drops(rig: &Rig<'_>) -> Result<(u64, u64)> {
    let counters = rig.enforcer.counters()?;
    let drops = |guard| counters.total(guard, Verdict::Drop);
    Ok((drops(Guard::Wire), drops(Guard::Socket)))
}

/// An attack on the closed port: dropped on the wire, and no packet came to a socket.
fn held_on_the_wire(rig: &Rig<'_>, host: Ipv4Addr) -> Result<()> {
    let (wire, socket) = drops(rig)?;
    unanswered(ask(rig, host, 9200, Patience::Brief)?)?;
    let (now, past) = drops(rig)?;
    ensure!(
        now > wire && past == socket,
        "expected a wire guard to drop it: wire {wire} -> {now}, socket {socket} -> {past}"
    );
    Ok(())
}

fn renames(rig: &Rig<'_>) -> Result<()> {
    let services = Services::start(rig)?;
    rig.enforcer.registry(&registry(""))?;
    let plug = plugged(rig)?;
    let before = services.search.accepted();
    let _run = rig.enforcer.run(&[])?;
    let rename = |from: &str, to: &str| {
        rig.lab.host.ip(&format!(
            "link set {from} down
             link set {from} name {to}
             link set {to} up"
        ))
    };
    let guarded = |wanted: bool| {
        within(SETTLE, "the guard", || {
            Ok(is_guarded(rig.lab, plug.index)? == wanted)
        })
    };
    let named = |name: &str| {
        within(SETTLE, "its name in `status`", || {
            let (_, status) = rig.enforcer.status()?;
            let mut guards = status.guards.iter();
            Ok(guards.any(|guard| {
                guard.interface.as_deref() == Some(name) && guard.ifindex == Some(plug.index)
            }))
        })
    };
    held_on_the_wire(rig, HOST).context("under the first name")?;
    unanswered(ask(rig, HOST, 9100, Patience::Brief)?).context("metrics, under the first name")?;

    rename(NEAR, "trust0")?;
    answered(ask(rig, HOST, 9100, Patience::Long)?).context("metrics, under a trusted name")?;
    named("trust0")?;
    held_on_the_wire(rig, HOST).context("under a trusted name")?;

    rename("trust0", "den0")?;
    guarded(false).context("under a name that is inside")?;
    unanswered(ask(rig, HOST, 9200, Patience::Brief)?).context("the socket guard remains")?;

    rename("den0", NEAR)?;
    guarded(true).context("under the first name again")?;
    named(NEAR)?;
    unanswered(ask(rig, HOST, 9100, Patience::Brief)?).context("metrics, as at first")?;
    held_on_the_wire(rig, HOST).context("as at first")?;
    ensure!(
        services.search.accepted() == before,
        "a connection was accepted"
    );
    drop(plug);
    rig.enforcer.down()
}

/// The bridge has veth members alone and would be inside: the registry says "outside", so its
/// members have guards too.
fn bridge(rig: &Rig<'_>) -> Result<()> {
    let _services = Services::start(rig)?;
    let host = &rig.lab.host;
    rig.enforcer
        .registry(&registry("[interfaces.br0]\nside = \"outside\"\n"))?;
    let plug = plugged(rig)?;
    let _run = rig.enforcer.run(&[])?;
    held_on_the_wire(rig, HOST).context("without a master")?;
    for _ in 0..2 {
        host.ip(&format!(
            "link add br0 type bridge forward_delay 0
             link set {NEAR} master br0
             addr del {HOST}/24 dev {NEAR}
             addr add {HOST}/24 dev br0
             link set br0 up"
        ))?;
        moved_to(rig, &plug, "br0")?;
        held_on_the_wire(rig, HOST).context("on the bridge")?;
        host.ip(&format!(
            "link set {NEAR} nomaster
             link del br0
             addr add {HOST}/24 dev {NEAR}"
        ))?;
        moved_back(rig, &plug)?;
        held_on_the_wire(rig, HOST).context("off the bridge")?;
    }
    Ok(())
}

fn moved_to(rig: &Rig<'_>, member: &Plug<'_>, master: &str) -> Result<()> {
    let index = rig.lab.host.ifindex(master)?;
    within(SETTLE, "the guards on the master and on its member", || {
        Ok(is_guarded(rig.lab, index)? && member.is_guarded()?)
    })
    .map(drop)
}

fn moved_back(rig: &Rig<'_>, member: &Plug<'_>) -> Result<()> {
    within(SETTLE, "the guard on the former member", || {
        is_guarded(rig.lab, member.index)
    })
    .map(drop)
}

/// A guest's port is guarded while its bridge cannot be, and no longer.
fn unguarded(rig: &Rig<'_>) -> Result<()> {
    let _services = Services::start(rig)?;
    let host = &rig.lab.host;
    // A bridge has no native XDP. While netfilter runs on members, each has a guard of its own.
    for family in ["iptables", "ip6tables"] {
        let setting = format!("net/bridge/bridge-nf-call-{family}");
        // Absent without br_netfilter.
        host.sysctl(&setting, "0").ok();
    }
    let rule = "[interfaces.br9]\nhook = \"xdp-native\"\n";
    rig.enforcer.registry(&registry(rule))?;
    let plug = plugged(rig)?;
    let _run = rig.enforcer.run(&[])?;
    held_on_the_wire(rig, HOST).context("without a master")?;
    host.ip(&format!(
        "link add br9 type bridge
         link add vx9 type vxlan id 9 dstport 4789
         link set vx9 master br9
         link set {NEAR} master br9
         addr flush dev {NEAR}
         addr add {HOST}/24 dev br9
         link set br9 up"
    ))?;
    let master = host.ifindex("br9")?;
    look_again(rig.lab)?;
    let said = || Ok(rig.enforcer.run_log().contains("br9 has no wire guard"));
    within(SETTLE, "a word about the master", said)?;
    ensure!(!is_guarded(rig.lab, master)?, "br9 has a guard after all");
    within(SETTLE, "its member's guard", || plug.is_guarded())?;
    held_on_the_wire(rig, HOST).context("on a bridge without a guard")?;
    // An `up` beside `run` keeps the guard as well.
    rig.enforcer.expect(&["up"], 3)?;
    ensure!(plug.is_guarded()?, "`up` took the member's guard off");
    held_on_the_wire(rig, HOST).context("after another `up`")?;
    // The control: once the bridge has a guard, the guest's port needs none.
    rig.enforcer.registry(&registry(""))?;
    within(SETTLE, "the guard on the bridge alone", || {
        Ok(is_guarded(rig.lab, master)? && !plug.is_guarded()?)
    })?;
    held_on_the_wire(rig, HOST).context("on a bridge with a guard")
}

fn bond(rig: &Rig<'_>) -> Result<()> {
    let _services = Services::start(rig)?;
    let host = &rig.lab.host;
    rig.enforcer.registry(&registry(""))?;
    let plug = plugged(rig)?;
    let _run = rig.enforcer.run(&[])?;
    held_on_the_wire(rig, HOST).context("without a master")?;
    // A bond takes only members that are down, and brings them up by itself.
    host.ip(&format!(
        "link add bond0 type bond mode active-backup
         link set {NEAR} down
         link set {NEAR} master bond0
         link set bond0 up
         addr flush dev {NEAR}
         addr add {HOST}/24 dev bond0"
    ))?;
    moved_to(rig, &plug, "bond0")?;
    held_on_the_wire(rig, HOST).context("on the bond")?;
    host.ip(&format!(
        "link set {NEAR} nomaster
         link del bond0
         addr add {HOST}/24 dev {NEAR}
         link set {NEAR} up"
    ))?;
    moved_back(rig, &plug)?;
    held_on_the_wire(rig, HOST).context("off the bond")
}

/// A VLAN device has a guard, and the parent keeps a guard that lets the device's frames through.
fn vlan(rig: &Rig<'_>) -> Result<()> {
    let _services = Services::start(rig)?;
    rig.enforcer.registry(&registry(""))?;
    let plug = plugged(rig)?;
    let _run = rig.enforcer.run(&[])?;
    for _ in 0..2 {
        for (namespace, end, address) in [
            (&rig.lab.host, NEAR, HOST_ON_VLAN),
            (&rig.lab.lan, FAR, NEIGHBOUR_ON_VLAN),
        ] {
            namespace.ip(&format!(
                "link add link {end} name vlan5 type vlan id 5
                 addr add {address}/24 dev vlan5
                 link set vlan5 up"
            ))?;
        }
        let index = rig.lab.host.ifindex("vlan5")?;
        within(SETTLE, "the VLAN device's guard", || {
            is_guarded(rig.lab, index)
        })?;
        held_on_the_wire(rig, HOST_ON_VLAN).context("on the VLAN")?;
        held_on_the_wire(rig, HOST).context("on its parent")?;
        for namespace in [&rig.lab.host, &rig.lab.lan] {
            namespace.ip("link del vlan5")?;
        }
        within(SETTLE, "the end of its guard", || {
            Ok(!is_guarded(rig.lab, index)?)
        })?;
        ensure!(plug.is_guarded()?, "the parent lost its guard");
        held_on_the_wire(rig, HOST).context("without a VLAN")?;
    }
    Ok(())
}
