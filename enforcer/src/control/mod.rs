//! The writers: put a policy in force, change it, follow the host, confirm, roll back, take off.
//!
//! ```text
//! instance   the pin directory, its lock, its owner
//! up         a new set of pins, built beside the pins in force and put in their place
//! reload     another registry in the same pins
//! follow     the same registry on a changed host
//! confirm    the pending policy: accept, roll back; rollback_timer sees to the deadline
//! down       take everything off: the only way to open
//! keep       `run` puts pins back that another program removed; remount has systemd mount their
//!            file system
//! executor   carries out the steps of decisions::reconcile
//! lockout    gathers the facts for the lock-out check
//! ```
//!
//! Decisions are in `decisions`; the writers gather facts, take the lock and carry decisions out.

mod confirm;
mod down;
mod error;
mod executor;
mod follow;
mod instance;
mod keep;
mod lockout;
mod preload;
mod reload;
mod remount;
mod reserve;
mod rollback_timer;
pub(crate) mod sent;
mod socket_state;
mod up;

use anyhow::{Result, bail};

use crate::{
    decisions::networks::{self, NetworkWarning},
    host::HostSnapshot,
    kernel::{mounts, sys},
    procfs, registry,
};

pub use crate::decisions::{
    lockout::{Author, Consent, Danger, LockOut},
    pending::PendingPolicy,
};
pub use crate::kernel::runtime::{Holder, Patience};
pub use confirm::{Confirmed, RolledBack, confirm, pending, roll_back_if_due, roll_back_when_due};
pub use down::{Removed, Strays, down, strays};
pub use error::Error;
pub(crate) use executor::{find_attached, reconcile_in_place};
pub use follow::{Followed, Look, follow, guard_newcomers};
pub(crate) use instance::BELOW_ROOT;
pub use instance::{Instance, RUNTIME};
pub(crate) use keep::{Kept, keep};
pub(crate) use lockout::dangers;
pub use preload::{Preloaded, preload};
pub use reload::{Reloaded, Replaced, Terms, reload, replace};
pub(crate) use socket_state::{SocketState, socket_state};
pub(crate) use up::up_with_maps;
pub use up::{UpOptions, up};

/// Makes sure of a bpffs for the pins, as `up` and `run` do.
///
/// # Errors
/// The mount fails, or the parent is another file system.
pub fn make_parent(instance: &Instance) -> Result<()> {
    mounts::ensure_bpffs(instance.pins().parent())
}

/// Fails with the names of the capabilities missing to load and attach programs.
///
/// # Errors
/// A capability is missing.
pub fn check_privileges() -> Result<()> {
    let missing = sys::missing_capabilities();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "missing privileges: {} (CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed): run it as \
         root, with sudo",
        missing.join(", ")
    )
}

/// The warnings of a registry on this host.
///
/// # Errors
/// The range of ephemeral ports cannot be read, or the registry exceeds a limit of the maps.
pub fn host_warnings(
    registry: &registry::Registry,
    snapshot: Option<&HostSnapshot>,
) -> Result<registry::Diagnostics> {
    let networks = snapshot.map(|snapshot| networks::warnings_of(registry, snapshot));
    let networks = networks.transpose()?.unwrap_or_default();
    let names_of = |bridge: &str| {
        let bridge = snapshot.and_then(|snapshot| snapshot.by_name(bridge));
        let names = bridge.into_iter().flat_map(|bridge| bridge.names());
        names.map(str::to_owned).collect()
    };
    let warning = |network: &NetworkWarning| registry::InterfaceWarning {
        names: names_of(network.bridge()),
        peer: network.peer().map(str::to_owned),
        message: network.text(),
        help: network.help(),
    };
    let host = registry::HostFacts {
        ephemeral: procfs::sysctl::local_port_range()?,
        interfaces: snapshot.map(HostSnapshot::by_kind).unwrap_or_default(),
        warnings: networks.iter().map(warning).collect(),
    };
    Ok(registry::lint(registry, &host))
}
