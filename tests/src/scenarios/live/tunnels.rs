//! Tunnels that change without a notice of rtnetlink.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::command::eventually;
use crate::lab::enforcer::REGISTRY;
use crate::lab::topology::HOST_WG;
use crate::lab::wireguard::Member;
use crate::lab::{Ask, Feature, Patience, Server, Transport, WireGuard};
use crate::scenario::{Rig, Scenario};
use crate::scenarios::runner::answered;

/// A port outside the client ranges.
const PORT: &str = "4000";

/// Longest time until peers reach a moved port: a poll, a look, and the 5 seconds until WireGuard
/// shakes hands again (whitepaper, section 6.1).
const PROMISED: Duration = Duration::from_secs(12);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("live::wireguards_port_moves", port_moves).needs(Feature::WireGuard)]
}

/// `wg set wg0 listen-port` under a policy that closes UDP ports without a service.
fn port_moves(rig: &Rig<'_>) -> Result<()> {
    let hub = WireGuard::hub(rig.lab, Member::usual())?;
    let _server = Server::start(&rig.lab.host, Transport::Tcp, "0.0.0.0:9100", "metrics")?;
    let closed = format!("{REGISTRY}\n[unregistered]\nudp = \"drop\"\n");
    rig.enforcer.registry(&closed)?;
    let _run = rig.enforcer.run(&[])?;
    let ask = Ask::new(Transport::Tcp, &format!("{HOST_WG}:9100"));
    let collector = &hub.peers[0].namespace;
    answered(ask.ask(collector, Patience::Long)?).context("before the move")?;
    hub.set(&["listen-port", PORT])?;
    eventually(PROMISED, || {
        // The peers learn the port from the hub's own packets.
        hub.greet().ok()?;
        let outcome = ask.ask(collector, Patience::Brief).ok()?;
        outcome.reached().then_some(())
    })
    .with_context(|| format!("after the move; `run` said\n{}", rig.enforcer.run_log()))
}
