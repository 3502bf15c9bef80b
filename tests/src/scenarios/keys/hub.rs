//! A WireGuard hub with a laptop and a stranger, kernel's or userspace's, and the bodies of scenarios
//! with either.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::command::{Finished, finish};
use crate::lab::enforcer::REGISTRY;
use crate::lab::topology::{PEER, STRANGER};
use crate::lab::{Guards, Outcome, Patience, Port, Server, Transport};
use crate::scenario::Rig;
use crate::scenarios::runner::{answered, unanswered};

/// The laptop's service.
pub(super) const METRICS: Port<'static> = Port("tcp", 9100);

/// A key of no device in the lab: RFC 7748, section 6.1, Bob's.
pub(super) const NOBODY: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

/// The asking peer of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scenarios) enum Who {
    /// A peer with a key in the registry.
    Laptop,
    /// A peer with a key in WireGuard alone.
    Stranger,
}

/// The lab's wg0 as a WireGuard device, with two peers.
pub(in crate::scenarios) trait Hub {
    /// The laptop's public key, in base64.
    fn laptop(&self) -> &str;
    /// Asks the metrics, from an address of the tunnel.
    fn ask(&self, who: Who, from: Ipv4Addr, patience: Patience) -> Result<Outcome>;
    /// Sets the sources that each peer may use.
    fn allow(&self, laptop: &[&str], stranger: &[&str]) -> Result<()>;
    /// Forgets the laptop's key.
    fn forget_laptop(&self) -> Result<()>;
    /// Sets the sources that the stranger alone may use.
    fn allow_stranger(&self, prefixes: &[&str]) -> Result<()>;
    /// Adds the laptop's key again after `forget_laptop`, with the endpoint of the laptop's device.
    fn come_back(&self, prefixes: &[&str]) -> Result<()>;
    /// Prepares a command of the enforcer to find this WireGuard.
    fn guide(&self, _: &mut Command) {}
}

/// The lab's registry with the laptop in the place of the collector.
pub(in crate::scenarios) fn registry(key: &str) -> String {
    let by_key = format!("[peers.laptop]\ninterface = \"wg0\"\npublic-key = \"{key}\"\n");
    let (services, _) = REGISTRY
        .split_once("[peers.collector]")
        .unwrap_or((REGISTRY, ""));
    services.replace("[\"collector\"]", "[\"laptop\"]") + &by_key
}

/// Runs the enforcer where the hub's WireGuard can be found.
pub(super) fn call(
    rig: &Rig<'_>,
    hub: &dyn Hub,
    arguments: &[&str],
    code: i32,
) -> Result<Finished> {
    let mut command = rig.enforcer.command(arguments)?;
    hub.guide(&mut command);
    ended(finish(command, "")?, code)
}

/// Insists on an exit code.
pub(super) fn ended(finished: Finished, code: i32) -> Result<Finished> {
    ensure!(
        finished.code == Some(code),
        "expected exit code {code}, but {finished}"
    );
    Ok(finished)
}

/// Insists on the words of `status` about the laptop, and on the exit code.
pub(in crate::scenarios) fn laptop(
    rig: &Rig<'_>,
    hub: &dyn Hub,
    code: i32,
    words: &str,
) -> Result<()> {
    says(&call(rig, hub, &["status"], code)?, words)
}

/// Insists on these words about the laptop in a `status`.
pub(super) fn says(status: &Finished, words: &str) -> Result<()> {
    let mut lines = status.stdout.lines();
    let said = lines.find_map(|line| line.strip_prefix("laptop"));
    ensure!(
        said.is_some_and(|said| said.contains(words)),
        "expected `{words}` of the laptop, but {status}"
    );
    Ok(())
}

pub(super) fn metrics(rig: &Rig<'_>) -> Result<Server> {
    Server::start(&rig.lab.host, Transport::Tcp, "0.0.0.0:9100", "metrics")
}

/// A21: the laptop's prefix is wider than the stranger's, which lies inside.
pub(super) fn hole(rig: &Rig<'_>, hub: &dyn Hub, guards: Guards) -> Result<()> {
    let _server = metrics(rig)?;
    hub.allow(&["10.10.0.0/24", "fd00:10::/64"], &["10.10.0.99/32"])?;
    let stranger = |patience| hub.ask(Who::Stranger, STRANGER, patience);
    answered(hub.ask(Who::Laptop, PEER, Patience::Long)?).context("the laptop, unguarded")?;
    answered(stranger(Patience::Long)?).context("the stranger, unguarded")?;

    rig.enforcer.registry(&registry(hub.laptop()))?;
    let up = ["up", "--static-peers", "--guards", guards.name()];
    call(rig, hub, &up, guards.exit_code())?;
    laptop(rig, hub, guards.exit_code(), "active")?;
    answered(hub.ask(Who::Laptop, PEER, Patience::Long)?).context("the laptop, by its key")?;
    unanswered(stranger(Patience::Brief)?).context("the stranger in the laptop's prefix")?;
    let first = match guards {
        Guards::Wire | Guards::Both => Guard::Wire,
        Guards::Socket => Guard::Socket,
    };
    rig.enforcer
        .expect_counted(first, Reason::Peer, METRICS, 1)?;
    rig.enforcer
        .expect_counted(first, Reason::UnknownPeer, METRICS, 1)?;
    for (source, reason, peer) in [
        (PEER, "peer", Some("laptop")),
        (STRANGER, "unknown-peer", None),
    ] {
        let source = source.to_string();
        let said =
            rig.enforcer
                .explain(&["--interface", "wg0", "--port", "9100", "--source", &source])?;
        ensure!(
            said.reason == reason && said.peer.as_deref() == peer,
            "`explain` does not know whose {source} is: {said:?}"
        );
    }

    rig.enforcer.down()?;
    answered(stranger(Patience::Long)?).context("the stranger, unguarded again")
}

/// AllowedIPs that move, go and come back: each reload reads their present state.
pub(super) fn follow(rig: &Rig<'_>, hub: &dyn Hub) -> Result<()> {
    let _server = metrics(rig)?;
    let at_home = || hub.allow(&["10.10.0.5/32"], &["10.10.0.99/32"]);
    let asks = |patience| hub.ask(Who::Laptop, PEER, patience);
    let poses = |patience| hub.ask(Who::Stranger, PEER, patience);
    at_home()?;
    rig.enforcer.registry(&registry(hub.laptop()))?;
    call(rig, hub, &["up", "--static-peers"], 0)?;
    answered(asks(Patience::Long)?).context("the laptop at home")?;

    // The address becomes the stranger's; the policy is as old as the last command, and says so.
    hub.allow(&[], &["10.10.0.5/32", "10.10.0.99/32"])?;
    answered(poses(Patience::Long)?).context("the stranger at that address, before the reload")?;
    let stale = call(rig, hub, &["status"], 3)?;
    ensure!(
        stale.stdout.contains("the keys of wg0"),
        "`status` should say that AllowedIPs have changed: {stale}"
    );
    let dry = call(rig, hub, &["reload", "--dry-run"], 5)?;
    ensure!(
        dry.stdout.contains("- peer laptop") && dry.stdout.contains("~ the keys of wg0"),
        "`reload --dry-run` should say it too: {dry}"
    );
    call(rig, hub, &["reload"], 0)?;
    laptop(rig, hub, 0, "waiting: its key has no AllowedIPs on wg0")?;
    unanswered(poses(Patience::Brief)?).context("the stranger at that address")?;
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UntrustedInterface, METRICS, 1)?;

    at_home()?;
    call(rig, hub, &["reload"], 0)?;
    laptop(rig, hub, 0, "active")?;
    answered(asks(Patience::Long)?).context("the laptop, back at home")?;

    hub.forget_laptop()?;
    let said = call(rig, hub, &["reload"], 0)?;
    ensure!(
        said.stderr.contains("peer laptop waits"),
        "`reload` should say who waits: {said}"
    );
    laptop(rig, hub, 0, "waiting: wg0 has no peer with its key")?;

    rig.enforcer.registry(&registry(NOBODY))?;
    call(rig, hub, &["reload"], 0)?;
    laptop(rig, hub, 0, "waiting: wg0 has no peer with its key")
}
