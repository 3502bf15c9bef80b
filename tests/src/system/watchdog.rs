//! The watchdog and the signals of the unit.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::flood::{Flood, to_host};
use super::host::{Host, reached, unreached};
use super::scenario::SystemScenario;
use super::service::{ELASTIC, EXAMPLE, REGISTRY, is_active, main_process, put, shut_to};
use crate::lab::command::eventually;
use crate::lab::enforcer::SETTLE;
use crate::lab::{Patience, Server, Transport};

/// `WatchdogSec=` and `TimeoutAbortSec=` of the unit, and the start of another `run`.
const LIMIT: Duration = Duration::from_secs(30 + 10 + 30);

const ADDED: &str = "192.168.77.1:15000";

pub(super) fn scenarios() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "service::the_watchdog_restarts_a_run_that_hangs",
            body: hang,
        },
        SystemScenario {
            name: "service::the_watchdog_leaves_a_living_run_alone",
            body: life,
        },
        SystemScenario {
            name: "service::hup_reloads_and_usr1_and_usr2_do_nothing",
            body: signals,
        },
    ]
}

/// A stopped process pings no more.
fn hang(host: &Host) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:9200", "es")?;
    host.guards_off()?;
    host.start_service()?;
    let first = main_process(host)?;
    let flood = Flood::start(host, to_host(), ELASTIC)?;
    let begun = Instant::now();
    kill(host, "STOP")?;
    let back = eventually(LIMIT, || {
        let next = main_process(host).ok()?;
        (next != first && next != "0" && is_active(host).ok()?).then_some(())
    });
    println!("restarted after {:.1} s", begun.elapsed().as_secs_f32());
    shut_to(flood)?;
    back.context("systemd did not restart the service")?;
    let status = host.enforcer(&["status"])?;
    ensure!(status.code == Some(0), "{status}");
    host.guards_off()
}

/// The control: twice the watchdog's time passes, and the process is the same.
fn life(host: &Host) -> Result<()> {
    host.guards_off()?;
    host.start_service()?;
    let first = main_process(host)?;
    std::thread::sleep(Duration::from_secs(65));
    let after = main_process(host)?;
    ensure!(
        first == after && is_active(host)?,
        "process {first} became {after}"
    );
    host.guards_off()
}

fn signals(host: &Host) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:15000", "added")?;
    host.guards_off()?;
    host.start_service()?;
    let first = main_process(host)?;
    reached(&host.ask_from_lan(ADDED, Patience::Long)?)?;
    let done = send_signals(host, &first);
    fs::remove_file(REGISTRY).ok();
    host.guards_off()?;
    done
}

fn send_signals(host: &Host, first: &str) -> Result<()> {
    let lives = |signal: &str| {
        let now = main_process(host)?;
        ensure!(
            now == first && is_active(host)?,
            "after {signal} process {first} became {now}"
        );
        anyhow::Ok(())
    };
    let generation = host.status()?.generation;
    for signal in ["USR1", "USR2"] {
        kill(host, signal)?;
        std::thread::sleep(Duration::from_secs(2));
        lives(signal)?;
        let after = host.status()?.generation;
        ensure!(
            after == generation,
            "{signal} made generation {after} of {generation}"
        );
    }
    put(
        REGISTRY,
        &(fs::read_to_string(EXAMPLE)? + "[services.added]\nports = [15000]\n"),
    )?;
    kill(host, "HUP")?;
    let is_new = || (host.status().ok()?.generation > generation).then_some(());
    eventually(SETTLE, is_new).context("HUP put no policy in force")?;
    unreached(&host.ask_from_lan(ADDED, Patience::Brief)?)?;
    lives("HUP")
}

fn kill(host: &Host, signal: &str) -> Result<()> {
    let words = ["systemctl", "kill", "--kill-whom=main", "--signal", signal];
    host.run(&[&words[..], &["enforcer"]].concat()).map(drop)
}
