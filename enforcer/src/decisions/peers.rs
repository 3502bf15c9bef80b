//! Peers by key: waiting peers, stale grants and revoked grants.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::{Address, PeerSet, layout::WIRE_VIEW};

use crate::{
    host::{HostSnapshot, interfaces_with_keys},
    interfaces::Interface,
    note::{Note, NoteKind},
    policy::{PeerRow, PolicyTables},
    registry::{MAX_PREFIXES, PublicKey, Registry},
    wireguard::{AllowedIps, Answer},
};

/// The reason why a peer by key waits under a policy, by the answers of WireGuard. `number` is the
/// peer's number.
pub(crate) fn why_waiting(
    tables: &PolicyTables,
    snapshot: &HostSnapshot,
    number: u16,
    peer: &PeerRow,
    key: [u8; 32],
) -> Option<String> {
    let name = &peer.interface;
    let Some(interface) = snapshot.by_name(name) else {
        return Some(format!("there is no interface {name}"));
    };
    // A revoked grant leaves a prefix without the peer.
    let mut grants = tables.prefixes.iter();
    if grants.any(|((ifindex, ..), peers)| *ifindex == interface.index && peers.contains(number)) {
        return None;
    }
    let key = PublicKey::from(key);
    Some(match snapshot.wireguard(interface.index) {
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

/// The waiting peers by key, each with the reason.
pub(crate) fn all_waiting(tables: &PolicyTables, snapshot: &HostSnapshot) -> Vec<Note> {
    let why = |(number, peer): (u16, &PeerRow)| {
        let why = why_waiting(tables, snapshot, number, peer, peer.key?)?;
        let text = format!("peer {} waits: {why}", peer.name);
        Some(Note::new(NoteKind::PeerWaiting, text).on(&peer.interface))
    };
    (0u16..).zip(&tables.peers).filter_map(why).collect()
}

/// The note of peers by key without a living `run`.
pub(crate) fn unfollowed(registry: &Registry) -> Option<Note> {
    let has_keys = !interfaces_with_keys(registry).is_empty();
    has_keys.then(|| {
        Note::new(
            NoteKind::PeersNotFollowed,
            "peers by key have the AllowedIPs of this moment, and no living `enforcer run` follows \
             WireGuard: after a change of keys or AllowedIPs, run `enforcer reload`",
        )
    })
}

/// The interfaces on which a policy knows peers by key.
pub(crate) fn interfaces_by_key(tables: &PolicyTables) -> BTreeSet<&str> {
    let peers = tables.peers.iter().filter(|peer| peer.key.is_some());
    peers.map(|peer| peer.interface.as_str()).collect()
}

/// The peers at one prefix of one interface: ifindex, network, length.
pub(crate) type Grant = ((u32, Address, u8), PeerSet);

/// The grants to keys without WireGuard's confirmation, each with the remaining peers.
///
/// A key keeps a grant at a prefix only if cryptokey routing (the longest prefix of AllowedIPs is
/// the identity) gives the key the whole prefix, but for prefixes within that the policy lists
/// apart. A key with a part of the prefix loses the grant as a whole. A device without an answer
/// confirms all grants.
pub(crate) fn revoked(tables: &PolicyTables, snapshot: &HostSnapshot) -> Vec<Grant> {
    let mut revoked = Vec::new();
    for ((ifindex, network, length), peers) in &tables.prefixes {
        let mut left = PeerSet::EMPTY;
        let is_confirmed = |number: &u16| match tables.peers.get(usize::from(*number)) {
            Some(peer) => confirms(tables, snapshot, *ifindex, (*network, *length), peer),
            None => true,
        };
        peers
            .iter()
            .filter(is_confirmed)
            .for_each(|number| left.insert(number));
        if left != *peers {
            revoked.push(((*ifindex, *network, *length), left));
        }
    }
    revoked
}

/// Whether WireGuard confirms the grant of a peer at a prefix. A peer by address needs no
/// confirmation.
fn confirms(
    tables: &PolicyTables,
    snapshot: &HostSnapshot,
    ifindex: u32,
    at: (Address, u8),
    peer: &PeerRow,
) -> bool {
    let Some(key) = peer.key else {
        return true;
    };
    // An interface that was made anew has another ifindex, and its old one may be reused.
    let is_here = |interface: &&Interface| interface.index == ifindex || ifindex & WIRE_VIEW != 0;
    let Some(interface) = snapshot.by_name(&peer.interface).filter(is_here) else {
        return false;
    };
    match snapshot.wireguard(interface.index) {
        Some(Answer::Device(allowed)) => owns(&PublicKey::from(key), at, allowed, ifindex, tables),
        Some(Answer::NotWireGuard) => false,
        Some(Answer::Unknown(_)) | None => true,
    }
}

/// Whether a key owns a prefix, but for parts listed apart in the policy.
fn owns(
    key: &PublicKey,
    at: (Address, u8),
    allowed: &AllowedIps,
    ifindex: u32,
    tables: &PolicyTables,
) -> bool {
    let is_within = |network: &Address, length: u8, outer: (Address, u8)| {
        length >= outer.1 && network.network(outer.1) == outer.0
    };
    let mut owner: Option<(u8, PublicKey)> = None;
    for (prefix, other) in allowed.iter() {
        let (network, length) = (Address::from(prefix.network()), prefix.prefix_len());
        if is_within(&at.0, at.1, (network, length)) {
            if owner.is_none_or(|(longest, _)| length >= longest) {
                owner = Some((length, other));
            }
        } else if other != *key && is_within(&network, length, at) {
            // A part of the prefix is another key's: fine if the policy lists a prefix between.
            let is_apart = (at.1 + 1..=length).any(|longer| {
                let place = (ifindex, network.network(longer), longer);
                tables.prefixes.contains_key(&place)
            });
            if !is_apart {
                return false;
            }
        }
    }
    owner.is_some_and(|(_, owner)| owner == *key)
}

/// Whether AllowedIPs are probably missing in the tables for lack of room: AllowedIPs without
/// effect take no entry.
fn is_too_large(allowed: &AllowedIps, tables: &PolicyTables) -> bool {
    allowed.len() + tables.prefixes.len() > MAX_PREFIXES
}

/// The interfaces with a difference between the policy's grants to keys and WireGuard's answers.
/// Devices without an answer, and devices without room in the maps, count as equal.
///
/// A watcher reloads where this finds any.
pub(crate) fn stale<'a>(tables: &PolicyTables, snapshot: &'a HostSnapshot) -> Vec<&'a str> {
    let none = AllowedIps::default();
    let differs = |interface: &&Interface| {
        let ifindex = interface.index;
        let allowed = match snapshot.wireguard(ifindex) {
            Some(Answer::Device(allowed)) => allowed,
            Some(Answer::NotWireGuard) => &none,
            Some(Answer::Unknown(_)) | None => return false,
        };
        let by_key = by_key(tables, interface);
        let everyone = by_key.values().fold(PeerSet::EMPTY, |a, b| a.union(b));
        let carries = tables.interfaces.get(&ifindex).map(|row| row.carries);
        if is_too_large(allowed, tables) && !carries.is_some_and(|it| it.shares_with(&everyone)) {
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
        // Grants change only at listed prefixes: agreement at all of these is agreement everywhere.
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
    let stale = snapshot.iter().filter(differs);
    stale.map(|interface| interface.name.as_str()).collect()
}

/// The peers of an interface, by key.
fn by_key(tables: &PolicyTables, interface: &Interface) -> BTreeMap<PublicKey, PeerSet> {
    let mut by_key = BTreeMap::new();
    for (number, peer) in (0u16..).zip(&tables.peers) {
        if let Some(key) = peer.key.filter(|_| interface.is_named(&peer.interface)) {
            let peers = by_key.entry(PublicKey::from(key)).or_insert(PeerSet::EMPTY);
            peers.insert(number);
        }
    }
    by_key
}
