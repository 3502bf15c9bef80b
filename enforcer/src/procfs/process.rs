//! Processes: /proc/PID.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crate::printable;

/// A folder of /proc that stands for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// The calling thread.
    ThisThread,
    /// The calling process.
    This,
    /// The process of an id.
    Id(u32),
}

impl Process {
    /// The first process of the PID namespace.
    pub(crate) const INIT: Self = Self::Id(1);

    /// Returns the id of the parent; `None` where /proc hides the process.
    pub(crate) fn parent(self) -> Option<u32> {
        parent(&self.status().ok()?)
    }

    /// Returns the name of the program, up to 15 bytes; `None` where /proc hides the process.
    pub(crate) fn name(self) -> Option<String> {
        let name = fs::read(self.path("comm")).ok()?;
        Some(printable::decode(name.strip_suffix(b"\n").unwrap_or(&name)))
    }

    /// Returns the effective capabilities, a bit for each (linux/capability.h).
    pub(crate) fn effective_capabilities(self) -> Option<u64> {
        effective_capabilities(&self.status().ok()?)
    }

    /// Returns the initial environment: `NAME=VALUE`, each with a NUL behind.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn environment(self) -> io::Result<Vec<u8>> {
        fs::read(self.path("environ"))
    }

    /// Returns the identity of the network namespace, for comparison.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn network_namespace(self) -> io::Result<PathBuf> {
        fs::read_link(self.path("ns/net"))
    }

    /// Reads the status file, with a name of the process's own choice in its first line.
    fn status(self) -> io::Result<Vec<u8>> {
        fs::read(self.path("status"))
    }

    /// Returns the path of a file of the process.
    pub(super) fn path(self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.to_string()).join(file)
    }
}

/// The name of the folder.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisThread => f.write_str("thread-self"),
            Self::This => f.write_str("self"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

fn parent(status: &[u8]) -> Option<u32> {
    field(status, "PPid:")?.parse().ok()
}

fn effective_capabilities(status: &[u8]) -> Option<u64> {
    u64::from_str_radix(field(status, "CapEff:")?, 16).ok()
}

/// Returns the value of a field of a status file (proc_pid_status(5)). The kernel escapes the line
/// breaks of the process's name (fs/proc/array.c: proc_task_name).
fn field<'a>(status: &'a [u8], name: &str) -> Option<&'a str> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(name.as_bytes()))?;
    str::from_utf8(value).ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_by_its_fields() {
        for status in [
            &b"Name:\tsh\nPPid:\t41\nTracerPid:\t0\nCapEff:\t000001ffffffffff\n"[..],
            b"Name:\t\xff\\nPPid:\t1\xfe\nPPid:\t41\nCapEff:\t000001ffffffffff\n",
        ] {
            assert_eq!(parent(status), Some(41));
            assert_eq!(effective_capabilities(status), Some(0x1ff_ffff_ffff));
        }
        for bad in [
            &b""[..],
            b"PPid:\t\nCapEff:\tx\n",
            b"Name:\tPPid: 1\n",
            b"PPid:\t\xff\nCapEff:\t\xff\n",
        ] {
            let shown = bad.escape_ascii();
            assert_eq!(parent(bad), None, "{shown}");
            assert_eq!(effective_capabilities(bad), None, "{shown}");
        }
    }

    #[test]
    fn this_process_is_read() {
        assert!(Process::This.parent().is_some_and(|id| id > 0));
        assert!(Process::ThisThread.effective_capabilities().is_some());
        let own = Process::Id(std::process::id());
        assert_eq!(
            own.environment().unwrap(),
            Process::This.environment().unwrap()
        );
        let namespace = |process: Process| process.network_namespace().unwrap();
        assert_eq!(namespace(own), namespace(Process::ThisThread));
        // Above the kernel's limit of ids (linux/threads.h: PID_MAX_LIMIT).
        assert!(Process::Id(u32::MAX).environment().is_err());
    }
}
