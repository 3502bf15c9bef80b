//! What the service manager is told: sd_notify(3).

use ::sd_notify::NotifyState;

use super::note;

/// The guards hold.
pub(crate) fn ready() {
    if let Err(error) = ::sd_notify::notify(&[NotifyState::Ready]) {
        note(&format!(
            "the service manager cannot be told READY: {error}"
        ));
    }
}

/// `systemctl status` shows it.
pub(crate) fn tell(generation: u32) {
    let text = format!("generation {generation} in force");
    ::sd_notify::notify(&[NotifyState::Status(&text)]).ok();
}

/// The end has begun.
pub(crate) fn stopping() {
    ::sd_notify::notify(&[NotifyState::Stopping]).ok();
}
