//! The life of a real WireGuard device: its guard, its own port, and its end.

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::enforcer::REGISTRY;
use crate::lab::kernel::software_hook;
use crate::lab::topology::HOST_WG;
use crate::lab::wireguard::{LISTEN_PORT, Member};
use crate::lab::{Ask, Feature, Guards, Outcome, Patience, Port, Server, Transport, WireGuard};

use super::runner::{answered, unanswered};
use crate::scenario::{Rig, Scenario};

/// The collector's service.
const METRICS: Port<'static> = Port("tcp", 9100);

pub(super) fn scenarios() -> Vec<Scenario> {
    let tunnelled = |name, body: fn(&Rig<'_>) -> Result<()>| {
        Scenario::new(name, body).needs(Feature::WireGuard)
    };
    vec![
        tunnelled("wireguard::the_guard_on_wg0_is_raw_ip", raw_ip_guard),
        tunnelled(
            "wireguard::its_own_port_is_open_until_it_is_registered",
            own_port,
        ),
        tunnelled("wireguard::a_device_that_is_remade_lets_nobody_in", remade),
    ]
}

fn ask_metrics(hub: &WireGuard<'_>, patience: Patience) -> Result<Outcome> {
    Ask::new(Transport::Tcp, &format!("{HOST_WG}:9100")).ask(&hub.peers[0].namespace, patience)
}

fn metrics(rig: &Rig<'_>) -> Result<Server> {
    Server::start(&rig.lab.host, Transport::Tcp, "0.0.0.0:9100", "metrics")
}

/// The hook: tcx where the kernel has tcx, else XDP in the stack; both see the IP header first.
fn raw_ip_guard(rig: &Rig<'_>) -> Result<()> {
    let hub = WireGuard::hub(rig.lab, Member::usual())?;
    let _server = metrics(rig)?;
    answered(ask_metrics(&hub, Patience::Long)?)?;
    let mut hooks = vec!["auto", "xdp-generic"];
    hooks.extend(Feature::Tcx.is_here().then_some("tcx"));
    for hook in hooks {
        let forced = format!("{REGISTRY}\n[interfaces.wg0]\nhook = \"{hook}\"\n");
        rig.enforcer.registry(&forced)?;
        rig.enforcer.up(Guards::Wire)?;
        let expected = match hook {
            "auto" => software_hook(),
            forced => forced,
        };
        let (_, status) = rig.enforcer.status()?;
        let there = status
            .guards
            .iter()
            .any(|guard| guard.interface.as_deref() == Some("wg0") && guard.hook == expected);
        ensure!(there, "expected {expected} on wg0, but saw {status:?}");
        answered(ask_metrics(&hub, Patience::Long)?).with_context(|| format!("with {hook}"))?;
        rig.enforcer
            .expect_counted(Guard::Wire, Reason::Peer, METRICS, 1)?;
        let stranger = Ask::new(Transport::Tcp, &format!("{HOST_WG}:9100"));
        unanswered(stranger.ask(&hub.peers[2].namespace, Patience::Brief)?)
            .with_context(|| format!("a stranger with {hook}"))?;
        rig.enforcer
            .expect_counted(Guard::Wire, Reason::UnknownPeer, METRICS, 1)?;
        rig.enforcer.down()?;
    }
    Ok(())
}

/// The socket guard never sees the tunnel's own packets, so only the wire guard can shut this port.
fn own_port(rig: &Rig<'_>) -> Result<()> {
    let _server = metrics(rig)?;
    let registered =
        format!("{REGISTRY}\n[services.wireguard]\nports = [{LISTEN_PORT}]\nprotocol = \"udp\"\n");
    let hub = WireGuard::hub(rig.lab, Member::usual())?;
    rig.enforcer.up(Guards::Both)?;
    // The first packet of all, so this is a handshake through the guard on eth0.
    answered(ask_metrics(&hub, Patience::Long)?).context("its port is not registered")?;
    rig.enforcer.registry(&registered)?;
    rig.enforcer.reload()?;
    // A remade device knows no session, and must shake hands again.
    hub.remake()?;
    rig.enforcer.reload()?;
    unanswered(ask_metrics(&hub, Patience::Brief)?).context("its port is registered")?;
    let port = Port("udp", LISTEN_PORT);
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UntrustedInterface, port, 1)?;
    rig.enforcer.registry(REGISTRY)?;
    rig.enforcer.reload()?;
    hub.remake()?;
    rig.enforcer.reload()?;
    answered(ask_metrics(&hub, Patience::Long)?).context("its port is not registered any more")
}

/// Another device under the old name: no guard, no grant, and the socket guard in between.
fn remade(rig: &Rig<'_>) -> Result<()> {
    let hub = WireGuard::hub(rig.lab, Member::usual())?;
    let _server = metrics(rig)?;
    rig.enforcer.up(Guards::Both)?;
    answered(ask_metrics(&hub, Patience::Long)?).context("the allowed peer")?;
    hub.remake()?;
    let (code, status) = rig.enforcer.status()?;
    ensure!(
        code == Some(3) && status.uncovered.iter().any(|line| line.interface == "wg0"),
        "the new wg0 has no guard, and status must say so: {status:?}"
    );
    unanswered(ask_metrics(&hub, Patience::Brief)?).context("through the new device")?;
    // The tunnel works: the packet came through, and was dropped.
    rig.enforcer
        .expect_counted(Guard::Socket, Reason::UntrustedInterface, METRICS, 1)?;
    rig.enforcer.reload()?;
    answered(ask_metrics(&hub, Patience::Long)?).context("after a reload")?;
    rig.enforcer.down()
}
