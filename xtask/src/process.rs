//! Child processes, with errors that name the program and the reason.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read as _, Write as _},
    iter,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::interrupt::{self, Deferred};

/// Lines of a failed program's output in an error.
const TAIL: usize = 15;

/// Runs `command` on the terminal of xtask; any exit status but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to start `{}`", command_line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", command_line(command));
    }
    Ok(())
}

/// Runs `command` on the terminal of xtask, with signals left to the child, and returns the exit
/// status.
pub(crate) fn run_to_end(command: &mut Command) -> Result<ExitStatus> {
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start `{}`", command_line(command)))?;
    let deferred = Deferred::to(child.id());
    let status = child.wait();
    drop(deferred);
    status.with_context(|| format!("failed to wait for `{}`", command_line(command)))
}

/// Replaces this process by `command`; returns only on failure.
pub(crate) fn replace_with(command: &mut Command) -> anyhow::Error {
    let error = command.exec();
    anyhow::Error::new(error).context(format!("failed to start `{}`", command_line(command)))
}

/// Runs `command` and returns its standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start `{}`", command_line(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}):\n{}",
            command_line(command),
            output.status,
            tail(&String::from_utf8_lossy(&output.stderr))
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command` with all output in the file `log`; an error quotes the end of the log.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("failed to create {}", log.display()))?;
    let errors = file
        .try_clone()
        .with_context(|| format!("failed to duplicate the descriptor of {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status()
        .with_context(|| format!("failed to start `{}`", command_line(command)))?;
    if !status.success() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        bail!(
            "`{}` failed ({status}); the end of {}:\n{}",
            command_line(command),
            log.display(),
            tail(&text)
        );
    }
    Ok(())
}

/// Runs `command`, shows its standard output at once, and returns that output with the command's
/// success.
pub(crate) fn tee(command: &mut Command) -> Result<(String, bool)> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{}`", command_line(command)))?;
    let deferred = Deferred::to(child.id());
    let mut seen = Vec::new();
    if let Some(mut output) = child.stdout.take() {
        let mut chunk = [0; 4096];
        loop {
            let length = output
                .read(&mut chunk)
                .with_context(|| format!("failed to read from `{}`", command_line(command)))?;
            let Some(bytes) = chunk.get(..length).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            seen.extend_from_slice(bytes);
            // A test writes its name first and its result later: show both at once. Without a
            // reader, the tests still end in good order.
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush()).ok();
        }
    }
    // The child is about to end; once reaped, its number may belong to another process.
    drop(deferred);
    let status = child
        .wait()
        .with_context(|| format!("failed to wait for `{}`", command_line(command)))?;
    if interrupt::seen() {
        bail!("`{}` was interrupted", command_line(command));
    }
    Ok((
        String::from_utf8_lossy(&seen).into_owned(),
        status.success(),
    ))
}

/// Returns the command roughly as typed in a shell.
pub(crate) fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    iter::once(name)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    lines
        .iter()
        .skip(from)
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_end_of_what_was_said() {
        let script = "seq 1 100 >&2; exit 3";
        let error = capture(Command::new("sh").args(["-c", script])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.ends_with("    100"), "{text}");
        assert!(!text.contains("    85\n"), "{text}");
    }

    #[test]
    fn watched_output_is_returned() {
        let (text, ok) = tee(Command::new("sh").args(["-c", "echo watched"])).unwrap();
        assert_eq!((text.as_str(), ok), ("watched\n", true));
    }
}
