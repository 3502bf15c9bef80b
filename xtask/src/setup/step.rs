//! What a setup says while it works: one line for each thing that takes time.

use std::{io::Write as _, time::Instant};

/// A thing being done: `  bpf-linker     building 0.13.0 … 41.3 s`.
///
/// The lines go to standard error, so that what a command prints stays its own.
pub(crate) struct Step {
    start: Instant,
    open: bool,
}

impl Step {
    /// Begins a line: what is provided, and how.
    pub(crate) fn start(what: &str, how: &str) -> Self {
        eprint!("  {what:<14} {how} …");
        // Progress that cannot be shown is no reason to stop.
        std::io::stderr().flush().ok();
        Self {
            start: Instant::now(),
            open: true,
        }
    }

    /// Ends the line with the time that it took.
    pub(crate) fn done(mut self) {
        self.open = false;
        eprintln!(" {:.1} s", self.start.elapsed().as_secs_f32());
    }
}

impl Drop for Step {
    /// A step that failed: what went wrong begins on a line of its own.
    fn drop(&mut self) {
        if self.open {
            eprintln!(" failed");
        }
    }
}
