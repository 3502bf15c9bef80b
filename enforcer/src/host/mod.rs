//! The host at one moment: interfaces, own addresses, answers of WireGuard, SSH sessions.

mod keys;
mod local_table;
mod logins;
mod retry;
pub(crate) mod sessions;
mod snapshot;
mod sshd;
mod udp_ports;

pub use keys::{Keys, ask};
pub use local_table::LocalTable;
pub use sessions::Owner;
pub(crate) use sessions::Session;
pub(crate) use snapshot::interfaces_with_keys;
pub use snapshot::{HostSnapshot, snapshot, snapshot_for, snapshot_of, snapshot_with};
