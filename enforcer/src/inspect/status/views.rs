//! Container networks and `[unregistered]`, as `status` shows them.

use enforcer_ebpf::{Address, Mode, Protocol};
use ipnet::IpNet;
use serde::Serialize;

use crate::{
    host::HostSnapshot,
    policy::{NetworkRow, PolicyTables},
};

/// A container network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkView {
    /// The network's bridge.
    pub interface: String,
    /// The subnet.
    pub prefix: String,
    /// `enforce` or `audit`.
    pub mode: &'static str,
    /// Whether the network is routed on purpose, and not judged.
    pub routed: bool,
}

/// The action on ports without a service, by protocol: `pass`, `audit` or `drop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UnregisteredView {
    /// TCP.
    pub tcp: &'static str,
    /// UDP and UDP-Lite.
    pub udp: &'static str,
    /// SCTP.
    pub sctp: &'static str,
}

impl UnregisteredView {
    /// The view with nothing in force.
    pub const NONE: Self = Self {
        tcp: "pass",
        udp: "pass",
        sctp: "pass",
    };

    /// The view of a policy.
    pub(super) fn of(tables: &PolicyTables) -> Self {
        let action = |protocol: Protocol| match tables.unregistered.modes[protocol as usize] {
            None => "pass",
            Some(Mode::Audit) => "audit",
            Some(Mode::Enforce) => "drop",
        };
        Self {
            tcp: action(Protocol::Tcp),
            udp: action(Protocol::Udp),
            sctp: action(Protocol::Sctp),
        }
    }

    /// Whether every protocol passes.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// Returns the container networks of a policy, by subnet.
pub(super) fn networks(tables: &PolicyTables, snapshot: &HostSnapshot) -> Vec<NetworkView> {
    let view = |(&(network, length), row): (&(Address, u8), &NetworkRow)| {
        let interface = snapshot.by_index(row.bridge);
        let prefix = IpNet::new(network.into(), length).ok()?;
        Some(NetworkView {
            interface: interface.map_or_else(String::new, |bridge| bridge.name.clone()),
            prefix: prefix.to_string(),
            mode: row.mode.name(),
            routed: row.routed,
        })
    };
    tables.networks.iter().filter_map(view).collect()
}
