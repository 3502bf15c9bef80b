//! The registry's files: folders that vanish, fragments that go, pipes, owners, and long texts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::lab::Enforcer;
use crate::lab::command::{eventually, finish};
use crate::lab::enforcer::{Guards, REGISTRY, SETTLE};
use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Rig, Scenario, all_host_only};

pub(super) fn scenarios() -> Vec<Scenario> {
    let all = vec![
        Scenario::new(
            "registry_files::run_names_the_ports_of_a_removed_fragment",
            removed,
        ),
        Scenario::new(
            "registry_files::reload_misses_a_folder_and_names_ports",
            missed,
        ),
        Scenario::new(
            "registry_files::up_names_the_ports_of_a_removed_fragment",
            removed_before_up,
        ),
        Scenario::new(
            "registry_files::a_restart_of_run_names_the_ports_of_a_removed_fragment",
            removed_between_runs,
        ),
        Scenario::new("registry_files::pipes_are_for_a_named_file", pipes),
        Scenario::new("registry_files::others_may_not_write", owners),
        Scenario::new("registry_files::check_tells_fifty", fifty),
    ];
    all_host_only(all, COMMAND_LINE)
}

const MONGO: &str = "[services.mongo]\nports = [27017]\n[services.more]\nports = [27018, 27019]\n";
const NAMED: [&str; 2] = [
    "service mongo: tcp port 27017 is guarded no longer",
    "service more: tcp ports 27018-27019 are guarded no longer",
];

/// Makes the folder of fragments with one fragment.
fn folder(rig: &Rig<'_>) -> Result<PathBuf> {
    let folder = rig.enforcer.config_path()?.with_extension("d");
    fs::create_dir(&folder)?;
    fs::write(folder.join("mongo.toml"), MONGO)?;
    Ok(folder)
}

fn removed(rig: &Rig<'_>) -> Result<()> {
    let folder = folder(rig)?;
    let _run = rig.enforcer.run(&[])?;
    fs::write(
        folder.join("other.toml"),
        "[services.other]\nports = [15000]\n",
    )?;
    let in_force = |generation: &str| {
        let text = format!("generation {generation} is in force");
        eventually(SETTLE, || {
            rig.enforcer.run_log().contains(&text).then_some(())
        })
    };
    in_force("2").context("a new fragment")?;
    let log = rig.enforcer.run_log();
    ensure!(!log.contains("guarded no longer"), "the control:\n{log}");
    fs::remove_file(folder.join("mongo.toml"))?;
    in_force("3").context("without a fragment")?;
    names_ports(rig)
}

/// Waits until `run` has named the ports: stdout and stderr have a thread each.
fn names_ports(rig: &Rig<'_>) -> Result<()> {
    let told = eventually(SETTLE, || {
        let log = rig.enforcer.run_log();
        NAMED.iter().all(|text| log.contains(text)).then_some(())
    });
    told.with_context(|| format!("not a word of the ports:\n{}", rig.enforcer.run_log()))
}

fn removed_before_up(rig: &Rig<'_>) -> Result<()> {
    let folder = folder(rig)?;
    for control in ["a first `up`", "an `up` without a change"] {
        let up = rig.enforcer.expect(&["up"], 0)?;
        ensure!(!up.stderr.contains("guarded no longer"), "{control}: {up}");
    }
    fs::remove_file(folder.join("mongo.toml"))?;
    let up = rig.enforcer.expect(&["up"], 0)?;
    for text in NAMED {
        let line = format!("note: {text}\n");
        ensure!(up.stderr.contains(&line), "not a word of `{text}`: {up}");
    }
    Ok(())
}

/// A fragment that goes while no `run` lives, and pins hold.
fn removed_between_runs(rig: &Rig<'_>) -> Result<()> {
    let folder = folder(rig)?;
    for control in ["a first `run`", "a restart without a change"] {
        drop(rig.enforcer.run(&[])?);
        let log = rig.enforcer.run_log();
        ensure!(!log.contains("guarded no longer"), "{control}:\n{log}");
    }
    fs::remove_file(folder.join("mongo.toml"))?;
    let _run = rig.enforcer.run(&[])?;
    names_ports(rig)
}

fn missed(rig: &Rig<'_>) -> Result<()> {
    let folder = folder(rig)?;
    rig.enforcer.up(Guards::Both)?;
    let aside = folder.with_extension("aside");
    fs::rename(&folder, &aside)?;
    for place in ["no folder", "an empty folder"] {
        for command in ["reload", "up"] {
            let refused = rig.enforcer.expect(&[command], 2)?;
            let text = "this folder of fragments is gone";
            ensure!(refused.stderr.contains(text), "{place}: {refused}");
        }
        fs::create_dir_all(&folder)?;
    }
    fs::remove_dir(&folder)?;
    fs::rename(&aside, &folder)?;
    // The control, and a fragment that is removed on purpose.
    let same = rig.enforcer.expect(&["reload"], 0)?;
    ensure!(!same.stderr.contains("guarded no longer"), "{same}");
    fs::remove_file(folder.join("mongo.toml"))?;
    let applied = rig.enforcer.expect(&["reload", "--json"], 0)?;
    let applied: serde_json::Value = serde_json::from_str(&applied.stdout)?;
    let notes = applied["notes"].as_array().context("no notes")?;
    for text in NAMED {
        let named =
            |note: &serde_json::Value| note["kind"] == "ports-released" && note["text"] == text;
        ensure!(notes.iter().any(named), "not a word of `{text}`: {applied}");
    }
    Ok(())
}

fn pipes(rig: &Rig<'_>) -> Result<()> {
    let config = rig.enforcer.config_path()?.display().to_string();
    let binary = rig.enforcer.binary().display().to_string();
    let mut shell = Command::new("bash");
    shell.args([
        "-c",
        &format!("{binary} check --config <(sleep 0.2; cat {config})"),
    ]);
    let read = finish(shell, "")?;
    ensure!(read.code == Some(0), "{read}");
    ensure!(!read.stderr.contains("root"), "nobody else's pipe: {read}");

    let pipe = rig.lab.scratch().join("pipe.toml");
    let waiting = Enforcer::at(rig.enforcer.binary(), rig.lab, pipe.clone())?;
    fs::remove_file(&pipe)?;
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    for command in ["check", "up", "reload"] {
        let begin = Instant::now();
        let given_up = waiting.expect(&[command], 2)?;
        ensure!(
            given_up.stderr.contains("did not answer within 5 s"),
            "{given_up}"
        );
        let took = begin.elapsed();
        ensure!(took < Duration::from_secs(15), "{command} took {took:?}");
    }
    Ok(())
}

fn owners(rig: &Rig<'_>) -> Result<()> {
    let file = rig.enforcer.config_path()?;
    let (text, cure) = (
        "may be written by others than root (mode 0666)",
        "chmod go-w",
    );
    let (_, control) = rig.enforcer.check()?;
    let tells = |warning: &str| warning.contains(text);
    ensure!(
        !control.warnings.iter().any(|it| tells(&it.message)),
        "{control:?}"
    );
    fs::set_permissions(file, fs::Permissions::from_mode(0o666))?;
    let (code, checked) = rig.enforcer.check()?;
    let told = checked.warnings.iter().find(|it| tells(&it.message));
    let help = told.and_then(|it| it.help.as_deref()).unwrap_or_default();
    ensure!(code == Some(0) && help.contains(cure), "{checked:?}");
    // A person has named the file.
    let up = rig.enforcer.call(&["up"])?;
    ensure!(up.code != Some(2) && up.stderr.contains(text), "{up}");
    let reload = rig.enforcer.expect(&["reload"], 0)?;
    ensure!(reload.stderr.contains(text), "{reload}");
    Ok(())
}

fn fifty(rig: &Rig<'_>) -> Result<()> {
    let ports = "0, ".repeat(1_000);
    rig.enforcer
        .registry(&format!("{REGISTRY}\n[services.bad]\nports = [{ports}]\n"))?;
    let (code, checked) = rig.enforcer.check()?;
    ensure!(
        code == Some(2) && checked.errors.len() == 50 && checked.more == 950,
        "{code:?}, {} errors and {} more",
        checked.errors.len(),
        checked.more
    );
    let words = rig.enforcer.expect(&["check"], 2)?;
    ensure!(words.stderr.contains("\nand 950 more\n"), "{words}");
    ensure!(words.stderr.contains("(1000 errors)"), "{words}");
    let longest = words.stderr.lines().map(|line| line.chars().count()).max();
    ensure!(
        longest.is_some_and(|longest| longest < 180),
        "{longest:?}\n{words}"
    );
    // The control.
    rig.enforcer.registry(REGISTRY)?;
    let (code, checked) = rig.enforcer.check()?;
    ensure!(code == Some(0) && checked.more == 0, "{checked:?}");
    Ok(())
}
