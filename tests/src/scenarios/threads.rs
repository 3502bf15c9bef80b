//! `run` where the kernel refuses threads, as at a limit of tasks.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::lab::Patience;
use crate::lab::command::{Daemon, eventually};
use crate::lab::enforcer::SETTLE;
use crate::scenario::{Rig, Scenario, host_only};

use super::lifecycle::{from_lan, service};
use super::runner::{expect_state, unanswered};

pub(super) fn scenarios() -> Vec<Scenario> {
    // The main thread alone, and the threads of both outputs too.
    let limits = [("none", 1), ("outputs", 3)];
    let scenarios = limits.map(|(name, limit)| {
        let name = format!("run::guards_and_lives_without_threads::{name}");
        Scenario::new(name, move |rig| without_threads(rig, limit)).host_only(host_only::LOADER)
    });
    scenarios.into()
}

/// The guards stand while every further thread is refused, and everything else follows once the
/// kernel gives threads again.
fn without_threads(rig: &Rig<'_>, limit: usize) -> Result<()> {
    let _server = service(rig)?;
    let cgroup = rig.lab.pids_cgroup()?;
    let most = cgroup.path().join("pids.max");
    fs::write(&most, limit.to_string()).context("failed to limit tasks")?;
    let mut command = rig.enforcer.command(&["run"])?;
    let log = File::create(rig.lab.scratch().join("run.log"))?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    join(&mut command, cgroup.path())?;
    let mut run = Daemon::spawn(command)?;
    let closes = || {
        let asked = from_lan(rig, Patience::Brief).and_then(unanswered);
        asked.is_ok().then_some(())
    };
    eventually(SETTLE, closes).context("without threads the host stayed open")?;
    if limit > 1 {
        let says = || {
            let log = rig.enforcer.run_log();
            log.contains("failed to start the thread of").then_some(())
        };
        eventually(SETTLE, says).context("`run` did not tell of its threads")?;
    }
    let ended = run.wait(SETTLE / 5)?;
    ensure!(
        ended.is_none(),
        "`run` has ended without threads: {ended:?}"
    );
    fs::write(&most, "max").context("failed to lift the limit")?;
    let follows = || expect_state(rig, 0, "enforcing").ok();
    eventually(SETTLE, follows)
        .with_context(|| format!("with threads again: {}", rig.enforcer.run_log()))?;
    unanswered(from_lan(rig, Patience::Brief)?).context("with threads again")
}

/// Puts a program into a cgroup, before its start.
fn join(command: &mut Command, cgroup: &Path) -> Result<()> {
    let processes = File::options()
        .write(true)
        .open(cgroup.join("cgroup.procs"))
        .context("failed to open a cgroup")?;
    let enter = move || {
        rustix::io::write(&processes, b"0")
            .map(drop)
            .map_err(Into::into)
    };
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(enter) };
    Ok(())
}
