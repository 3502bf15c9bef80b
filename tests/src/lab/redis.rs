//! Redis, the only service in the lab from outside the project.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use super::client::{Ask, Outcome, Patience};
use super::command::{Daemon, eventually};
use super::netns::Netns;
use super::topology::Lab;

/// A redis-server that listens on every address, as after an accidental publish.
#[derive(Debug)]
pub struct Redis {
    _server: Daemon,
}

impl Redis {
    /// Starts Redis on the lab's host and waits for an answer.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::start_in(lab, None)
    }

    /// Starts Redis in a cgroup.
    pub fn start_in(lab: &Lab, cgroup: Option<&Path>) -> Result<Self> {
        let mut command = lab.host.command("redis-server");
        command
            .args([
                "--bind",
                "0.0.0.0",
                "--port",
                "6379",
                "--protected-mode",
                "no",
            ])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .current_dir(lab.scratch())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(cgroup) = cgroup {
            join_before_exec(&mut command, cgroup)?;
        }
        let server = Daemon::spawn(command)?;
        eventually(Duration::from_secs(10), || {
            ping(&lab.host, "127.0.0.1:6379", Patience::Brief)
                .ok()
                .filter(Outcome::reached)
        })
        .context("redis-server did not answer on the loopback interface")?;
        Ok(Self { _server: server })
    }
}

/// Says PING to Redis and takes nothing but +PONG for an answer.
pub fn ping(from: &Netns, to: &str, patience: Patience) -> Result<Outcome> {
    Ask::command(to, b"PING\r\n")
        .ask(from, patience)
        .map(|outcome| match outcome {
            Outcome::Answered(line) if line.starts_with("+PONG") => {
                Outcome::Answered("redis".into())
            }
            Outcome::Answered(_) => Outcome::Refused,
            other => other,
        })
}

fn join_before_exec(command: &mut std::process::Command, cgroup: &Path) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let procs = std::fs::OpenOptions::new()
        .write(true)
        .open(cgroup.join("cgroup.procs"))
        .context("failed to open cgroup.procs")?;
    let join = move || {
        // 0 stands for the writing process.
        (&procs).write_all(b"0")
    };
    // SAFETY: between fork and exec the closure makes a single write call and allocates nothing.
    unsafe { command.pre_exec(join) };
    Ok(())
}
