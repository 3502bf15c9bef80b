//! Standard error and standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::OFlags;

use super::cell::Obstacle::{self, Stderr, Stdout};
use super::cell::{Cell, State};
use super::files::remove;
use super::trial::{GOOD, HEALING, Trial};

const NONE: Duration = Duration::ZERO;
const NO_OWNER: &str = "an open descriptor asks for no owner";
const NO_CONTENT: &str = "`run` reads nothing there";

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        Stderr,
        State::Absent,
        "stderr_absent",
        "closed at boot",
        |trial| absent(trial, Stderr),
    ),
    Cell::tried(
        Stderr,
        State::Hangs,
        "stderr_hangs",
        "a full pipe that nobody reads",
        |trial| hangs(trial, Stderr),
    ),
    Cell::tried(
        Stderr,
        State::Full,
        "stderr_full",
        "/dev/full at boot",
        |trial| full(trial, Stderr),
    )
    .in_guests(),
    Cell::left_out(Stderr, State::Foreign, NO_OWNER),
    Cell::left_out(Stderr, State::Garbage, NO_CONTENT),
    Cell::tried(
        Stderr,
        State::Vanishes,
        "stderr_hangs_up",
        "a terminal that hangs up",
        |trial| hangs_up(trial, Stderr),
    ),
    Cell::tried(
        Stderr,
        State::Vanishes,
        "stderr_breaks",
        "a pipe whose reader goes",
        |trial| breaks(trial, Stderr),
    ),
    Cell::tried(
        Stderr,
        State::Returns,
        "stderr_is_read",
        "a full pipe, read later",
        |trial| is_read(trial, Stderr),
    ),
    Cell::tried(
        Stdout,
        State::Absent,
        "stdout_absent",
        "closed at boot",
        |trial| absent(trial, Stdout),
    ),
    Cell::tried(
        Stdout,
        State::Hangs,
        "stdout_hangs",
        "a full pipe that nobody reads",
        |trial| hangs(trial, Stdout),
    ),
    Cell::tried(
        Stdout,
        State::Full,
        "stdout_full",
        "/dev/full at boot",
        |trial| full(trial, Stdout),
    ),
    Cell::left_out(Stdout, State::Foreign, NO_OWNER),
    Cell::left_out(Stdout, State::Garbage, NO_CONTENT),
    Cell::tried(
        Stdout,
        State::Vanishes,
        "stdout_hangs_up",
        "a terminal that hangs up",
        |trial| hangs_up(trial, Stdout),
    ),
    Cell::tried(
        Stdout,
        State::Vanishes,
        "stdout_breaks",
        "a pipe whose reader goes",
        |trial| breaks(trial, Stdout),
    ),
    Cell::tried(
        Stdout,
        State::Returns,
        "stdout_is_read",
        "a full pipe, read later",
        |trial| is_read(trial, Stdout),
    ),
];

pub(super) fn put(stream: Obstacle, command: &mut Command, to: impl Into<Stdio>) {
    match stream {
        Stderr => command.stderr(to),
        _ => command.stdout(to),
    };
}

/// The words that a bad registry deserves: on the stream that is left, else in `status`.
fn tells(trial: &mut Trial<'_>, stream: Obstacle) -> Result<()> {
    match stream {
        Stderr => trial.status_tells(),
        _ => trial.says(&["enforcer.toml"]),
    }
}

/// Boots without a registry, which is worth words, and heals by a registry.
fn boot(
    trial: &mut Trial<'_>,
    stream: Obstacle,
    guide: impl FnOnce(&mut Command) -> Result<()>,
) -> Result<()> {
    remove(trial.rig.enforcer.config_path()?)?;
    trial.boot(NONE, guide)?;
    tells(trial, stream)?;
    trial.guards_a_newcomer()?;
    trial.heals("a registry", HEALING, |trial| {
        trial.rig.enforcer.registry(GOOD)
    })
}

/// Closes a stream between fork and exec.
pub(super) fn close(stream: Obstacle) -> impl FnMut() -> io::Result<()> {
    let number = match stream {
        Stderr => 2,
        _ => 1,
    };
    move || {
        // SAFETY: the child has a single thread, and nothing else uses the descriptor before exec.
        unsafe { libc::close(number) };
        Ok(())
    }
}

fn absent(trial: &mut Trial<'_>, stream: Obstacle) -> Result<()> {
    boot(trial, stream, |command| {
        // SAFETY: between fork and exec the closure makes one system call.
        unsafe { command.pre_exec(close(stream)) };
        Ok(())
    })
}

/// A pipe with no room, whose writer waits. Returns the ends for reading and for writing.
fn full_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let flags = rustix::fs::fcntl_getfl(&write)?;
    rustix::fs::fcntl_setfl(&write, flags | OFlags::NONBLOCK)?;
    for size in [4096, 1] {
        while rustix::io::write(&write, &vec![b'.'; size]).is_ok() {}
    }
    rustix::fs::fcntl_setfl(&write, flags)?;
    Ok((read, write))
}

fn hangs(trial: &mut Trial<'_>, stream: Obstacle) -> Result<()> {
    let (_read, write) = full_pipe()?;
    boot(trial, stream, |command| {
        put(stream, command, write);
        Ok(())
    })?;
    trial.obeys()
}

fn full(trial: &mut Trial<'_>, stream: Obstacle) -> Result<()> {
    let full = OpenOptions::new().write(true).open("/dev/full")?;
    boot(trial, stream, |command| {
        put(stream, command, full);
        Ok(())
    })
}

/// A terminal. Returns the ends for the program behind the screen and for the program on the screen.
fn terminal() -> Result<(OwnedFd, OwnedFd)> {
    let (mut screen, mut program) = (-1, -1);
    // SAFETY: both numbers are ours to write; name, settings and size may be null.
    let made = unsafe {
        libc::openpty(
            &raw mut screen,
            &raw mut program,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    ensure!(made == 0, "openpty: {}", io::Error::last_os_error());
    // SAFETY: openpty has just made the descriptor, and no other code knows the number.
    let screen = unsafe { OwnedFd::from_raw_fd(screen) };
    // SAFETY: as above.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    let flags = rustix::io::fcntl_getfd(&screen)? | rustix::io::FdFlags::CLOEXEC;
    rustix::io::fcntl_setfd(&screen, flags)?;
    ensure!(program.as_raw_fd() > 2, "a standard stream was closed");
    Ok((screen, program))
}

/// Lives with a stream that works, takes the stream away, and gives cause for words.
fn loses(
    trial: &mut Trial<'_>,
    stream: Obstacle,
    (reader, writer): (OwnedFd, OwnedFd),
) -> Result<()> {
    trial.live(|command| {
        put(stream, command, writer);
        Ok(())
    })?;
    drop(reader);
    for _ in 0..2 {
        trial.rig.enforcer.registry("[services.")?;
        trial.stays_closed(Duration::from_secs(1))?;
        trial.guards_a_newcomer()?;
        match stream {
            Stderr => trial.needs_no_word("nowhere; another `run` or `check` tells"),
            _ => trial.says(&["enforcer.toml"])?,
        }
        trial.heals("a good registry", HEALING, |trial| {
            trial.rig.enforcer.registry(GOOD)
        })?;
    }
    Ok(())
}

fn hangs_up(trial: &mut Trial<'_>, stream: Obstacle) -> Result<()> {
    let terminal = terminal()?;
    loses(trial, stream, terminal)
}

fn breaks(trial: &mut Trial<'_>, stream: Obstacle) -> Result<()> {
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    loses(trial, stream, pipe)
}

fn is_read(trial: &mut Trial<'_>, stream: Obstacle) -> Result<()> {
    let (read, write) = full_pipe()?;
    boot(trial, stream, |command| {
        put(stream, command, write);
        Ok(())
    })?;
    let log = trial.rig.lab.scratch().join("run.log");
    let (mut pipe, mut log) = (File::from(read), OpenOptions::new().append(true).open(log)?);
    // Ends with `run`, or with the bytes.
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = io::Read::read(&mut pipe, &mut bytes) {
            let words = bytes[..length].split(|&byte| byte == b'.');
            for word in words.filter(|word| !word.is_empty()) {
                let _ = log.write_all(word);
                let _ = log.write_all(b".");
            }
        }
    });
    trial.rig.enforcer.registry("[services.")?;
    trial.says(&["enforcer"]).context("once the pipe is read")?;
    trial.heals("read, and a good registry", HEALING, |trial| {
        trial.rig.enforcer.registry(GOOD)
    })
}
