//! The system calls of a program, counted by ptrace(2) as strace(1) does.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::command::Daemon;

/// linux/ptrace.h: PTRACE_SYSCALL_INFO_ENTRY.
const ENTRY: u8 = 1;

/// linux/ptrace.h: struct ptrace_syscall_info, as far as an entry goes.
#[derive(Default)]
#[repr(C)]
struct SyscallInfo {
    op: u8,
    padding: [u8; 3],
    arch: u32,
    instruction: u64,
    stack: u64,
    number: u64,
    arguments: [u64; 6],
}

/// Runs a command to its end and counts the bpf(2) calls of all its threads. Returns the count and
/// the exit code.
pub fn count_bpf(mut command: Command) -> Result<(usize, i32)> {
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe { command.pre_exec(|| trace(libc::PTRACE_TRACEME, 0, 0, 0).map(drop)) };
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    quiet.stderr(Stdio::null());
    let traced = Daemon::spawn(command)?;
    let first = libc::pid_t::try_from(traced.id())?;
    let mut options =
        Some(libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL);
    let mut calls = 0;
    loop {
        let mut status = 0;
        // Children of this thread alone: other scenarios wait for theirs.
        let flags = libc::__WALL | libc::__WNOTHREAD;
        // SAFETY: the status is an integer of ours.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        if pid < 0 {
            bail!(io::Error::last_os_error());
        }
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if pid == first {
                ensure!(libc::WIFEXITED(status), "the traced command was killed");
                return Ok((calls, libc::WEXITSTATUS(status)));
            }
            continue;
        }
        if let Some(options) = options.take() {
            let options = usize::try_from(options)?;
            trace(libc::PTRACE_SETOPTIONS, pid, 0, options).context("failed to trace")?;
        }
        let signal = match libc::WSTOPSIG(status) {
            stop if stop == libc::SIGTRAP | 0x80 => {
                calls += usize::from(is_bpf_entry(pid)?);
                0
            }
            // The stop after exec, a new thread, and its own first stop.
            libc::SIGTRAP | libc::SIGSTOP => 0,
            signal => usize::try_from(signal)?,
        };
        trace(libc::PTRACE_SYSCALL, pid, 0, signal).context("failed to go on")?;
    }
}

fn is_bpf_entry(pid: libc::pid_t) -> Result<bool> {
    let mut info = SyscallInfo::default();
    let into = (&raw mut info) as usize;
    let request = libc::PTRACE_GET_SYSCALL_INFO;
    trace(request, pid, size_of::<SyscallInfo>(), into).context("failed to ask which call")?;
    Ok(info.op == ENTRY && info.number == u64::try_from(libc::SYS_bpf)?)
}

fn trace(request: libc::c_uint, pid: libc::pid_t, address: usize, data: usize) -> io::Result<i64> {
    // SAFETY: the requests above take numbers, or a size and a pointer to as much of our memory.
    let code = unsafe { libc::ptrace(request, pid, address, data) };
    match code {
        -1 => Err(io::Error::last_os_error()),
        code => Ok(code),
    }
}
