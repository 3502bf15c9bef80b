//! Signals left to a child process until the child has cleaned up.
//!
//! Ctrl-C reaches the child and xtask at once. If xtask ended first, the child would write into a
//! pipe without a reader while removing its namespaces, and the user would get a prompt before the
//! machine is clean.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use libc::{SIGINT, SIGTERM, c_int, sighandler_t};

static SEEN: AtomicBool = AtomicBool::new(false);

/// Process that receives a forwarded SIGTERM, or 0.
static CHILD: AtomicI32 = AtomicI32::new(0);

/// Guard against Ctrl-C and SIGTERM: during its life both are left to the child.
pub(crate) struct Deferred;

impl Deferred {
    /// Leaves signals to the process `child`.
    pub(crate) fn to(child: u32) -> Self {
        Self::new(child.try_into().unwrap_or(0))
    }

    /// Records signals without forwarding. The holder polls [`seen`] and ends every process that
    /// the holder started.
    pub(crate) fn noted() -> Self {
        Self::new(0)
    }

    fn new(child: i32) -> Self {
        CHILD.store(child, Ordering::Relaxed);
        let handler = note as *const () as sighandler_t;
        for signal in [SIGINT, SIGTERM] {
            // SAFETY: `note` has the signature of a handler and is never unloaded; atomics and
            // kill(2) are safe in a handler (signal-safety(7)).
            unsafe { libc::signal(signal, handler) };
        }
        Self
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        for signal in [SIGINT, SIGTERM] {
            // SAFETY: SIG_DFL restores the default action; no function of this program is
            // registered.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        CHILD.store(0, Ordering::Relaxed);
    }
}

/// Returns whether SIGINT or SIGTERM has arrived.
pub(crate) fn seen() -> bool {
    SEEN.load(Ordering::Relaxed)
}

extern "C" fn note(signal: c_int) {
    SEEN.store(true, Ordering::Relaxed);
    let child = CHILD.load(Ordering::Relaxed);
    // A terminal sends SIGINT to the child as well; kill(1) sends SIGTERM to xtask alone.
    if signal == SIGTERM && child > 0 {
        // SAFETY: kill takes two numbers. `Deferred` ends before the child is reaped, so the number
        // still belongs to the child.
        unsafe { libc::kill(child, signal) };
    }
}
