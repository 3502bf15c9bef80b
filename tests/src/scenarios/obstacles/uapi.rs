//! The sockets of userspace WireGuard, in /var/run/wireguard.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::cell::Obstacle::Uapi;
use super::cell::{Cell, State};
use super::files::{GARBAGE, NOBODY, give, mode, remove};
use super::trial::{GOOD, HEALING, Trial};
use crate::lab::command::eventually;
use crate::lab::mounts::{Change, with_mounts};
use crate::scenario::Rig;

/// The guards wait for no daemon.
const NONE: Duration = Duration::ZERO;
/// Devices, each with a peer.
pub(super) const DEVICES: [&str; 4] = ["t0", "t1", "t2", "t3"];

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        Uapi,
        State::Absent,
        "uapi_absent",
        "4 devices, no socket at boot",
        absent,
    ),
    Cell::tried(
        Uapi,
        State::Hangs,
        "uapi_hangs",
        "4 daemons that never answer at boot",
        hangs,
    ),
    Cell::tried(
        Uapi,
        State::Hangs,
        "uapi_hangs_at_restart",
        "a daemon that never answers at a restart, with a new interface",
        hangs_at_restart,
    ),
    Cell::tried(
        Uapi,
        State::Full,
        "uapi_full",
        "4 full queues of connections at boot",
        full,
    ),
    Cell::tried(
        Uapi,
        State::Foreign,
        "uapi_of_a_user",
        "sockets of a user at boot",
        foreign,
    ),
    Cell::tried(
        Uapi,
        State::Garbage,
        "uapi_garbage",
        "binary answers at boot",
        garbage,
    ),
    Cell::tried(
        Uapi,
        State::Vanishes,
        "uapi_vanishes",
        "the sockets are removed",
        vanishes,
    ),
    Cell::tried(
        Uapi,
        State::Returns,
        "uapi_returns",
        "removed, and made again",
        returns,
    ),
];

/// A key of a device's peer: in base64 for the registry.
fn key(device: usize) -> String {
    format!(
        "{}{}=",
        ["BAAA", "CAAA", "DAAA", "EAAA"][device],
        "A".repeat(39)
    )
}

/// The answer of a device's daemon, with the key in hex.
fn answer(device: usize) -> String {
    let key = ["04", "08", "0c", "10"][device].to_owned() + &"0".repeat(62);
    format!("public_key={key}\nallowed_ip=10.9.{device}.0/24\nerrno=0\n\n")
}

/// Four devices with peers by key, and a folder at /var/run. Returns the folder of the sockets.
pub(super) fn devices(rig: &Rig<'_>) -> Result<PathBuf> {
    let peers = "allow = [\"p0\", \"p1\", \"p2\", \"p3\"]";
    let mut registry = GOOD.replace("[9200]\n", &format!("[9200]\n{peers}\n"));
    for (number, device) in DEVICES.iter().enumerate() {
        rig.lab.host.ip(&format!(
            "tuntap add dev {device} mode tun
             addr add 10.9.{number}.1/24 dev {device}
             link set {device} up"
        ))?;
        registry.push_str(&format!(
            "[peers.p{number}]\ninterface = \"{device}\"\npublic-key = \"{}\"\n",
            key(number)
        ));
    }
    rig.enforcer.registry(&registry)?;
    let sockets = rig.lab.scratch().join("run").join("wireguard");
    fs::create_dir_all(&sockets)?;
    mode(&sockets, 0o755)?;
    mode(sockets.parent().unwrap_or(&sockets), 0o755)?;
    Ok(sockets)
}

pub(super) fn own_run(sockets: &Path) -> Result<Vec<Change>> {
    let run = sockets
        .parent()
        .context("the folder of sockets has a parent")?;
    Ok(vec![Change::bind(run, Path::new("/var/run"))?])
}

fn boot(trial: &mut Trial<'_>, sockets: &Path) -> Result<()> {
    let changes = own_run(sockets)?;
    trial.boot(NONE, |command| {
        with_mounts(command, changes);
        Ok(())
    })?;
    trial.share_mounts()?;
    trial.guards_a_newcomer()
}

pub(super) fn path(sockets: &Path, device: &str) -> PathBuf {
    sockets.join(format!("{device}.sock"))
}

/// Daemons that answer until the drop of this value.
pub(super) struct Daemons(Arc<AtomicBool>, PathBuf);

impl Daemons {
    pub(super) fn start(sockets: &Path, answer: impl Fn(usize) -> Vec<u8>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for (number, device) in DEVICES.iter().enumerate() {
            let path = path(sockets, device);
            remove(&path)?;
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            let (stopped, answer) = (Arc::clone(&stop), answer(number));
            std::thread::spawn(move || {
                while !stopped.load(Ordering::SeqCst) {
                    if let Ok((mut stream, _)) = listener.accept() {
                        let _ = stream.set_nonblocking(false);
                        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
                        let _ = stream.read(&mut [0; 64]);
                        let _ = stream.write_all(&answer);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        Ok(Self(stop, sockets.to_owned()))
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        for device in DEVICES {
            let _ = remove(&path(&self.1, device));
        }
    }
}

fn honest(sockets: &Path) -> Result<Daemons> {
    Daemons::start(sockets, |number| answer(number).into_bytes())
}

fn expect_peers(trial: &Trial<'_>, state: &str) -> Result<()> {
    let mut seen = String::new();
    eventually(HEALING, || {
        let (_, status) = trial.status().ok()?;
        seen = format!("{:?}", status.peers);
        let all = status
            .peers
            .iter()
            .all(|peer| peer.state.starts_with(state));
        (all && status.peers.len() == DEVICES.len()).then_some(())
    })
    .with_context(|| format!("expected all peers {state}, but saw {seen}"))
}

/// Heals by honest daemons, and waits until the peers are known.
fn heals(trial: &mut Trial<'_>, how: &str, sockets: &Path) -> Result<()> {
    let mut daemons = None;
    trial.heals(how, HEALING, |trial| {
        daemons = Some(honest(sockets)?);
        expect_peers(trial, "active")
    })
}

fn absent(trial: &mut Trial<'_>) -> Result<()> {
    let sockets = devices(trial.rig)?;
    boot(trial, &sockets)?;
    trial.says(&["wait"])?;
    expect_peers(trial, "waiting")?;
    heals(trial, "daemons that answer", &sockets)
}

fn hangs(trial: &mut Trial<'_>) -> Result<()> {
    let sockets = devices(trial.rig)?;
    let silent = DEVICES.map(|device| UnixListener::bind(path(&sockets, device)));
    let silent: Vec<UnixListener> = silent.into_iter().collect::<Result<_, _>>()?;
    boot(trial, &sockets)?;
    trial.says(&["wait"])?;
    expect_peers(trial, "waiting")?;
    drop(silent);
    heals(trial, "daemons that answer", &sockets)
}

/// The first question finds the guard of an interface that came up without a `run`.
fn hangs_at_restart(trial: &mut Trial<'_>) -> Result<()> {
    let sockets = devices(trial.rig)?;
    let daemons = honest(&sockets)?;
    let changes = own_run(&sockets)?;
    let again = changes.clone();
    trial.live(|command| {
        with_mounts(command, changes);
        Ok(())
    })?;
    trial.share_mounts()?;
    expect_peers(trial, "active")?;
    trial.obeys()?;
    drop(daemons);
    let silent = UnixListener::bind(path(&sockets, DEVICES[0]))?;
    silent.set_nonblocking(true)?;
    let host = &trial.rig.lab.host;
    host.ip("link add new0 type veth peer name new1\nlink set new0 up\nlink set new1 up")?;
    let pin = format!("link_wire_{}_", host.ifindex("new0")?);
    ensure!(!is_pinned(trial, &pin)?, "a guard without a `run`");
    trial.start_again(|command| {
        with_mounts(command, again);
        Ok(())
    })?;
    let asked = eventually(HEALING, || silent.accept().ok());
    asked.context("`run` asks no device")?;
    ensure!(
        is_pinned(trial, &pin)?,
        "a device was asked before the new interface got its guard"
    );
    trial.share_mounts()?;
    trial.says(&["wait"])?;
    drop(silent);
    heals(trial, "daemons that answer", &sockets)
}

/// Whether a pin with this begin exists.
fn is_pinned(trial: &Trial<'_>, begin: &str) -> Result<bool> {
    let mut pins = fs::read_dir(trial.rig.lab.pin_dir())?;
    Ok(pins.any(|pin| pin.is_ok_and(|pin| pin.file_name().to_string_lossy().starts_with(begin))))
}

fn full(trial: &mut Trial<'_>) -> Result<()> {
    let sockets = devices(trial.rig)?;
    let mut kept: Vec<OwnedFd> = Vec::new();
    let mut silent = Vec::new();
    for device in DEVICES {
        let path = path(&sockets, device);
        silent.push(UnixListener::bind(&path)?);
        let address = SocketAddrUnix::new(&path)?;
        let before = kept.len();
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            if connect(&socket, &address).is_err() {
                break;
            }
            kept.push(socket);
            ensure!(kept.len() - before < 10_000, "the queue has no end");
        }
    }
    boot(trial, &sockets)?;
    trial.says(&["wait"])?;
    expect_peers(trial, "waiting")?;
    drop((kept, silent));
    heals(trial, "daemons that answer", &sockets)
}

fn foreign(trial: &mut Trial<'_>) -> Result<()> {
    let sockets = devices(trial.rig)?;
    let planted = honest(&sockets)?;
    for device in DEVICES {
        give(&path(&sockets, device), NOBODY)?;
    }
    boot(trial, &sockets)?;
    trial.says(&["wait"])?;
    expect_peers(trial, "waiting")?;
    drop(planted);
    heals(trial, "sockets of root", &sockets)
}

fn garbage(trial: &mut Trial<'_>) -> Result<()> {
    let sockets = devices(trial.rig)?;
    let broken = Daemons::start(&sockets, |_| GARBAGE.to_vec())?;
    boot(trial, &sockets)?;
    trial.says(&["wait"])?;
    expect_peers(trial, "waiting")?;
    drop(broken);
    heals(trial, "daemons that answer", &sockets)
}

/// Lives with daemons that answer, which go.
fn gone(trial: &mut Trial<'_>) -> Result<PathBuf> {
    let sockets = devices(trial.rig)?;
    let daemons = honest(&sockets)?;
    let changes = own_run(&sockets)?;
    trial.live(|command| {
        with_mounts(command, changes);
        Ok(())
    })?;
    trial.share_mounts()?;
    expect_peers(trial, "active")?;
    drop(daemons);
    trial.says(&["wait", "the host has changed"])?;
    expect_peers(trial, "waiting")?;
    trial.guards_a_newcomer()?;
    Ok(sockets)
}

fn vanishes(trial: &mut Trial<'_>) -> Result<()> {
    gone(trial)?;
    trial.stays_closed(Duration::from_secs(1))
}

fn returns(trial: &mut Trial<'_>) -> Result<()> {
    let sockets = gone(trial)?;
    heals(trial, "daemons that answer", &sockets)
}
