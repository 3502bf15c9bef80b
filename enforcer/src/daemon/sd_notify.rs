//! Messages to the service manager: sd_notify(3).

use std::io;

use ::sd_notify::{NotifyState, notify};

/// Says READY: the guards hold.
///
/// # Errors
/// The service manager's socket refuses.
pub(super) fn ready() -> io::Result<()> {
    notify(&[NotifyState::Ready])
}

/// Names the generation in force, for `systemctl status`.
pub(super) fn generation(generation: u32) {
    let text = format!("generation {generation} in force");
    notify(&[NotifyState::Status(&text)]).ok();
}

/// Says STOPPING: `run` is about to end.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]).ok();
}
