//! Programs inside a namespace, bounded in time, gone with the lab.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use rustix::thread::UnshareFlags;

use super::cleanup;
use super::netns::{Netns, enter};

/// Time limit of a command that ends by itself.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Output of a command, and the way in which the command ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The command line, for messages.
    pub line: String,
    /// The exit code, `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Netns {
    /// A command for this namespace, which dies with the starting thread.
    ///
    /// Only the *network* namespace is entered: `ip netns exec` would also hide bpffs and cgroup2.
    /// Start the command from the scenario's own thread, never inside [`Netns::run`] with its
    /// short-lived thread.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let namespace = std::os::fd::AsFd::as_fd(self).as_raw_fd();
        let into_namespace = move || {
            // SAFETY: the descriptor belongs to a `Netns` with a life beyond the spawn, and fork
            // copied the number.
            let namespace = unsafe { BorrowedFd::borrow_raw(namespace) };
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            enter(namespace)
        };
        // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
        unsafe { command.pre_exec(into_namespace) };
        command
    }

    /// Runs `ip -batch`, with a command on each line.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.batch("ip", &[], batch)
    }

    /// Runs `ip -batch` for a family, such as `inet6` or `mpls`.
    pub fn ip_of(&self, family: &str, batch: &str) -> Result<()> {
        self.batch("ip", &["-family", family], batch)
    }

    /// Runs `tc -batch`, with a command on each line.
    pub fn tc(&self, batch: &str) -> Result<()> {
        self.batch("tc", &[], batch)
    }

    fn batch(&self, program: &str, options: &[&str], lines: &str) -> Result<()> {
        let mut command = self.command(program);
        command.args(options).args(["-batch", "-"]);
        finish(command, lines)?.ok().map(drop)
    }

    /// Loads an nftables ruleset.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        let mut command = self.command("nft");
        command.args(["-f", "-"]);
        finish(command, ruleset)?.ok().map(drop)
    }

    /// Lists the nftables ruleset, counters included.
    pub fn nft_list(&self) -> Result<String> {
        let mut command = self.command("nft");
        command.args(["list", "ruleset"]);
        finish(command, "")?.ok()
    }
}

impl Finished {
    /// Standard output of a command that ended with 0; otherwise an error that shows everything.
    pub fn ok(self) -> Result<String> {
        if self.code == Some(0) {
            Ok(self.stdout)
        } else {
            bail!("{self}")
        }
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => write!(f, "`{}` ended with {code}", self.line)?,
            None => write!(f, "`{}` was ended by a signal", self.line)?,
        }
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(
                    f,
                    "\n  {name}: {}",
                    text.trim().replace('\n', "\n          ")
                )?;
            }
        }
        Ok(())
    }
}

/// Contents of a command's own mount namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateMount {
    /// A fresh /sys, as `ip netns exec` makes it: no bpffs, no cgroup2.
    Sysfs,
    /// A private bpffs, gone at the end of the command.
    Bpffs,
}

/// Gives a command a private mount namespace.
pub fn in_private_mounts(command: &mut Command, private: PrivateMount) {
    let hide = move || {
        // SAFETY: only the mount namespace is left behind, in a child with a single thread.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", slave)?;
        let (target, kind) = match private {
            PrivateMount::Sysfs => ("/sys", "sysfs"),
            PrivateMount::Bpffs => (cleanup::BPFFS, "bpf"),
        };
        mount("none", target, kind, MountFlags::empty(), None)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes three system calls; short paths go by the stack.
    unsafe { command.pre_exec(hide) };
}

/// Runs a command to the end, with `input` as standard input.
pub fn finish(mut command: Command, input: &str) -> Result<Finished> {
    let line = line_of(&command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Daemon::spawn(command)?;
    let mut stdin = child.inner.stdin.take().context("the child has no stdin")?;
    let stdout = child
        .inner
        .stdout
        .take()
        .context("the child has no stdout")?;
    let stderr = child
        .inner
        .stderr
        .take()
        .context("the child has no stderr")?;
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        let stdout = scope.spawn(move || read_all(stdout));
        let stderr = scope.spawn(move || read_all(stderr));
        // On the limit the child is killed, and the readers end too.
        let status = child.wait(COMMAND_LIMIT)?;
        Ok(Finished {
            line: line.clone(),
            code: status.context_late(&line, &mut child)?.code(),
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
        })
    })
}

/// A child process, killed and reaped on drop.
#[derive(Debug)]
pub struct Daemon {
    line: String,
    /// The process, with the caller's choice of pipes.
    pub inner: Child,
}

impl Daemon {
    /// Starts a process that the lab will end.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let line = line_of(&command);
        let program = command.get_program().to_string_lossy().into_owned();
        let inner = cleanup::spawn_registered(&mut command).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                anyhow::anyhow!("`{program}` is not installed: run cargo xtask setup")
            } else {
                anyhow::Error::from(error).context(format!("failed to start `{line}`"))
            }
        })?;
        Ok(Self { line, inner })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(Pid::from_child(&self.inner), signal)
            .with_context(|| format!("failed to signal `{}`", self.line))
    }

    /// Waits for the end, `None` if `limit` passes first.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let process = pidfd_open(Pid::from_child(&self.inner), PidfdFlags::empty())
            .context("failed to watch a child process")?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.inner.try_wait()? {
                return Ok(Some(status));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut watched = [PollFd::new(&process, PollFlags::IN)];
            match poll(&mut watched, Some(&timespec(left))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("failed to wait for a child process"),
            }
        }
    }

    /// Waits for the end; an error if `limit` passes first.
    pub fn expect_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let line = self.line.clone();
        self.wait(limit)?.context_late(&line, self)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.inner.kill();
        let _ = self.inner.wait();
        cleanup::forget_child(self.inner.id());
    }
}

trait ContextLate {
    fn context_late(self, line: &str, child: &mut Daemon) -> Result<ExitStatus>;
}

impl ContextLate for Option<ExitStatus> {
    fn context_late(self, line: &str, child: &mut Daemon) -> Result<ExitStatus> {
        match self {
            Some(status) => Ok(status),
            None => {
                let _ = child.inner.kill();
                bail!("`{line}` did not end in time and was killed")
            }
        }
    }
}

/// Converts a duration to poll's type.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Polls `probe` until a value comes, every few milliseconds and for at most `limit`.
pub fn eventually<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn line_of(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn read_all(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
