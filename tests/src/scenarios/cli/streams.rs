//! Streams that are full or broken: the work of a command comes first, and the exit code tells of
//! the work.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::pipe::pipe;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::lab::Patience;
use crate::lab::command::{Daemon, eventually};
use crate::lab::enforcer::{REGISTRY, SETTLE};

use super::super::runner::{expect_state, unanswered};
use super::service::{from_lan, serve};
use crate::scenario::{Rig, Scenario};

/// A registry with a warning, of a port in the ephemeral range.
const WARNED: &str = "[services.high]\nports = [40000]\n";

/// A broken stream.
#[derive(Clone, Copy, Debug)]
enum Broken {
    /// The disk is full: ENOSPC.
    Full,
    /// The terminal has hung up: EIO.
    HungUp,
    /// The reader of the pipe has gone: EPIPE.
    NoReader,
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let stderr = [Broken::Full, Broken::HungUp, Broken::NoReader].map(|broken| {
        let name = format!("streams::stderr_changes_nothing::{broken:?}");
        Scenario::new(name.to_lowercase(), move |rig| stderr(rig, broken))
    });
    let codes = [
        (Broken::Full, 1),
        (Broken::HungUp, 1),
        (Broken::NoReader, 0),
    ];
    let stdout = codes.map(|(broken, code)| {
        let name = format!("streams::stdout_comes_after_the_work::{broken:?}");
        Scenario::new(name.to_lowercase(), move |rig| stdout(rig, broken, code))
    });
    let json = Scenario::new("streams::run_with_json_has_an_object_a_line", run_with_json);
    stderr.into_iter().chain(stdout).chain([json]).collect()
}

impl Broken {
    fn stream(self) -> Result<OwnedFd> {
        Ok(match self {
            Self::Full => OpenOptions::new().write(true).open("/dev/full")?.into(),
            Self::HungUp => {
                // A program that another scenario starts at this moment would keep the terminal.
                let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
                let terminal = openpt(flags).context("failed to make a terminal")?;
                grantpt(&terminal)?;
                unlockpt(&terminal)?;
                // The end of the other side hangs the terminal up.
                ioctl_tiocgptpeer(&terminal, flags)?
            }
            Self::NoReader => pipe()?.1,
        })
    }
}

/// Runs a command with these streams, and insists on the exit code.
fn expect(rig: &Rig<'_>, arguments: &[&str], streams: [Stdio; 2], code: i32) -> Result<()> {
    let mut command = rig.enforcer.command(arguments)?;
    let [out, err] = streams;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let ended = Daemon::spawn(command)?.expect_end(Duration::from_secs(20))?;
    ensure!(
        ended.code() == Some(code),
        "expected {code} of {arguments:?}, but it ended with {ended:?}"
    );
    Ok(())
}

fn stderr(rig: &Rig<'_>, broken: Broken) -> Result<()> {
    let _server = serve(rig, 40_000)?;
    let with_stderr = |arguments: &[&str], code| {
        expect(
            rig,
            arguments,
            [Stdio::null(), broken.stream()?.into()],
            code,
        )
    };
    rig.enforcer.registry(WARNED)?;
    with_stderr(&["check"], 0)?;
    with_stderr(&["counters"], 4)?;
    with_stderr(&["up"], 0)?;
    unanswered(from_lan(rig, 40_000, Patience::Brief)?)?;
    with_stderr(&["status"], 0)?;
    with_stderr(&["counters", "--service", "nonesuch"], 0)?;
    let generation = rig.enforcer.status()?.1.generation;
    with_stderr(&["reload"], 0)?;
    ensure!(
        rig.enforcer.status()?.1.generation > generation,
        "no reload"
    );
    with_stderr(&["reload", "--dry-run"], 0)?;
    with_stderr(&["confirm"], 1)?;
    rig.enforcer.registry("[services.x]\nports = [0]\n")?;
    for command in ["check", "reload", "up"] {
        with_stderr(&[command], 2)?;
    }
    expect_state(rig, 0, "enforcing")?;
    with_stderr(&["nonsense"], 2)?;
    with_stderr(&["down"], 0)?;
    with_stderr(&["reload"], 2)?;
    expect_state(rig, 4, "off")
}

/// Words that cannot be printed are a failure, and a reader that has seen enough is none.
fn stdout(rig: &Rig<'_>, broken: Broken, code: i32) -> Result<()> {
    let with_stdout = |arguments: &[&str]| {
        expect(
            rig,
            arguments,
            [broken.stream()?.into(), Stdio::null()],
            code,
        )
    };
    with_stdout(&["check"])?;
    with_stdout(&["up"])?;
    expect_state(rig, 0, "enforcing")?;
    let generation = rig.enforcer.status()?.1.generation;
    with_stdout(&["reload"])?;
    ensure!(
        rig.enforcer.status()?.1.generation > generation,
        "no reload"
    );
    for arguments in [&["status"][..], &["counters"], &["counters", "--json"]] {
        with_stdout(arguments)?;
    }
    with_stdout(&["down", "--json"])?;
    expect_state(rig, 4, "off")
}

/// `run --json`: a status is one line on stdout, and every sentence goes to stderr.
fn run_with_json(rig: &Rig<'_>) -> Result<()> {
    let path = rig.lab.scratch().join("run.json");
    let file = File::create(&path)?;
    let mut run = rig.enforcer.run_guided(&["--json"], |command| {
        command.stdout(file);
    })?;
    rig.enforcer
        .registry(&format!("{REGISTRY}[services.added]\nports = [15000]\n"))?;
    run.signal(Signal::HUP)?;
    let said = "generation";
    eventually(SETTLE, || {
        rig.enforcer.run_log().contains(said).then_some(())
    })
    .with_context(|| format!("no `{said}` on stderr: {}", rig.enforcer.run_log()))?;
    run.signal(Signal::TERM)?;
    run.expect_end(SETTLE)?;
    let text = std::fs::read_to_string(&path)?;
    ensure!(text.lines().count() > 0, "no status");
    for line in text.lines() {
        let object: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("no object: {line}"))?;
        ensure!(object["state"].is_string(), "no status: {line}");
    }
    let log = rig.enforcer.run_log();
    ensure!(log.contains("the guards stay on"), "{log}");
    Ok(())
}
