//! inotify, by which `run` learns of edits and pins.

use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::fs::inotify;

use super::cell::Obstacle::Inotify;
use super::cell::{Cell, State};
use super::refuse::refuse;
use super::trial::{HEALING, Trial};

const NONE: Duration = Duration::ZERO;
/// More instances than any limit of a distribution.
const MOST: usize = 100_000;

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        Inotify,
        State::Absent,
        "inotify_absent",
        "no such call at boot",
        |trial| none_at_boot(trial, libc::ENOSYS),
    ),
    Cell::left_out(Inotify, State::Hangs, "the kernel answers within the call"),
    Cell::tried(
        Inotify,
        State::Full,
        "inotify_full_at_boot",
        "no instance left at boot",
        |trial| none_at_boot(trial, libc::EMFILE),
    ),
    Cell::tried(
        Inotify,
        State::Full,
        "inotify_full_later",
        "no instance left while `run` lives, then an edit",
        full,
    )
    .alone(),
    Cell::left_out(
        Inotify,
        State::Foreign,
        "no owner: each process has instances of its own",
    ),
    Cell::left_out(Inotify, State::Garbage, "the kernel is the sender"),
    Cell::left_out(
        Inotify,
        State::Vanishes,
        "an instance lives as long as its descriptor",
    ),
    Cell::tried(
        Inotify,
        State::Returns,
        "inotify_returns",
        "no instance left while `run` lives, and room again",
        returns,
    )
    .alone(),
];

/// Lets a program have no inotify instance.
pub(in crate::scenarios) fn refuse_inotify(command: &mut Command) {
    let call = u32::try_from(libc::SYS_inotify_init1).unwrap_or_default();
    refuse(command, call, None, libc::EMFILE.unsigned_abs());
}

fn none_at_boot(trial: &mut Trial<'_>, error: i32) -> Result<()> {
    let (call, error) = (
        u32::try_from(libc::SYS_inotify_init1)?,
        u32::try_from(error)?,
    );
    trial.boot(NONE, |command| {
        refuse(command, call, None, error);
        Ok(())
    })?;
    trial.says(&["inotify"])?;
    trial.guards_a_newcomer()?;
    trial.applies_an_edit()?;
    trial.obeys()
}

/// Holds every instance that root may have, those too that others give back.
struct Exhausted {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exhausted {
    fn now() -> Result<Self> {
        let mut taken = Vec::new();
        take_rest(&mut taken)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) && take_rest(&mut taken).is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Exhausted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn take_rest(taken: &mut Vec<OwnedFd>) -> Result<()> {
    while let Ok(instance) = inotify::init(inotify::CreateFlags::CLOEXEC) {
        taken.push(instance);
        ensure!(taken.len() < MOST, "inotify has no limit here");
    }
    Ok(())
}

fn full(trial: &mut Trial<'_>) -> Result<()> {
    trial.live(|_| Ok(()))?;
    let taken = Exhausted::now()?;
    trial.needs_no_word("nothing: `run` keeps its own");
    trial.applies_an_edit()?;
    trial.guards_a_newcomer()?;
    drop(taken);
    trial.heals("nothing", HEALING, |_| Ok(()))
}

fn returns(trial: &mut Trial<'_>) -> Result<()> {
    trial.live(|_| Ok(()))?;
    let taken = Exhausted::now()?;
    trial.needs_no_word("nothing: `run` keeps its own");
    trial.applies_an_edit()?;
    drop(taken);
    trial.applies_an_edit()?;
    trial.guards_a_newcomer()?;
    trial.heals("room again", HEALING, |_| Ok(()))
}
