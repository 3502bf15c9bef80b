//! Steps of the scenarios with a pending policy.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::command::{Finished, eventually, finish};
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::report::Status;
use crate::lab::topology::HOST_LAN;
use crate::lab::{Ask, Outcome, Patience, Server, Transport};
use crate::scenario::Rig;
use crate::scenarios::runner::answered;

/// The shortest time for a confirmation.
pub(super) const SHORT: Duration = Duration::from_secs(5);

/// A port that only the pending policy knows.
pub(super) const ADDED: u16 = 15_000;

/// The registry of the scenarios, and a service more.
pub(in crate::scenarios) fn candidate() -> String {
    format!("{REGISTRY}\n[services.added]\nports = [{ADDED}]\n")
}

/// `reload --confirm`, of a separate file: the registry that `run` watches stays unchanged.
pub(super) fn try_out_command(rig: &Rig<'_>, text: &str, time: &str) -> Result<Command> {
    let path = rig.lab.scratch().join("candidate.toml");
    std::fs::write(&path, text)?;
    let mut command = rig.lab.host.command(rig.enforcer.binary());
    command
        .arg("--pin-dir")
        .arg(rig.lab.pin_dir())
        .arg("--config")
        .arg(path)
        .args(["reload", "--confirm", time])
        .env("NO_COLOR", "1");
    Ok(command)
}

pub(super) fn try_out(rig: &Rig<'_>, text: &str, time: &str) -> Result<Finished> {
    finish(try_out_command(rig, text, time)?, "")
}

pub(in crate::scenarios) fn arm(rig: &Rig<'_>, text: &str, time: &str) -> Result<()> {
    try_out(rig, text, time)?.ok().map(drop)
}

pub(super) fn at(rig: &Rig<'_>, port: u16, patience: Patience) -> Result<Outcome> {
    Ask::new(Transport::Tcp, &format!("{HOST_LAN}:{port}")).ask(&rig.lab.lan, patience)
}

pub(super) fn serve(rig: &Rig<'_>, port: u16) -> Result<Server> {
    let address = format!("0.0.0.0:{port}");
    let server = Server::start(&rig.lab.host, Transport::Tcp, &address, "service")?;
    answered(at(rig, port, Patience::Long)?).context("before the enforcer was up")?;
    Ok(server)
}

pub(super) fn seconds_left(status: &Status) -> Option<u64> {
    status.confirm.as_ref().map(|confirm| confirm.seconds_left)
}

pub(super) fn status(rig: &Rig<'_>) -> Result<Status> {
    Ok(rig.enforcer.status()?.1)
}

pub(super) fn expect_armed(rig: &Rig<'_>, most: u64) -> Result<()> {
    let status = status(rig)?;
    let left = seconds_left(&status);
    ensure!(
        left.is_some_and(|left| left > 0 && left <= most) && !status.rolled_back,
        "expected a policy pending for at most {most} s, but saw {status:?}"
    );
    Ok(())
}

/// Waits until the port that only the pending policy forbids is open again.
pub(super) fn expect_open_again(rig: &Rig<'_>) -> Result<()> {
    let opens = || at(rig, ADDED, Patience::Brief).is_ok_and(|it| it.reached());
    eventually(SETTLE, || opens().then_some(()))
        .context("the pending policy was not rolled back in time")
}
