//! The firewall goes, and the ports stay shut: firewalld's reload and restart, nft's flush.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use super::containers::Container;
use super::flood::{Flood, Tally, to_host};
use super::host::{Host, reached, unreached};
use super::scenario::SystemScenario;
use crate::lab::command::eventually;
use crate::lab::{Guards, Patience, Port, Server, Transport};

const ELASTIC: Port<'static> = Port("tcp", 9200);
/// The port of a rootful container, published by netavark.
const INFLUX: Port<'static> = Port("tcp", 8087);
/// Each guard alone and both together, with the counting guard.
const SETS: [(Guards, Guard); 3] = [
    (Guards::Wire, Guard::Wire),
    (Guards::Socket, Guard::Socket),
    (Guards::Both, Guard::Wire),
];
/// Time limit of firewalld for loading its rules.
const LIMIT: Duration = Duration::from_secs(90);
const TO: &str = "192.168.77.1:9200";

pub(super) fn scenarios() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "a04_nft_flush::under_attack",
            body: nft_flush,
        },
        SystemScenario {
            name: "a04_firewalld_reload_and_restart::under_attack",
            body: firewalld,
        },
    ]
}

/// A rule shuts the port until the rules are flushed.
fn nft_flush(host: &Host) -> Result<()> {
    const SHUT: &str = "table inet shut {
           chain in {
             type filter hook input priority 0
             iifname lan0 tcp dport 9200 drop
           }
         }";
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:9200", "es")?;
    let flush = || host.own.nft("flush ruleset");

    host.guards_off()?;
    host.own.nft(SHUT)?;
    unreached(&host.ask_from_lan(TO, Patience::Brief)?)?;
    flush()?;
    reached(&host.ask_from_lan(TO, Patience::Long)?)?;

    for (guards, guard) in SETS {
        host.guards_on(guards)?;
        let flood = Flood::start(host, to_host(), ELASTIC)?;
        for _ in 0..4 {
            host.own.nft(SHUT)?;
            flush()?;
            unreached(&host.ask_from_lan(TO, Patience::Brief)?)?;
        }
        held(flood.stop()?).with_context(|| format!("with the guards `{}`", guards.name()))?;
        host.expect_counted(guard, Reason::UntrustedInterface, ELASTIC)?;
        // The next guards count from zero.
        host.guards_off()?;
    }
    Ok(())
}

/// Two ports: a host's own port without an open zone, shut while firewalld runs and open during a
/// restart; and a rootful container's, published anew by netavark after a reload.
fn firewalld(host: &Host) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:9200", "es")?;
    let _container = Container::start(host, "influxdb3", &["-p", "8087:80"], "80")?;
    with_firewalld(host, || {
        host.guards_off()?;
        unreached(&host.ask_from_lan(TO, Patience::Brief)?)?;
        for tally in while_firewalld_goes(host, &[ELASTIC, INFLUX])? {
            ensure!(
                tally.accepted > 0,
                "expected both ports to be open without firewalld, but {tally:?}"
            );
        }
        for (guards, guard) in SETS {
            host.guards_on(guards)?;
            // Packets for a container meet the wire guard alone, the same in both sets.
            let ports: &[_] = match guards {
                Guards::Both => &[ELASTIC, INFLUX],
                Guards::Wire | Guards::Socket => &[ELASTIC],
            };
            for (tally, port) in while_firewalld_goes(host, ports)?.into_iter().zip(ports) {
                held(tally).with_context(|| format!("{port}, guards `{}`", guards.name()))?;
                host.expect_counted(guard, Reason::UntrustedInterface, *port)?;
            }
            host.guards_off()?;
        }
        Ok(())
    })
}

/// Floods these ports while firewalld reloads, ends and comes back.
fn while_firewalld_goes(host: &Host, ports: &[Port<'static>]) -> Result<Vec<Tally>> {
    let start_one = |port: &Port<'static>| Flood::start(host, to_host(), *port);
    let floods = ports.iter().map(start_one).collect::<Result<Vec<_>>>()?;
    host.run(&["firewall-cmd", "--reload"])?;
    stop(host)?;
    start(host)?;
    floods.into_iter().map(Flood::stop).collect()
}

/// Runs `work` with firewalld in the default zone.
pub(super) fn with_firewalld(host: &Host, work: impl FnOnce() -> Result<()>) -> Result<()> {
    start(host)?;
    let done = work();
    stop(host)?;
    done
}

/// systemd calls firewalld started once the name is on the bus, before the rules are in force.
fn start(host: &Host) -> Result<()> {
    host.run(&["systemctl", "start", "firewalld"])?;
    eventually(LIMIT, || {
        let state = host.call(&["firewall-cmd", "--state"]).ok()?;
        (state.code == Some(0)).then_some(())
    })
    .context("firewalld did not come to run")
}

fn stop(host: &Host) -> Result<()> {
    host.run(&["systemctl", "stop", "firewalld"])?;
    let rules = host.own.nft_list()?;
    ensure!(
        !rules.contains("table inet firewalld"),
        "rules were left:\n{rules}"
    );
    Ok(())
}

fn held(tally: Tally) -> Result<()> {
    ensure!(tally.sent > 50, "too few SYNs to prove anything: {tally:?}");
    ensure!(tally.accepted == 0, "the port was open: {tally:?}");
    Ok(())
}
