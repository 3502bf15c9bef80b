//! Peers by their WireGuard keys: as they are in force, and as they would be now.

use std::collections::BTreeMap;

use enforcer_ebpf::{Address, PeerSet};

use super::Survey;
use crate::{
    interfaces::Interface,
    policy::{PeerRow, Tables},
    registry::{Identity, MAX_PREFIXES, PublicKey, Registry},
    wireguard::{AllowedIps, Answer},
};

/// Why a peer by key grants nothing under a policy, by what WireGuard says now; `number` is the
/// peer's.
pub(super) fn why_waiting(
    tables: &Tables,
    survey: &Survey,
    number: u16,
    peer: &PeerRow,
    key: [u8; 32],
) -> Option<String> {
    let name = &peer.interface;
    let Some(interface) = survey.by_name(name) else {
        return Some(format!("there is no interface {name}"));
    };
    let row = tables.interfaces.get(&interface.index);
    if row.is_some_and(|row| row.carries.contains(number)) {
        return None;
    }
    let key = PublicKey::from(key);
    Some(match survey.wireguard(interface.index) {
        Some(Answer::NotWireGuard) | None => format!("{name} is no WireGuard device"),
        Some(Answer::Unknown(why)) => format!("{name} cannot be asked for its keys: {why}"),
        Some(Answer::Device(allowed)) if !allowed.has(&key) => {
            format!("{name} has no peer with its key")
        }
        Some(Answer::Device(allowed)) if allowed.iter().all(|(_, owner)| owner != key) => {
            format!("its key has no AllowedIPs on {name}")
        }
        Some(Answer::Device(allowed)) if is_too_large(allowed, tables) => {
            format!(
                "the {} AllowedIPs of {name} did not fit: all peers may have {MAX_PREFIXES} \
                 prefixes",
                allowed.len()
            )
        }
        Some(Answer::Device(_)) => {
            format!("{name} has its key since the last reload: `enforcer reload`")
        }
    })
}

/// The peers by key that wait, each with its reason.
pub(super) fn all_waiting(tables: &Tables, survey: &Survey) -> Vec<String> {
    let why = |(number, peer): (u16, &PeerRow)| {
        let why = why_waiting(tables, survey, number, peer, peer.key?)?;
        Some(format!("peer {} waits: {why}", peer.name))
    };
    (0u16..).zip(&tables.peers).filter_map(why).collect()
}

/// What to say of peers by key where the operator did not say `--static-peers`.
pub fn unfollowed(registry: &Registry) -> Option<String> {
    let mut peers = registry.peers().iter();
    peers
        .any(|peer| matches!(peer.identity, Identity::Key(_)))
        .then(|| {
            "peers by key are resolved as WireGuard is now, and this version does not follow it: \
             after a change of keys or AllowedIPs, run `enforcer reload`"
                .to_owned()
        })
}

/// Whether AllowedIPs that are not in the tables are left out because they do not fit, as far as
/// can be told: those that change nothing take no entry.
fn is_too_large(allowed: &AllowedIps, tables: &Tables) -> bool {
    allowed.len() + tables.prefixes.len() > MAX_PREFIXES
}

/// The interfaces on which the policy in force grants to keys what WireGuard does not say now, or
/// the other way round. A device that cannot be asked is none of them, nor one that does not fit.
///
/// A watcher reloads where this finds any.
pub fn stale<'a>(tables: &Tables, survey: &'a Survey) -> Vec<&'a str> {
    let none = AllowedIps::default();
    let differs = |interface: &&Interface| {
        let (name, ifindex) = (interface.name.as_str(), interface.index);
        let allowed = match survey.wireguard(ifindex) {
            Some(Answer::Device(allowed)) => allowed,
            Some(Answer::NotWireGuard) => &none,
            Some(Answer::Unknown(_)) | None => return false,
        };
        let by_key = by_key(tables, name);
        let everyone = by_key.values().fold(PeerSet::EMPTY, |a, b| a.union(b));
        let carries = tables.interfaces.get(&ifindex).map(|row| row.carries);
        if is_too_large(allowed, tables) && !carries.is_some_and(|it| it.meets(&everyone)) {
            return false;
        }
        let now: BTreeMap<(Address, u8), PeerSet> = allowed
            .iter()
            .map(|(prefix, key)| {
                let place = (Address::from(prefix.network()), prefix.prefix_len());
                (place, by_key.get(&key).copied().unwrap_or(PeerSet::EMPTY))
            })
            .collect();
        let first = Address::v4([0; 4]);
        let mut in_force = tables
            .prefixes
            .range((ifindex, first, 0)..(ifindex + 1, first, 0))
            .map(|((_, network, length), _)| (*network, *length));
        // Both only change at prefixes of their own: what agrees at all of these, agrees.
        let agrees = |(network, length): (Address, u8)| {
            let granted = tables.peers_within(ifindex, &network, length);
            let said = (0..=length)
                .rev()
                .find_map(|length| now.get(&(network.network(length), length)));
            let said = said.unwrap_or(&PeerSet::EMPTY);
            everyone
                .iter()
                .all(|peer| granted.contains(peer) == said.contains(peer))
        };
        !in_force.all(agrees) || !now.keys().copied().all(agrees)
    };
    let stale = survey.iter().filter(differs);
    stale.map(|interface| interface.name.as_str()).collect()
}

/// The peers of an interface that are known by each key.
fn by_key(tables: &Tables, interface: &str) -> BTreeMap<PublicKey, PeerSet> {
    let mut by_key = BTreeMap::new();
    for (number, peer) in (0u16..).zip(&tables.peers) {
        if let Some(key) = peer.key.filter(|_| peer.interface == interface) {
            let peers = by_key.entry(PublicKey::from(key)).or_insert(PeerSet::EMPTY);
            peers.insert(number);
        }
    }
    by_key
}
