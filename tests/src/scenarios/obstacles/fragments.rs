//! The folder of fragments.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cell::Obstacle::Fragments;
use super::cell::{Cell, FRAGMENT, State};
use super::files::{GARBAGE, fifo, mode, remove};
use super::registry::{boot_silent, cover_again, end, live_silent};
use super::trial::{GOOD_FRAGMENT, HEALING, Trial};
use crate::lab::Feature;
use crate::lab::silent::SilentServer;

/// The built-in registry needs no file: the guards wait for no answer.
const NONE: Duration = Duration::ZERO;

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        Fragments,
        State::Absent,
        "fragments_absent",
        "a link to nothing at boot",
        absent,
    ),
    Cell::tried(
        Fragments,
        State::Hangs,
        "fragments_hang_at_boot",
        "a FIFO in it at boot",
        hangs,
    ),
    Cell::tried(
        Fragments,
        State::Hangs,
        "fragments_hang_later",
        "a FIFO in it while `run` lives",
        later,
    )
    .against(&[FRAGMENT]),
    Cell::tried(
        Fragments,
        State::Hangs,
        "fragments_silent_at_boot",
        "a file system without an answer at boot",
        silent,
    )
    .needing(Feature::Fuse),
    Cell::tried(
        Fragments,
        State::Hangs,
        "fragments_silent_later",
        "a file system without an answer while `run` lives",
        silent_later,
    )
    .against(&[FRAGMENT])
    .needing(Feature::Fuse),
    Cell::left_out(Fragments, State::Full, "`run` writes nothing there"),
    Cell::tried(
        Fragments,
        State::Foreign,
        "fragments_open",
        "mode 0777 at boot",
        foreign,
    ),
    Cell::tried(
        Fragments,
        State::Garbage,
        "fragments_garbage",
        "a binary file at boot",
        garbage,
    ),
    Cell::tried(
        Fragments,
        State::Vanishes,
        "fragments_vanish",
        "the target of its link is moved away",
        vanish,
    )
    .against(&[FRAGMENT]),
    Cell::tried(
        Fragments,
        State::Returns,
        "fragments_return",
        "moved away, and back",
        come_back,
    )
    .against(&[FRAGMENT]),
];

fn folder(trial: &Trial<'_>) -> Result<PathBuf> {
    Ok(trial.rig.enforcer.config_path()?.with_extension("d"))
}

/// Makes the folder with a good fragment.
fn make(trial: &Trial<'_>) -> Result<PathBuf> {
    let folder = folder(trial)?;
    fs::create_dir(&folder)?;
    fs::write(folder.join("mongo.toml"), GOOD_FRAGMENT)?;
    Ok(folder)
}

/// Makes the folder elsewhere, behind a link. Returns the place and another.
fn make_linked(trial: &Trial<'_>) -> Result<(PathBuf, PathBuf)> {
    let real = trial.rig.lab.scratch().join("share").join("fragments");
    fs::create_dir_all(&real)?;
    fs::write(real.join("mongo.toml"), GOOD_FRAGMENT)?;
    symlink(&real, folder(trial)?).context("failed to link the folder")?;
    let aside = real.with_file_name("aside");
    Ok((real, aside))
}

fn absent(trial: &mut Trial<'_>) -> Result<()> {
    let (real, aside) = make_linked(trial)?;
    fs::rename(&real, &aside)?;
    trial.boot(NONE, |_| Ok(()))?;
    trial.says(&["enforcer.d"])?;
    trial.heals("the target is there", HEALING, |_| {
        Ok(fs::rename(&aside, &real)?)
    })
}

fn hangs(trial: &mut Trial<'_>) -> Result<()> {
    let pipe = make(trial)?.join("pipe.toml");
    fifo(&pipe)?;
    trial.boot(NONE, |_| Ok(()))?;
    trial.says(&["pipe", "fifo", "did not answer"])?;
    trial.guards_a_newcomer()?;
    trial.heals("the FIFO is removed", HEALING, |_| remove(&pipe))
}

fn later(trial: &mut Trial<'_>) -> Result<()> {
    let pipe = make(trial)?.join("pipe.toml");
    trial.live(|_| Ok(()))?;
    fifo(&pipe)?;
    trial.says(&["pipe", "fifo", "did not answer"])?;
    trial.guards_a_newcomer()?;
    trial.heals("the FIFO is removed", HEALING, |_| remove(&pipe))?;
    fifo(&pipe)?;
    trial.stays_closed(Duration::from_millis(500))?;
    trial.obeys()
}

fn silent(trial: &mut Trial<'_>) -> Result<()> {
    let folder = make(trial)?;
    let server = SilentServer::start()?;
    boot_silent(trial, &server, &folder)?;
    trial.heals("the server ends, unmounted", HEALING, |trial| {
        end(trial, server, &folder)
    })
}

fn silent_later(trial: &mut Trial<'_>) -> Result<()> {
    let folder = make(trial)?;
    let server = live_silent(trial, &folder)?;
    trial.heals("the server ends, unmounted", HEALING, |trial| {
        end(trial, server, &folder)
    })?;
    cover_again(trial, &folder)
}

fn foreign(trial: &mut Trial<'_>) -> Result<()> {
    let folder = make(trial)?;
    mode(&folder, 0o777)?;
    trial.boot(NONE, |_| Ok(()))?;
    trial.says(&["chmod"])?;
    trial.heals("chmod 755", HEALING, |_| mode(&folder, 0o755))
}

fn garbage(trial: &mut Trial<'_>) -> Result<()> {
    let file = make(trial)?.join("x.toml");
    fs::write(&file, GARBAGE)?;
    trial.boot(NONE, |_| Ok(()))?;
    trial.says(&["x.toml"])?;
    trial.heals("the file is removed", HEALING, |_| remove(&file))
}

fn vanish(trial: &mut Trial<'_>) -> Result<()> {
    let (real, aside) = make_linked(trial)?;
    trial.live(|_| Ok(()))?;
    fs::rename(real, aside)?;
    trial.says(&["enforcer.d", "bad"])?;
    trial.stays_closed(Duration::from_secs(2))
}

fn come_back(trial: &mut Trial<'_>) -> Result<()> {
    vanish(trial)?;
    let real = trial.rig.lab.scratch().join("share").join("fragments");
    trial.heals("moved back", HEALING, |_| {
        Ok(fs::rename(real.with_file_name("aside"), &real)?)
    })
}
