//! Progress of a setup: one line for each step that takes time.

use std::{io::Write as _, time::Instant};

/// Step in progress: `  bpf-linker     building 0.13.0 … 41.3 s`.
///
/// The lines go to standard error; standard output belongs to the command.
pub(crate) struct Step {
    start: Instant,
    open: bool,
}

impl Step {
    /// Starts a line with the thing to provide, and the way.
    pub(crate) fn start(label: &str, action: &str) -> Self {
        eprint!("  {label:<14} {action} …");
        // A failure to show progress is no reason to stop.
        std::io::stderr().flush().ok();
        Self {
            start: Instant::now(),
            open: true,
        }
    }

    /// Ends the line with the elapsed time.
    pub(crate) fn done(mut self) {
        self.open = false;
        eprintln!(" {:.1} s", self.start.elapsed().as_secs_f32());
    }
}

impl Drop for Step {
    /// Ends the line of a failed step, so that the error starts a new line.
    fn drop(&mut self) {
        if self.open {
            eprintln!(" failed");
        }
    }
}
