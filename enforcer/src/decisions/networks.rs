//! Warnings about container networks (rule 4): packets that somebody may want, and that the policy
//! drops. An operator who has written the key `routed` or `allow` has decided, and is not warned.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use ipnet::{IpNet, Ipv6Net};

use crate::{
    host::HostSnapshot,
    interfaces::Interface,
    policy::{OptionsRow, PolicyHost, PolicyInterface, PolicyTables, Slots, compile},
    registry::Registry,
    wireguard::Device,
};

/// 2000::/3, the global unicast addresses (IANA, Internet Protocol Version 6 Address Space).
const GLOBAL_UNICAST: Ipv6Net =
    Ipv6Net::new_assert(std::net::Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// The most names in one sentence.
const MAX_NAMES: usize = 4;

/// A warning about container networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkWarning {
    /// Networks of global unicast addresses: a masquerade is unusual there.
    GlobalUnicast {
        /// The bridge of the networks.
        bridge: String,
        /// The networks.
        prefixes: Vec<IpNet>,
    },
    /// Peers behind WireGuard that a service or `[unregistered]` allows, and that no network of
    /// these bridges allows.
    PeersCutOff {
        /// The bridges, by name; at least one.
        bridges: Vec<String>,
        /// The peers, by name; at least one.
        peers: Vec<String>,
    },
}

impl NetworkWarning {
    /// Returns a bridge with a table that would end the warning.
    pub fn bridge(&self) -> &str {
        match self {
            Self::GlobalUnicast { bridge, .. } => bridge,
            Self::PeersCutOff { bridges, .. } => bridges.first().map_or("", String::as_str),
        }
    }

    /// Returns a peer that the warning is about.
    pub fn peer(&self) -> Option<&str> {
        match self {
            Self::GlobalUnicast { .. } => None,
            Self::PeersCutOff { peers, .. } => peers.first().map(String::as_str),
        }
    }

    /// Returns the fact in words: lower case, without a full stop at the end.
    pub fn text(&self) -> String {
        match self {
            Self::GlobalUnicast { bridge, prefixes } => {
                let (networks, have) = match prefixes.len() {
                    1 => ("network", "has"),
                    _ => ("networks", "have"),
                };
                let prefixes = listed(prefixes.iter().map(ToString::to_string));
                format!(
                    "container {networks} {prefixes} of {bridge} {have} global addresses \
                     (2000::/3): without a masquerade, rule 4 drops the replies to the \
                     containers' own connections"
                )
            }
            Self::PeersCutOff { bridges, peers } => {
                let (who, are) = match peers.len() {
                    1 => ("peer", "is"),
                    _ => ("peers", "are"),
                };
                let networks = match bridges.len() {
                    1 => "network",
                    _ => "networks",
                };
                let peers = listed(peers.iter().cloned());
                let bridges = listed(bridges.iter().cloned());
                format!(
                    "{who} {peers} on WireGuard {are} in no `allow` of the container {networks} \
                     of {bridges}: rule 4 drops such a peer's packets to the containers' own \
                     addresses"
                )
            }
        }
    }

    /// Returns the lines to add to the registry, in words.
    pub fn help(&self) -> String {
        let table = format!("[interfaces.{}]", toml_key(self.bridge()));
        match self {
            Self::GlobalUnicast { .. } => format!(
                "add `routed = true` under `{table}` if other hosts route to the containers, or \
                 `routed = false` if a masquerade hides the containers"
            ),
            Self::PeersCutOff { peers, .. } => {
                let first = peers.iter().take(MAX_NAMES);
                let mut names: Vec<String> = first.map(|peer| format!("\"{peer}\"")).collect();
                if peers.len() > MAX_NAMES {
                    names.push("…".to_owned());
                }
                format!(
                    "add `allow = [{}]` or `routed = true` under `{table}` if peers reach the \
                     containers on purpose, or `allow = []` if no peer does",
                    names.join(", ")
                )
            }
        }
    }
}

/// Returns the warnings about the container networks that a registry would have on a host.
///
/// # Errors
/// The registry exceeds a limit of the maps.
pub(crate) fn warnings_of(
    registry: &Registry,
    snapshot: &HostSnapshot,
) -> Result<Vec<NetworkWarning>> {
    let bridges = snapshot
        .iter()
        .filter(|interface| interface.is_kind("bridge"));
    let describe = |bridge: &Interface| PolicyInterface {
        ifindex: bridge.index,
        name: bridge.name.clone(),
        alternative_names: bridge.alternative_names.clone(),
        is_bridge: true,
        addresses: snapshot.addresses(bridge.index).collect(),
        ..PolicyInterface::default()
    };
    let host = PolicyHost {
        interfaces: bridges.map(describe).collect(),
        ..PolicyHost::default()
    };
    let tables = compile(registry, &host, &Slots::new())?;
    Ok(warnings(&tables, snapshot))
}

/// Returns the warnings about the container networks of a policy on a host.
pub(crate) fn warnings(tables: &PolicyTables, snapshot: &HostSnapshot) -> Vec<NetworkWarning> {
    let mut warnings = global_unicast(tables, snapshot);
    warnings.extend(peers_cut_off(tables, snapshot));
    warnings
}

/// The networks that rule 4 judges, by bridge, with the bridge's table.
fn judged<'a>(
    tables: &'a PolicyTables,
    snapshot: &'a HostSnapshot,
) -> impl Iterator<Item = (&'a Interface, Option<&'a OptionsRow>)> {
    let judged = tables.networks.values().filter(|row| !row.routed);
    let bridges: BTreeSet<u32> = judged.map(|row| row.bridge).collect();
    bridges.into_iter().filter_map(|index| {
        let bridge = snapshot.by_index(index)?;
        Some((bridge, tables.options_row(bridge.names())))
    })
}

fn global_unicast(tables: &PolicyTables, snapshot: &HostSnapshot) -> Vec<NetworkWarning> {
    let bridges =
        judged(tables, snapshot).filter(|(_, table)| !table.is_some_and(|table| table.has_routed));
    let warning = |(bridge, _): (&Interface, _)| {
        let networks = tables.networks.iter();
        let here = networks.filter(|(_, row)| row.bridge == bridge.index);
        let prefixes = here.filter_map(|((network, length), _)| {
            match IpNet::new((*network).into(), *length).ok()? {
                IpNet::V6(v6) if GLOBAL_UNICAST.contains(&v6) => Some(IpNet::V6(v6)),
                _ => None,
            }
        });
        let prefixes: Vec<IpNet> = prefixes.collect();
        (!prefixes.is_empty()).then(|| NetworkWarning::GlobalUnicast {
            bridge: bridge.name.clone(),
            prefixes,
        })
    };
    bridges.filter_map(warning).collect()
}

/// One warning for all bridges without the key `allow`, as the same peers are cut off there.
fn peers_cut_off(tables: &PolicyTables, snapshot: &HostSnapshot) -> Option<NetworkWarning> {
    let bridges =
        judged(tables, snapshot).filter(|(_, table)| !table.is_some_and(|table| table.has_allow));
    let bridges: Vec<String> = bridges.map(|(bridge, _)| bridge.name.clone()).collect();
    let services = tables.services.iter().map(|service| service.allow);
    let trusted = services.fold(tables.unregistered.allow, |all, allow| all.union(&allow));
    let mut devices: BTreeMap<&str, bool> = BTreeMap::new();
    let mut is_wireguard = |pattern| {
        let is_device = |interface: &Interface| Device::of(interface).is_some();
        *devices
            .entry(pattern)
            .or_insert_with(|| snapshot.matching(pattern).any(is_device))
    };
    let peers = (0u16..).zip(&tables.peers);
    let cut_off =
        peers.filter(|(number, peer)| trusted.contains(*number) && is_wireguard(&peer.interface));
    let peers: Vec<String> = cut_off.map(|(_, peer)| peer.name.clone()).collect();
    let is_any = !bridges.is_empty() && !peers.is_empty();
    is_any.then_some(NetworkWarning::PeersCutOff { bridges, peers })
}

/// Returns names as an enumeration; a long one ends with the number of the others.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(MAX_NAMES);
    let mut names: Vec<String> = names.take(MAX_NAMES).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Returns a name as a key of TOML: quoted where a bare key (letters, digits, `-`, `_`) would not
/// do (TOML 1.0, Keys).
pub(crate) fn toml_key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match name.bytes().all(is_bare) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}
