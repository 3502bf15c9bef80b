//! Obstacles in the way of the unit's start, and losses while the unit lives: the host stays shut.
//!
//! A start is a boot in small. The interface to the LAN is down as long as systemd waits for the
//! unit, as network managers start after network-pre.target; a flood of SYNs meets the interface
//! from the first moment on. The first part of each case is the control: the same without the unit.

mod files;
mod losses;
mod peers;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::boot::moment;
use super::flood::{Flood, Tally, to_host};
use super::host::Host;
use super::scenario::SystemScenario;
use crate::lab::command::{Daemon, eventually};
use crate::lab::topology::{GHOST, LAN, LAN_MAC};
use crate::lab::{Port, Server, Transport};

pub(super) use files::obstruct;
pub(super) use peers::HungDaemons;

/// The registered port under attack.
const ELASTIC: Port<'static> = Port("tcp", 9200);

/// Longest delay of the guards beyond the obstacle's own limit. Half of the time of a start without
/// obstacles may come on top: an emulated processor is not even.
const DELAY: Duration = Duration::from_secs(1);

/// Longest time in which what was lost is put back.
const RESTORED: Duration = Duration::from_secs(30);

/// Path of the administrator's registry, and of the folder of its fragments.
const REGISTRY: &str = "/etc/enforcer/enforcer.toml";
const FRAGMENTS: &str = "/etc/enforcer/enforcer.d";
/// The built-in registry, as installed for reading.
const EXAMPLE: &str = "/usr/local/share/doc/enforcer/enforcer.toml";
/// Folder of drop-ins that end with the guest.
const DROP_INS: &str = "/run/systemd/system/enforcer.service.d";
/// The file system of the pins, and the pins.
const BPFFS: &str = "/sys/fs/bpf";
const PINS: &str = "/sys/fs/bpf/enforcer";

pub(super) fn scenarios() -> Vec<SystemScenario> {
    let mut all = files::scenarios();
    all.extend(peers::scenarios());
    all.extend(losses::scenarios());
    all
}

/// What an obstacle leaves to be undone, in the reverse order.
#[derive(Default)]
struct Undo(Vec<Box<dyn FnOnce()>>);

impl Undo {
    fn later(&mut self, step: impl FnOnce() + 'static) {
        self.0.push(Box::new(step));
    }

    /// Keeps a value until then.
    fn keep(&mut self, value: impl Sized + 'static) {
        self.later(move || drop(value));
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        while let Some(step) = self.0.pop() {
            step();
        }
    }
}

/// Starts the unit behind an obstacle, whose own limit is `limit`.
fn start_behind(
    host: &Host,
    limit: Duration,
    obstacle: impl FnOnce(&Host, &mut Undo) -> Result<()>,
) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:9200", "es")?;
    let mut undo = Undo::default();
    let judged = judge_start(host, limit, obstacle, &mut undo);
    drop(undo);
    clean_up(host)?;
    judged
}

fn judge_start(
    host: &Host,
    limit: Duration,
    obstacle: impl FnOnce(&Host, &mut Undo) -> Result<()>,
    undo: &mut Undo,
) -> Result<()> {
    host.guards_off()?;
    let plain = plain_start(host)?;
    unplug(host)?;
    let control = plugged_in(host)?;
    ensure!(control.accepted > 0, "the control: {control:?}");
    unplug(host)?;
    obstacle(host, undo).context("failed to set the obstacle up")?;
    let started = host.call(&["systemctl", "start", "enforcer"])?;
    let tally = plugged_in(host)?;
    let journal = host.call(&["journalctl", "-u", "enforcer", "--no-pager", "-n", "12"])?;
    ensure!(
        tally.accepted == 0,
        "the port was open: {tally:?}\n{started}\n{journal}"
    );
    ensure!(started.code == Some(0), "{started}");
    is_guarded(host)?;
    let took = time_to_guards(host)?;
    let most = plain * 3 / 2 + DELAY + limit;
    println!("{took:?} to the guards, {plain:?} without an obstacle; then {tally:?}");
    ensure!(
        took <= most,
        "the guards took {took:?}, and the limit is {most:?}"
    );
    Ok(())
}

/// Returns the time of a start without obstacles.
fn plain_start(host: &Host) -> Result<Duration> {
    static TIME: OnceLock<Duration> = OnceLock::new();
    if let Some(time) = TIME.get() {
        return Ok(*time);
    }
    host.start_service()?;
    let time = time_to_guards(host)?;
    host.guards_off()?;
    Ok(*TIME.get_or_init(|| time))
}

/// Returns the time from the program's start to READY, at the last start of the unit.
pub(super) fn time_to_guards(host: &Host) -> Result<Duration> {
    let moment = |property| moment(host, "enforcer.service", property);
    let begun = moment("ExecMainStartTimestampMonotonic")?;
    let ready = moment("ActiveEnterTimestampMonotonic")?;
    Ok(Duration::from_micros(ready.saturating_sub(begun)))
}

/// Loses something while the unit lives and a flood comes in; what was lost is put back.
fn lose(
    host: &Host,
    prepare: impl FnOnce(&Host, &mut Undo) -> Result<()>,
    loss: impl FnOnce(&Host) -> Result<()>,
) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:9200", "es")?;
    let mut undo = Undo::default();
    let judged = judge_loss(host, prepare, loss, &mut undo);
    drop(undo);
    clean_up(host)?;
    judged
}

fn judge_loss(
    host: &Host,
    prepare: impl FnOnce(&Host, &mut Undo) -> Result<()>,
    loss: impl FnOnce(&Host) -> Result<()>,
    undo: &mut Undo,
) -> Result<()> {
    host.guards_off()?;
    let flood = Flood::start(host, to_host(), ELASTIC)?;
    enough(&flood)?;
    let control = flood.stop()?;
    ensure!(control.accepted > 0, "the control: {control:?}");
    prepare(host, undo)?;
    host.start_service()?;
    let whole = is_guarded(host).context("before the loss")?;
    let flood = Flood::start(host, to_host(), ELASTIC)?;
    enough(&flood)?;
    let lost = Instant::now();
    loss(host)?;
    // A state from before the loss is no proof.
    std::thread::sleep(Duration::from_secs(1));
    // Guards that no pin reaches hold too, in a degraded state.
    let is_whole = || is_guarded(host).is_ok_and(|code| code == whole) && has_pins();
    let restored = eventually(RESTORED, || is_whole().then_some(()));
    let took = lost.elapsed();
    enough(&flood)?;
    let tally = flood.stop()?;
    println!("guarded again after {:.1} s: {tally:?}", took.as_secs_f32());
    ensure!(tally.accepted == 0, "the port was open: {tally:?}");
    restored.context("not guarded again")
}

/// Returns the exit code of `status` where the guards hold, if only in a degraded state.
fn is_guarded(host: &Host) -> Result<i32> {
    let finished = host.enforcer(&["status"])?;
    match finished.code {
        Some(code @ (0 | 3)) => Ok(code),
        _ => bail!("{finished}"),
    }
}

/// Whether the pins are in their place.
fn has_pins() -> bool {
    Path::new(PINS).join("link_socket").exists()
}

/// Takes the guest's end of the LAN down.
fn unplug(host: &Host) -> Result<()> {
    host.own.ip("link set lan0 down")
}

/// Brings the guest's end of the LAN up under a flood, and returns the result of the flood.
fn plugged_in(host: &Host) -> Result<Tally> {
    let flood = Flood::start(host, to_host(), ELASTIC)?;
    plug(host)?;
    let before = flood.sent();
    eventually(Duration::from_secs(30), || {
        (flood.sent() > before + 100).then_some(())
    })
    .context("the flood dried up")?;
    flood.stop()
}

/// The kernel forgets routes and neighbours of an interface that goes down.
fn plug(host: &Host) -> Result<()> {
    let mac = super::host::mac(LAN_MAC);
    host.own.ip(&format!(
        "link set lan0 up
         route replace default via {LAN}
         neigh replace {GHOST} lladdr {mac} dev lan0 nud permanent"
    ))
}

/// Waits for another hundred SYNs.
fn enough(flood: &Flood) -> Result<()> {
    let before = flood.sent();
    eventually(Duration::from_secs(30), || {
        (flood.sent() > before + 100).then_some(())
    })
    .context("the flood dried up")
}

/// Brings the guest back to the state before a case.
fn clean_up(host: &Host) -> Result<()> {
    fs::remove_file(REGISTRY).ok();
    fs::remove_file(FRAGMENTS).ok();
    fs::remove_dir_all(FRAGMENTS).ok();
    fs::remove_dir_all(DROP_INS).ok();
    host.run(&["systemctl", "daemon-reload"])?;
    host.call(&["systemctl", "reset-failed", "enforcer"])?;
    plug(host)?;
    host.guards_off()
}

/// Gives the unit further lines.
fn drop_in(host: &Host, lines: &str) -> Result<()> {
    fs::create_dir_all(DROP_INS)?;
    fs::write(Path::new(DROP_INS).join("obstacle.conf"), lines)?;
    host.run(&["systemctl", "daemon-reload"]).map(drop)
}

/// Writes a registry with the built-in services and more.
fn registry(more: &str) -> Result<()> {
    fs::create_dir_all("/etc/enforcer")?;
    fs::write(REGISTRY, fs::read_to_string(EXAMPLE)? + more)?;
    Ok(())
}

/// Starts a program of a user without privileges.
fn as_nobody(host: &Host, words: &[&str]) -> Result<Daemon> {
    let mut command = host.own.command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(words)
        .stdin(std::process::Stdio::null());
    Daemon::spawn(command)
}
