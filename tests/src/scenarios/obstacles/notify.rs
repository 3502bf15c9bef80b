//! The socket of the service manager.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cell::Obstacle::Notify;
use super::cell::{Cell, State};
use super::files::remove;
use super::trial::{HEALING, Trial};

const NONE: Duration = Duration::ZERO;

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        Notify,
        State::Absent,
        "notify_absent",
        "a name without a socket",
        absent,
    ),
    Cell::tried(
        Notify,
        State::Hangs,
        "notify_hangs",
        "a full queue that nobody reads",
        hangs,
    ),
    Cell::left_out(Notify, State::Full, "as “hangs”: a full queue"),
    Cell::left_out(
        Notify,
        State::Foreign,
        "the parent of `run` names the socket: trusted",
    ),
    Cell::tried(
        Notify,
        State::Garbage,
        "notify_garbage",
        "a name that is no path",
        garbage,
    ),
    Cell::tried(
        Notify,
        State::Vanishes,
        "notify_vanishes",
        "the socket is removed",
        vanishes,
    ),
    Cell::tried(
        Notify,
        State::Returns,
        "notify_returns",
        "removed, and made again",
        returns,
    ),
];

fn path(trial: &Trial<'_>) -> PathBuf {
    trial.rig.lab.scratch().join("manager")
}

fn absent(trial: &mut Trial<'_>) -> Result<()> {
    let path = path(trial);
    trial.boot(NONE, |command| {
        command.env("NOTIFY_SOCKET", path);
        Ok(())
    })?;
    trial.says(&["service manager"])?;
    ends_well(trial)
}

/// All is in force, a newcomer too, and SIGTERM ends `run`.
fn ends_well(trial: &mut Trial<'_>) -> Result<()> {
    trial.guards_a_newcomer()?;
    trial.heals("nothing", HEALING, |_| Ok(()))?;
    trial.obeys()
}

fn hangs(trial: &mut Trial<'_>) -> Result<()> {
    let path = path(trial);
    let _manager = UnixDatagram::bind(&path)?;
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    let mut sent = 0;
    while sender.send_to(b"X=1", &path).is_ok() {
        sent += 1;
    }
    ensure!(sent > 0, "the socket took no message, so nothing is full");
    trial.boot(NONE, |command| {
        command.env("NOTIFY_SOCKET", &path);
        Ok(())
    })?;
    trial.says(&["service manager"])?;
    ends_well(trial)
}

fn garbage(trial: &mut Trial<'_>) -> Result<()> {
    trial.boot(NONE, |command| {
        command.env("NOTIFY_SOCKET", "\u{1}relative");
        Ok(())
    })?;
    trial.says(&["service manager"])?;
    ends_well(trial)
}

/// Lives with a socket of its own, which goes.
fn gone(trial: &mut Trial<'_>) -> Result<()> {
    trial.live(|_| Ok(()))?;
    remove(&trial.rig.lab.scratch().join("notify"))?;
    trial.guards_a_newcomer()?;
    trial.needs_no_word("nothing: READY was said");
    trial.stays_closed(Duration::from_secs(1))
}

fn vanishes(trial: &mut Trial<'_>) -> Result<()> {
    gone(trial)?;
    trial.obeys()
}

fn returns(trial: &mut Trial<'_>) -> Result<()> {
    gone(trial)?;
    let again = UnixDatagram::bind(trial.rig.lab.scratch().join("notify"))?;
    again.set_read_timeout(Some(Duration::from_secs(3)))?;
    trial.heals("made again", HEALING, |_| Ok(()))?;
    trial.obeys()?;
    let mut message = [0; 256];
    let length = again
        .recv(&mut message)
        .context("`run` told nothing of its end")?;
    ensure!(
        message[..length].starts_with(b"STOPPING=1"),
        "no word of the end"
    );
    Ok(())
}
