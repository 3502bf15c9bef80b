//! The capabilities of root's commands: few are needed, and `run` keeps no others.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::runner::expect_state;
use crate::lab::command::finish;
use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Rig, Scenario};

/// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF (linux/capability.h).
const KEPT: u64 = 1 << 12 | 1 << 38 | 1 << 39;

/// CAP_SYS_ADMIN, permitted and not effective, for the mount of a bpffs that vanished.
const RESERVE: u64 = 1 << 21;

/// The thread with the reserve.
const MOUNTS: &str = "operations";

/// The same, as setpriv(1) takes them.
const THREE: &str = "+net_admin,+cap_38,+cap_39";

/// The fields of /proc/PID/status (proc_pid_status(5)).
const SETS: [&str; 3] = ["CapPrm", "CapEff", "CapBnd"];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("run::keeps_three_capabilities", three_are_kept).host_only(COMMAND_LINE),
        // The kernel's demands differ from line to line.
        Scenario::new("up::needs_three_capabilities", three_suffice),
        Scenario::new("up::works_where_proc_hides_init", hidden_init).host_only(COMMAND_LINE),
    ]
}

fn three_are_kept(rig: &Rig<'_>) -> Result<()> {
    // The control: the scenarios themselves have more.
    for set in SETS {
        let has = capabilities("self", set)?;
        ensure!(has & !KEPT != 0, "{set} of the scenarios is {has:x} only");
    }
    let run = rig.enforcer.run(&[])?;
    for process in tasks(run.id())? {
        for set in SETS {
            let has = capabilities(&process, set)?;
            let expected = match set {
                "CapPrm" if name(&process)? == MOUNTS => KEPT | RESERVE,
                _ => KEPT,
            };
            ensure!(
                has == expected,
                "{set} of {process} is {has:x}, not {expected:x}"
            );
        }
        for (field, expected) in [("CapInh", "0"), ("CapAmb", "0"), ("NoNewPrivs", "1")] {
            let has = status(&process, field)?;
            let is_right = has.trim_start_matches('0') == expected.trim_start_matches('0');
            ensure!(is_right, "{field} of {process} is {has}, not {expected}");
        }
    }
    expect_state(rig, 0, "enforcing")
}

/// The name of a thread.
fn name(process: &str) -> Result<String> {
    let name = fs::read_to_string(format!("/proc/{process}/comm"));
    Ok(name.context("no name of a thread")?.trim().to_owned())
}

fn three_suffice(rig: &Rig<'_>) -> Result<()> {
    let bounded = |set: &str, arguments: &[&str]| {
        let mut command = rig.lab.host.command("setpriv");
        bound(rig, &mut command, set)?;
        command.args(arguments);
        finish(command, "")
    };
    // The control: with two of them, the third is named.
    let short = bounded("+net_admin,+cap_39", &["up"])?;
    ensure!(
        short.code == Some(1) && short.stderr.contains("CAP_PERFMON"),
        "expected the missing capability to be named, but {short}"
    );
    for arguments in [
        &["up"][..],
        &["status"],
        &["reload"],
        &["counters"],
        &["up"],
    ] {
        let finished = bounded(THREE, arguments)?;
        ensure!(
            finished.code == Some(0),
            "expected three capabilities to suffice, but {finished}"
        );
    }
    expect_state(rig, 0, "enforcing")?;
    let finished = bounded(THREE, &["down"])?;
    ensure!(finished.code == Some(0), "{finished}");
    expect_state(rig, 4, "off")
}

/// As under `ProtectProc=` in the strictest form: /proc shows no process with more capabilities.
fn hidden_init(rig: &Rig<'_>) -> Result<()> {
    const HIDE: &str = "mount -t proc -o hidepid=ptraceable proc /proc && exec setpriv \"$@\"";
    let behind = |program: &[&str]| {
        let mut command = rig.lab.host.command("unshare");
        command.args(["--mount", "sh", "-c", HIDE, "sh"]);
        if program.is_empty() {
            bound(rig, &mut command, THREE)?;
            command.arg("up");
        } else {
            command.arg(format!("--bounding-set=-all,{THREE}"));
            command.args(program);
        }
        finish(command, "")
    };
    // The control: the first process is hidden.
    let hidden = behind(&["test", "-e", "/proc/1"])?;
    ensure!(hidden.code == Some(1), "/proc/1 is there: {hidden}");
    let finished = behind(&[])?;
    ensure!(finished.code == Some(0), "{finished}");
    expect_state(rig, 0, "enforcing")?;
    rig.enforcer.down()
}

/// Gives setpriv the capabilities, and the enforcer with its global options as the program.
fn bound(rig: &Rig<'_>, command: &mut Command, set: &str) -> Result<()> {
    command
        .arg(format!("--bounding-set=-all,{set}"))
        .arg("--inh-caps=-all")
        .arg(rig.enforcer.binary())
        .arg("--pin-dir")
        .arg(rig.lab.pin_dir())
        .arg("--config")
        .arg(rig.enforcer.config_path()?)
        .env("NO_COLOR", "1");
    Ok(())
}

/// Returns each thread of a process, as a folder of /proc.
fn tasks(process: u32) -> Result<Vec<String>> {
    let folder = format!("/proc/{process}/task");
    let tasks = fs::read_dir(&folder).with_context(|| format!("failed to list {folder}"))?;
    let name = |task: fs::DirEntry| format!("{process}/task/{}", task.file_name().display());
    Ok(tasks.flatten().map(name).collect())
}

/// Returns a set of capabilities of a process, a bit for each.
fn capabilities(process: &str, set: &str) -> Result<u64> {
    let text = status(process, set)?;
    u64::from_str_radix(&text, 16).with_context(|| format!("{set} of {process} is `{text}`"))
}

/// Returns a field of a process.
fn status(process: &str, field: &str) -> Result<String> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let value = value.with_context(|| format!("{path} has no {field}"))?;
    Ok(value.trim().to_owned())
}
