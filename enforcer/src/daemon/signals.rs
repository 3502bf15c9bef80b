//! The signals of an operator: TERM and INT end `run`, HUP reloads, USR1 and USR2 do nothing.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The wish behind a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signalled {
    /// `run` is to end.
    End,
    /// The registry is to be read again.
    Reload,
}

/// The signals of this process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Taken and forgotten: by default, these signals end a process.
    user: [Signal; 2],
}

impl Signals {
    /// Listens for the signals.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn listen() -> Result<Self> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            user: [
                listen(SignalKind::user_defined1())?,
                listen(SignalKind::user_defined2())?,
            ],
        })
    }

    /// Waits for a signal with a meaning. A cancelled call loses no signal.
    pub(super) async fn next(&mut self) -> Signalled {
        let [first, second] = &mut self.user;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Signalled::End,
                _ = self.interrupt.recv() => return Signalled::End,
                _ = self.hang_up.recv() => return Signalled::Reload,
                _ = first.recv() => {}
                _ = second.recv() => {}
            }
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).with_context(|| format!("failed to listen for signal {}", kind.as_raw_value()))
}
