//! Pins that another namespace put in the place of those in force.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::lab::Patience;
use crate::lab::command::{eventually, finish};
use crate::lab::enforcer::SETTLE;
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::super::runner::unanswered;
use super::{from_lan, service};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("pins::run_holds_no_pins_of_another_namespace", replaced)
            .host_only(LOADER)
            .takes_long(),
    ]
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
