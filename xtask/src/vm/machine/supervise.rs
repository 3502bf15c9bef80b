//! The supervision of a guest until any end.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{interrupt, process};

/// Prefix of the line written by xtask/files/guest-init once the guest is set up.
pub(crate) const UP_PREFIX: &str = "guest: up ";

/// Interval between checks of the limits and Ctrl-C during silence.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Time limits of a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Longest time between two lines of output.
    pub(crate) silence: Duration,
    /// Longest time in all.
    pub(crate) total: Duration,
}

/// End of a guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// QEMU exited.
    Exited(ExitStatus),
    /// Killed after this time without output.
    Silent(Duration),
    /// Killed after this time.
    TimedOut(Duration),
    /// Killed after a signal to xtask.
    Interrupted,
}

/// Record of a guest from start to end.
#[derive(Debug)]
pub(crate) struct Transcript {
    /// Lines of the console, and of QEMU itself.
    pub(crate) lines: Vec<String>,
    /// End of the guest.
    pub(crate) end: End,
    /// Time from QEMU's start until the guest was set up.
    pub(crate) up: Option<Duration>,
    /// Time from QEMU's start to its end.
    pub(crate) took: Duration,
}

/// Runs `command` and passes each line of output to `show` at once. The process has ended when this
/// function returns. Callers hold an [`interrupt::Deferred`].
pub(crate) fn supervise(
    command: &mut Command,
    limits: Limits,
    show: &mut dyn FnMut(&str),
) -> Result<Transcript> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{}`", process::command_line(command)))?;
    let (sender, lines) = channel();
    if let Some(output) = child.stdout.take() {
        read_lines(output, sender.clone());
    }
    if let Some(errors) = child.stderr.take() {
        read_lines(errors, sender);
    }
    let mut transcript = Transcript {
        lines: Vec::new(),
        end: End::Interrupted,
        up: None,
        took: Duration::ZERO,
    };
    let stopped = follow(&lines, start, limits, &mut transcript, show);
    // Either the streams are closed or the process is to be killed: the end is near.
    let status = end(&mut child, stopped.is_some());
    transcript.end = match stopped {
        Some(end) => end,
        None => End::Exited(status.with_context(|| "failed to wait for QEMU")?),
    };
    transcript.took = start.elapsed();
    Ok(transcript)
}

/// Collects lines until both streams are closed (`None`) or a limit is reached.
fn follow(
    lines: &Receiver<String>,
    start: Instant,
    limits: Limits,
    transcript: &mut Transcript,
    show: &mut dyn FnMut(&str),
) -> Option<End> {
    let mut last_output = start;
    loop {
        match lines.recv_timeout(POLL_INTERVAL) {
            Ok(line) => {
                last_output = Instant::now();
                if line.starts_with(UP_PREFIX) {
                    transcript.up.get_or_insert(start.elapsed());
                }
                show(&line);
                transcript.lines.push(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
        if interrupt::seen() {
            return Some(End::Interrupted);
        }
        if last_output.elapsed() >= limits.silence {
            return Some(End::Silent(limits.silence));
        }
        if start.elapsed() >= limits.total {
            return Some(End::TimedOut(limits.total));
        }
    }
}

/// Waits for the child, after killing the child if `kill`: by its handle, so that no other process
/// can be hit.
fn end(child: &mut Child, kill: bool) -> std::io::Result<ExitStatus> {
    if kill {
        child.kill()?;
    }
    child.wait()
}

/// Sends the lines of `stream` until its end, from a new thread.
fn read_lines(stream: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let text = String::from_utf8_lossy(&line);
            // A serial line ends in "\r\n".
            let sent = lines.send(text.trim_end_matches(['\r', '\n']).to_owned());
            if sent.is_err() {
                break;
            }
            line.clear();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn run(script: &str, limits: Limits) -> (Transcript, Vec<String>) {
        let mut shown = Vec::new();
        let mut show = |line: &str| shown.push(line.to_owned());
        let mut shell = Command::new("sh");
        // A child of the shell would keep the streams of the shell open.
        let transcript = supervise(shell.args(["-c", script]), limits, &mut show).unwrap();
        (transcript, shown)
    }

    #[test]
    fn lines_come_without_their_ends() {
        let limits = Limits {
            silence: LONG,
            total: LONG,
        };
        let script = "printf 'one\\r\\nguest: up 6.1\\r\\n'; printf 'half'; exit 3";
        let (transcript, shown) = run(script, limits);
        assert_eq!(shown, ["one", "guest: up 6.1", "half"]);
        assert_eq!(transcript.lines, shown);
        assert!(transcript.up.is_some());
        let End::Exited(status) = transcript.end else {
            panic!("{transcript:?}");
        };
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn silence_ends_it() {
        let limits = Limits {
            silence: Duration::from_millis(300),
            total: LONG,
        };
        let (transcript, shown) = run("echo alive; exec sleep 60", limits);
        assert_eq!(shown, ["alive"]);
        assert_eq!(transcript.end, End::Silent(limits.silence));
    }

    #[test]
    fn endless_talk_ends_too() {
        let limits = Limits {
            silence: LONG,
            total: Duration::from_millis(500),
        };
        let script = "while true; do echo talk; sleep 0.1; done";
        let (transcript, _) = run(script, limits);
        assert_eq!(transcript.end, End::TimedOut(limits.total));
    }
}
