//! System calls that fail in one program: a filter of seccomp(2).

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Offset of the number in linux/seccomp.h's `struct seccomp_data`.
const NUMBER: u32 = 0;
/// Offset of the lower half of the first argument, on little-endian machines.
const FIRST: u32 = 16;

/// Lets a system call fail with an error, if the first argument is this one.
pub(super) fn refuse(command: &mut Command, call: u32, first: Option<u32>, error: u32) {
    let load = |offset: u32| filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let unless =
        |value: u32, skip: u8| filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, 0, skip);
    let end = |what: u32| filter(libc::BPF_RET | libc::BPF_K, what, 0, 0);
    let failure = end(libc::SECCOMP_RET_ERRNO | error);
    let success = end(libc::SECCOMP_RET_ALLOW);
    let program = match first {
        None => vec![load(NUMBER), unless(call, 1), failure, success],
        Some(first) => {
            let argument = [load(FIRST), unless(first, 1), failure, success];
            [&[load(NUMBER), unless(call, 3)][..], &argument].concat()
        }
    };
    let install = move || {
        let mut program = program.clone();
        let length = u16::try_from(program.len()).map_err(io::Error::other)?;
        let whole = libc::sock_fprog {
            len: length,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: the program is alive until after the call, and has the length given.
        let done = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const whole,
            )
        };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the child has a single thread, a copy of the parent's heap, and makes one system call.
    unsafe { command.pre_exec(install) };
}

fn filter(code: u32, value: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: yes,
        jf: no,
        k: value,
    }
}
