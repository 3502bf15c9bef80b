//! The facts of `status`, read from the pins, the maps and the host.

use std::collections::BTreeMap;

use enforcer_ebpf::layout::State;

use crate::{
    control::{Error, Instance, find_attached},
    decisions::{attached::AttachedGuards, peers::interfaces_by_key, pending::PendingState},
    host::{HostSnapshot, snapshot},
    policy::PolicyTables,
};

/// The content of a pin directory.
pub(super) enum Found {
    /// No pins; an interrupted command may have left guards beside them.
    Nothing {
        /// Whether leftovers of a command exist.
        interrupted: bool,
    },
    /// Pins, with the facts about them.
    Pins(Box<Facts>),
}

/// The facts about a pin directory and its host at one moment.
pub(super) struct Facts {
    /// The identity and the flags of the pin directory.
    pub(super) state: State,
    /// The policy in force.
    pub(super) tables: PolicyTables,
    /// The state of the last pending policy.
    pub(super) pending: PendingState,
    /// The host, with the answers of WireGuard for the interfaces of peers by key.
    pub(super) snapshot: HostSnapshot,
    /// The attached wire guards.
    pub(super) attached: AttachedGuards,
    /// The ifindexes of early guards.
    pub(super) early: Vec<u32>,
    /// Whether the socket guard is attached.
    pub(super) has_socket_guard: bool,
    /// Whether a command was interrupted and left guards beside the pins.
    pub(super) interrupted: bool,
    /// The packets that bypassed wire guards, by ifindex.
    pub(super) bypasses: BTreeMap<u32, u64>,
}

/// Reads the facts about a pin directory.
///
/// # Errors
/// The pins cannot be read, or are another namespace's.
pub(super) async fn gather(instance: &Instance) -> Result<Found, Error> {
    let mut snapshot = snapshot().await?;
    let Some(maps) = instance.maps()? else {
        let interrupted = instance.is_interrupted()?;
        return Ok(Found::Nothing { interrupted });
    };
    let tables = maps.tables()?;
    snapshot.ask_wireguard(interfaces_by_key(&tables)).await;
    let early = instance.pins().early_links()?;
    Ok(Found::Pins(Box::new(Facts {
        state: maps.state(),
        pending: maps.pending(),
        attached: find_attached(instance.pins(), &snapshot)?,
        early: early.into_iter().map(|(ifindex, _)| ifindex).collect(),
        has_socket_guard: instance.has_socket_guard()?,
        interrupted: instance.is_interrupted()?,
        bypasses: maps.bypasses(),
        tables,
        snapshot,
    })))
}
