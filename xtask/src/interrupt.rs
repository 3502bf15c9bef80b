//! Staying until a test program has cleaned up after itself.
//!
//! Ctrl-C reaches it and us at once. Were we gone first, it would write into a pipe
//! that nobody reads while it takes its namespaces down, and the user would have a
//! prompt before the machine is clean.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use libc::{SIGINT, SIGTERM, c_int, sighandler_t};

static SEEN: AtomicBool = AtomicBool::new(false);

/// The process to pass a SIGTERM on to, or 0.
static CHILD: AtomicI32 = AtomicI32::new(0);

/// While it lives, Ctrl-C and SIGTERM do not end us: they are left to the child.
pub(crate) struct Deferred;

impl Deferred {
    /// Leaves signals to the process `child`.
    pub(crate) fn to(child: u32) -> Self {
        Self::new(child.try_into().unwrap_or(0))
    }

    /// Only notes signals: whoever holds this asks [`seen`] often, and ends what it
    /// started.
    pub(crate) fn noted() -> Self {
        Self::new(0)
    }

    fn new(child: i32) -> Self {
        CHILD.store(child, Ordering::Relaxed);
        let handler = note as *const () as sighandler_t;
        for signal in [SIGINT, SIGTERM] {
            // SAFETY: `note` has the signature of a handler, lives for ever, and
            // only touches atomics and calls kill, which a handler may.
            unsafe { libc::signal(signal, handler) };
        }
        Self
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        for signal in [SIGINT, SIGTERM] {
            // SAFETY: this puts the default back and involves no code of ours.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        CHILD.store(0, Ordering::Relaxed);
    }
}

/// Whether one of these signals came.
pub(crate) fn seen() -> bool {
    SEEN.load(Ordering::Relaxed)
}

extern "C" fn note(signal: c_int) {
    SEEN.store(true, Ordering::Relaxed);
    let child = CHILD.load(Ordering::Relaxed);
    // A terminal sends SIGINT to the child itself; kill sends SIGTERM to us alone.
    if signal == SIGTERM && child > 0 {
        // SAFETY: kill takes two numbers; the child is not waited for before
        // `Deferred` goes, so its number is still its own.
        unsafe { libc::kill(child, signal) };
    }
}
