//! The firewall goes, and the ports stay shut: firewalld's reload and restart, nft's flush.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use super::Row;
use super::containers::Container;
use super::flood::{Flood, Tally, to_host};
use super::host::{Host, reached, unreached};
use crate::lab::command::eventually;
use crate::lab::{Guards, Patience, Port, Server, Transport};

const ELASTIC: Port<'static> = Port("tcp", 9200);
/// How long firewalld may take to load its rules.
const LIMIT: Duration = Duration::from_secs(90);
const TO: &str = "192.168.77.1:9200";

pub(super) fn trials() -> Vec<Row> {
    vec![
        Row {
            name: "row_04_nft_flush::under_attack",
            body: nft_flush,
        },
        Row {
            name: "row_04_firewalld_reload_and_restart::under_attack",
            body: firewalld,
        },
    ]
}

/// A rule shuts the port until somebody flushes the rules.
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

    host.guards_on(Guards::Both)?;
    let flood = Flood::start(host, to_host(), ELASTIC)?;
    for _ in 0..10 {
        host.own.nft(SHUT)?;
        flush()?;
        unreached(&host.ask_from_lan(TO, Patience::Brief)?)?;
    }
    held(flood.stop()?)?;
    host.expect_counted(Guard::Wire, Reason::UntrustedInterface, ELASTIC)?;
    host.guards_off()
}

/// A host's own port that no zone opens: shut while firewalld runs, open while it restarts.
/// And a rootful container's, which netavark publishes anew after a reload.
fn firewalld(host: &Host) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:9200", "es")?;
    let _container = Container::start(host, "vault", &["-p", "8443:80", "-p", "8087:80"], "80")?;
    with_firewalld(host, || {
        host.guards_off()?;
        unreached(&host.ask_from_lan(TO, Patience::Brief)?)?;
        let tally = while_firewalld_goes(host, ELASTIC)?;
        ensure!(
            tally.accepted > 0,
            "expected firewalld's absence to open the port, but {tally:?}"
        );
        host.guards_on(Guards::Both)?;
        held(while_firewalld_goes(host, ELASTIC)?)?;
        held(while_firewalld_goes(host, Port("tcp", 8087))?)?;
        host.expect_counted(Guard::Wire, Reason::UntrustedInterface, ELASTIC)?;
        host.expect_counted(Guard::Wire, Reason::UntrustedInterface, Port("tcp", 8087))?;
        host.guards_off()
    })
}

fn while_firewalld_goes(host: &Host, port: Port<'static>) -> Result<Tally> {
    let flood = Flood::start(host, to_host(), port)?;
    host.run(&["firewall-cmd", "--reload"])?;
    stop(host)?;
    start(host)?;
    flood.stop()
}

/// Does `work` with firewalld in its default zone.
pub(super) fn with_firewalld(host: &Host, work: impl FnOnce() -> Result<()>) -> Result<()> {
    start(host)?;
    let done = work();
    stop(host)?;
    done
}

/// systemd calls firewalld started when it has its name on the bus, which is before its rules are
/// in force.
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
