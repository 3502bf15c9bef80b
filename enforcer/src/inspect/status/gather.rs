//! The facts of `status`, read from the pins, the maps and the host.

use std::collections::BTreeMap;

use enforcer_ebpf::layout::State;

use crate::{
    control::{Error, Instance, find_attached, sent},
    decisions::{attached::AttachedGuards, peers::interfaces_by_key, pending::PendingState},
    host::{HostSnapshot, snapshot},
    kernel::{
        links::{self, Cgroup},
        maps::Maps,
        mounts,
    },
    policy::PolicyTables,
};

/// The content of a pin directory.
pub(super) enum Found {
    /// No pins of a living network namespace.
    Nothing {
        /// The surroundings of the pin directory.
        around: Around,
        /// Whether the pins guarded a network namespace that is gone.
        is_gone: bool,
    },
    /// Pins, with the facts about them.
    Pins(Box<Facts>),
}

/// The facts about the surroundings of a pin directory.
#[derive(Default)]
pub(super) struct Around {
    /// Whether a command was interrupted and left guards beside the pins.
    pub(super) interrupted: bool,
    /// The guards that no pin reaches, in words.
    pub(super) strays: Vec<String>,
    /// The write permission of other users in the parent directory, in words with the cure.
    pub(super) open_parent: Option<String>,
}

impl Around {
    fn of(instance: &Instance) -> Result<Self, Error> {
        let strays = instance.strays()?;
        Ok(Self {
            interrupted: instance.is_interrupted()?,
            strays: strays.iter().map(ToString::to_string).collect(),
            // Without a parent directory there are no pins.
            open_parent: mounts::open_to_others(instance.pins().parent()).unwrap_or_default(),
        })
    }
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
    /// The cgroup of the socket guard; `None` if the guard is not attached.
    pub(super) socket_cgroup: Option<Cgroup>,
    /// Whether the programs that note what sockets send over UDP are attached.
    pub(super) notes_sent: bool,
    /// The reason why no socket guard can be attached here, in words.
    pub(super) no_cgroup: Option<String>,
    /// The names of the maps without a pin: nothing is known about the policy then.
    pub(super) missing: Vec<&'static str>,
    /// The surroundings of the pin directory.
    pub(super) around: Around,
    /// The packets that bypassed wire guards, by ifindex.
    pub(super) bypasses: BTreeMap<u32, u64>,
}

/// Reads the facts about a pin directory; `open` are its maps, if the caller has opened them.
///
/// # Errors
/// The pins cannot be read, or are another namespace's.
pub(super) async fn gather(instance: &Instance, open: Option<Maps>) -> Result<Found, Error> {
    let mut snapshot = snapshot().await?;
    let missing = instance.missing_maps()?;
    let maps = match (missing.is_empty(), open) {
        (true, Some(open)) => Some(open),
        (true, None) => instance.maps()?,
        (false, _) => None,
    };
    let around = Around::of(instance)?;
    if maps.is_none() && missing.is_empty() {
        let is_gone = instance.pins().exists()?;
        return Ok(Found::Nothing { around, is_gone });
    }
    let (state, tables, pending, bypasses) = match maps {
        Some(maps) => (
            maps.state(),
            maps.tables()?,
            maps.pending(),
            maps.bypasses(),
        ),
        None => (
            State::default(),
            PolicyTables::default(),
            PendingState::None,
            BTreeMap::new(),
        ),
    };
    snapshot.ask_wireguard(interfaces_by_key(&tables)).await;
    let early = instance.pins().early_links()?;
    let socket_cgroup = links::attached_cgroup(&instance.pins().socket_link())?;
    let no_cgroup = match socket_cgroup {
        Some(_) => None,
        None => mounts::cgroup_root(instance.cgroup()).err(),
    };
    Ok(Found::Pins(Box::new(Facts {
        state,
        pending,
        attached: find_attached(instance.pins(), &snapshot)?,
        early: early.into_iter().map(|(ifindex, _)| ifindex).collect(),
        socket_cgroup,
        notes_sent: !tables.judges_unregistered_udp() || sent::is_attached(instance.pins())?,
        no_cgroup: no_cgroup.map(|why| format!("{why:#}")),
        missing,
        around,
        bypasses,
        tables,
        snapshot,
    })))
}
