//! Standard streams, the lock, and the sockets of userspace WireGuard.

use std::fs::{self, OpenOptions};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::Result;

use super::super::cell::Obstacle::{self, Lock, Stderr, Stdout, Uapi};
use super::super::cell::State;
use super::super::files::{GARBAGE, NOBODY, give, mode};
use super::super::lock::{hold_all, own_run};
use super::super::streams::{close, put};
use super::super::uapi::{self, Daemons};
use super::attempt::{Attempt, Placed};
use super::cell::{Pins, UpCell, guards, refusal};
use crate::lab::mounts::{Change, with_mounts};

const RUN: &str = "/run";

pub(super) const CELLS: &[UpCell] = &[
    UpCell {
        obstacle: Stderr,
        state: State::Absent,
        name: "stderr_absent",
        made: "closed",
        needs: None,
        place: |_| Ok(closed(Stderr)),
        first: Ok(guards(0, &["enforcing: generation"])),
        over_pins: Ok(guards(0, &["enforcing: generation"])),
    },
    UpCell {
        obstacle: Stderr,
        state: State::Full,
        name: "stderr_full",
        made: "/dev/full",
        needs: None,
        place: |_| full(Stderr),
        first: Ok(guards(0, &["enforcing: generation"])),
        over_pins: Ok(guards(0, &["enforcing: generation"])),
    },
    UpCell {
        obstacle: Stdout,
        state: State::Absent,
        name: "stdout_absent",
        made: "closed",
        needs: None,
        place: |_| Ok(closed(Stdout)),
        first: Ok(guards(0, &[])),
        over_pins: Ok(guards(0, &[])),
    },
    UpCell {
        obstacle: Stdout,
        state: State::Full,
        name: "stdout_full",
        made: "/dev/full",
        needs: None,
        place: |_| full(Stdout),
        first: Ok(guards(1, &["No space left on device"])),
        over_pins: Ok(guards(1, &["No space left on device"])),
    },
    UpCell {
        obstacle: Lock,
        state: State::Absent,
        name: "lock_absent",
        made: "a read-only /run",
        needs: None,
        place: |attempt| {
            let run = own_run(attempt.rig)?;
            let run = Change::bind(&run, Path::new(RUN))?;
            Ok(with_changes(vec![run, Change::read_only(Path::new(RUN))?]))
        },
        first: Ok(refusal(1, &["/run/enforcer"])),
        over_pins: Ok(refusal(1, &["/run/enforcer"])),
    },
    UpCell {
        obstacle: Lock,
        state: State::Hangs,
        name: "lock_hangs",
        made: "held for ever by a process of root",
        needs: None,
        place: held,
        first: Ok(refusal(1, &["has the lock of the pins"])),
        over_pins: Ok(refusal(1, &["has the lock of the pins"])),
    },
    UpCell {
        obstacle: Lock,
        state: State::Foreign,
        name: "lock_folder_of_a_user",
        made: "/run/enforcer is a user's, 0777",
        needs: None,
        place: |attempt| {
            let run = own_run(attempt.rig)?;
            let folder = run.join("enforcer");
            fs::create_dir(&folder)?;
            mode(&folder, 0o777)?;
            give(&folder, NOBODY)?;
            Ok(with_changes(vec![Change::bind(&run, Path::new(RUN))?]))
        },
        first: Ok(refusal(1, &["/run/enforcer"])),
        over_pins: Ok(refusal(1, &["/run/enforcer"])),
    },
    UpCell {
        obstacle: Uapi,
        state: State::Hangs,
        name: "uapi_hangs",
        made: "4 daemons that never answer, `--static-peers`",
        needs: None,
        place: |attempt| {
            let sockets = uapi::devices(attempt.rig)?;
            let mut silent = Vec::new();
            for device in uapi::DEVICES {
                silent.push(UnixListener::bind(uapi::path(&sockets, device))?);
            }
            let changes = uapi::own_run(&sockets)?;
            Ok(with_changes(changes)
                .with(&["--static-peers"])
                .keeping(silent))
        },
        first: Ok(guards(0, &["no answer within"])),
        over_pins: Ok(guards(0, &["no answer within"])),
    },
    UpCell {
        obstacle: Uapi,
        state: State::Garbage,
        name: "uapi_garbage",
        made: "binary answers, `--static-peers`",
        needs: None,
        place: |attempt| {
            let sockets = uapi::devices(attempt.rig)?;
            let broken = Daemons::start(&sockets, |_| GARBAGE.to_vec())?;
            let changes = uapi::own_run(&sockets)?;
            Ok(with_changes(changes)
                .with(&["--static-peers"])
                .keeping(broken))
        },
        first: Ok(guards(0, &["cannot be asked"])),
        over_pins: Ok(guards(0, &["cannot be asked"])),
    },
];

fn with_changes(changes: Vec<Change>) -> Placed {
    Placed::for_command(move |command| {
        with_mounts(command, changes);
        Ok(())
    })
}

fn closed(stream: Obstacle) -> Placed {
    Placed::for_command(move |command| {
        // SAFETY: between fork and exec the closure makes one system call.
        unsafe { command.pre_exec(close(stream)) };
        Ok(())
    })
}

fn full(stream: Obstacle) -> Result<Placed> {
    let full = OpenOptions::new().write(true).open("/dev/full")?;
    Ok(Placed::for_command(move |command| {
        put(stream, command, full);
        Ok(())
    }))
}

fn held(attempt: &Attempt<'_>) -> Result<Placed> {
    let run = own_run(attempt.rig)?;
    // A command that makes the files of the locks, and the way back.
    let (make, undo): (_, &[&str]) = match attempt.pins {
        Pins::None => ("up", &["down"]),
        Pins::InForce => ("reload", &[]),
    };
    let locks = hold_all(attempt.rig, &run, make, undo)?;
    let change = Change::bind(&run, Path::new(RUN))?;
    Ok(with_changes(vec![change]).keeping(locks))
}
