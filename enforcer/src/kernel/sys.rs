//! The few OS calls beside bpf(2), behind types.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context as _, Result};
use rustix::{
    net::{AddressFamily, SocketType, socket},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::{
    failpoint::{Call, through},
    procfs::Process,
};

/// Returns the cookie of the calling thread's network namespace (SO_NETNS_COOKIE, Linux 5.14).
///
/// The option is of sockets of every family (`sk_getsockopt` in net/core/sock.c), so a service
/// without AF_INET has the answer too.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn netns_cookie() -> Result<u64> {
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None)
        .context("failed to open a socket to ask for the network namespace's cookie")?;
    let mut cookie = 0u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie))?;
    // SAFETY: the kernel writes at most `length` bytes to the cookie.
    let code = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if code < 0 {
        return Err(io::Error::last_os_error())
            .context("failed to read the network namespace's cookie (Linux 5.14 or later has it)");
    }
    Ok(cookie)
}

/// Waits for the end of every program that runs at the call (synchronize_rcu in the kernel).
///
/// # Errors
/// The kernel's refusal: membarrier(2) may be compiled out.
pub(crate) fn wait_for_readers() -> Result<()> {
    /// linux/membarrier.h: MEMBARRIER_CMD_GLOBAL.
    const GLOBAL: libc::c_int = 1;
    let waited = through(Call::WaitForReaders, || {
        // SAFETY: the call takes no memory.
        let code = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
        match code {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    });
    let Err(error) = waited else { return Ok(()) };
    match error.raw_os_error() {
        // With nohz_full the kernel offers no such wait (kernel/sched/membarrier.c). A program
        // runs for microseconds, with preemption off: half a second is long enough.
        Some(libc::EINVAL | libc::ENOSYS) => {
            std::thread::sleep(std::time::Duration::from_millis(500));
            Ok(())
        }
        _ => Err(error).context("failed to wait for running programs (membarrier)"),
    }
}

/// Returns the nanoseconds since the boot, including the time in which the host slept.
pub(crate) fn boottime() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// Returns the names of the required capabilities that are not effective.
pub(crate) fn missing_capabilities() -> Vec<&'static str> {
    let effective = Process::ThisThread.effective_capabilities();
    missing_from(effective.unwrap_or(u64::MAX))
}

fn missing_from(effective: u64) -> Vec<&'static str> {
    /// linux/capability.h.
    const REQUIRED: [(&str, u32); 3] =
        [("CAP_BPF", 39), ("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38)];
    REQUIRED
        .into_iter()
        .filter(|(_, bit)| effective >> bit & 1 == 0)
        .map(|(name, _)| name)
        .collect()
}

/// Raises the soft limit of open descriptors to the hard limit: `run` holds one for each guard.
/// A filter of system calls may refuse, and the limit stays.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).ok();
}

/// Has the allocator return free memory at the end of a thread's heap at once. By default the
/// threshold grows with the largest block (mallopt(3), M_TRIM_THRESHOLD), and [`trim_heap`] does not
/// reach the ends of the heaps of threads (malloc/arena.c).
pub(crate) fn keep_heaps_small() {
    #[cfg(target_env = "gnu")]
    {
        /// The initial threshold, in bytes.
        const THRESHOLD: libc::c_int = 128 << 10;
        // SAFETY: the call takes no memory, and the allocator changes a number under its lock.
        unsafe {
            libc::mallopt(libc::M_TRIM_THRESHOLD, THRESHOLD);
        }
    }
}

/// Returns free memory of the allocator to the kernel: a load takes tens of megabytes for a moment,
/// and the allocator would keep them.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) looks at the allocator's own lists, under its locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

const _: () = assert!(usize::BITS == 64, "64-bit hosts only");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_of_the_namespace() {
        let here = netns_cookie().unwrap();
        assert_ne!(here, 0);
        assert_eq!(netns_cookie().unwrap(), here);
    }

    #[test]
    fn each_capability_that_is_not_effective_is_named() {
        for (effective, missing) in [
            (u64::MAX, &[][..]),
            (1 << 39 | 1 << 38 | 1 << 12, &[]),
            (!(1 << 39), &["CAP_BPF"]),
            (1 << 39 | 1 << 21, &["CAP_NET_ADMIN", "CAP_PERFMON"]),
            (0, &["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]),
        ] {
            assert_eq!(missing_from(effective), missing, "{effective:x}");
        }
    }

    #[test]
    fn the_boot_time_never_runs_back() {
        let first = boottime();
        assert!(first > 0 && boottime() >= first);
    }
}
