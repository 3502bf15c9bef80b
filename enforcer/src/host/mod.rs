//! The host at one moment: interfaces, answers of WireGuard, SSH sessions.

mod keys;
pub(crate) mod sessions;
mod snapshot;

pub use keys::Keys;
pub(crate) use sessions::Session;
pub use snapshot::{HostSnapshot, snapshot, snapshot_for};
pub(crate) use snapshot::{interfaces_with_keys, snapshot_at_once};
