//! What a killed `run` left, and pins that another namespace put in the place of those in force.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::lab::command::{eventually, finish};
use crate::lab::enforcer::SETTLE;
use crate::lab::{Guards, Patience};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::super::runner::{answered, expect_state, unanswered};
use super::{from_lan, service};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "pins::a_killed_rescue_blocks_no_other::with_guards",
            |rig| rescue(rig, |_| Ok(())),
        )
        .host_only(LOADER),
        Scenario::new(
            "pins::a_killed_rescue_blocks_no_other::without_guards",
            |rig| rescue(rig, remove_links),
        )
        .host_only(LOADER),
        Scenario::new("pins::run_holds_no_pins_of_another_namespace", replaced)
            .host_only(LOADER)
            .takes_long(),
    ]
}

/// The place beside the pins where `run` builds a set without the lock.
fn rescue_of(pins: &Path) -> PathBuf {
    let name = pins.file_name().unwrap_or_default().to_string_lossy();
    pins.with_file_name(format!("{name}_enforcer_rescue"))
}

/// The file of the writers' lock.
fn lock_of(pins: &Path) -> Result<PathBuf> {
    let parent = fs::metadata(pins.parent().context("no parent")?)?;
    let name = pins.file_name().unwrap_or_default().to_string_lossy();
    let file = format!("{:x}-{:x}-{name}.lock", parent.dev(), parent.ino());
    Ok(Path::new("/run/enforcer").join(file))
}

fn remove_links(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("link_") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// A process has the lock for ever. A `run` was killed while it built its set without the lock, as
/// far as `prepare` leaves it, and the next `run` starts.
fn rescue(rig: &Rig<'_>, prepare: fn(&Path) -> Result<()>) -> Result<()> {
    let _server = service(rig)?;
    rig.enforcer.up(Guards::Both)?;
    let pins = rig.lab.pin_dir();
    let rest = rescue_of(&pins);
    fs::rename(&pins, &rest)?;
    prepare(&rest)?;
    let path = lock_of(&pins)?;
    let lock = File::open(&path).with_context(|| format!("no lock at {}", path.display()))?;
    lock.lock()?;
    let run = rig.enforcer.run(&[])?;
    let log = rig.enforcer.run_log();
    ensure!(log.contains("the lock of the pins"), "the control: {log}");
    unanswered(from_lan(rig, Patience::Brief)?)?;
    ensure!(!rest.exists(), "{} is left", rest.display());
    drop(lock);
    rig.enforcer.reload()?;
    expect_state(rig, 0, "enforcing")?;
    drop(run);
    rig.enforcer.down()?;
    answered(from_lan(rig, Patience::Long)?).context("after `down`")
}

/// Root removes the pins of a living `run`, and another namespace's take their place.
fn replaced(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    let pins = rig.lab.pin_dir();
    let name = pins.file_name().unwrap_or_default().to_string_lossy();
    let theirs = pins.with_file_name(format!("{name}_theirs"));
    let elsewhere = |command: &str| finish(rig.enforcer.command_in(&rig.lab.lan, &[command])?, "");
    let up = elsewhere("up")?;
    ensure!(up.code == Some(0), "in the other namespace: {up}");
    fs::rename(&pins, &theirs)?;
    let run = rig.enforcer.run(&[])?;
    let put = || {
        fs::remove_dir_all(&pins).ok();
        fs::rename(&theirs, &pins).ok()
    };
    eventually(SETTLE, put).context("`run` was faster each time")?;
    let told = || {
        let log = rig.enforcer.run_log();
        log.contains("another network namespace").then_some(())
    };
    eventually(SETTLE, told).with_context(|| rig.enforcer.run_log())?;
    unanswered(from_lan(rig, Patience::Brief)?)?;
    let down = elsewhere("down")?;
    ensure!(down.code == Some(0), "in the other namespace: {down}");
    // The pins of this namespace come back, not those of the other.
    let back = || {
        let (code, status) = rig.enforcer.status().ok()?;
        (code == Some(0) && status.state == "enforcing").then_some(())
    };
    eventually(SETTLE * 5, back).with_context(|| rig.enforcer.run_log())?;
    unanswered(from_lan(rig, Patience::Brief)?)?;
    drop(run);
    rig.enforcer.down()
}
