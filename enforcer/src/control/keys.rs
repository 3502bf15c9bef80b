//! Peers by their WireGuard keys: as they are in force, and as they would be now.

use std::{collections::BTreeMap, time::Duration};

use enforcer_ebpf::{Address, PeerSet};
use tokio::time::timeout;

use super::Survey;
use crate::{
    interfaces::Interface,
    policy::{PeerRow, Tables},
    registry::{Identity, MAX_PREFIXES, PublicKey, Registry},
    wireguard::{self, AllowedIps, Answer},
};

/// What WireGuard last said of the interfaces on which there are peers by key.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<(Interface, Answer)>);

impl Keys {
    pub(super) fn of(survey: &Survey) -> Self {
        let answer = |interface: &Interface| {
            let answer = survey.wireguard(interface.index)?.clone();
            Some((interface.clone(), answer))
        };
        Self(survey.iter().filter_map(answer).collect())
    }

    /// Whether there is nobody to ask: no such interface, or no peer by key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a device whose answer was not waited for.
    pub fn is_incomplete(&self) -> bool {
        self.0.iter().any(|(_, answer)| *answer == late())
    }

    /// Asks again, as WireGuard tells nobody of a change; `None` where nothing is different.
    pub async fn changed(&self) -> Option<Self> {
        let mut now = Vec::new();
        for (interface, _) in &self.0 {
            now.push((interface.clone(), wireguard::ask(interface).await));
        }
        let now = Self(now);
        (now.0 != self.0).then_some(now)
    }

    /// What the device behind an interface answered, if it is one that was asked. One that was not
    /// is waited for a moment: only one that hangs must not hold everything up, and its peers wait
    /// until it has answered.
    pub(super) async fn answer(&self, interface: &Interface) -> Answer {
        let is_it = |asked: &Interface| {
            (asked.index, &asked.name, &asked.kind)
                == (interface.index, &interface.name, &interface.kind)
        };
        if let Some((_, answer)) = self.0.iter().find(|(asked, _)| is_it(asked)) {
            return answer.clone();
        }
        timeout(MOMENT, wireguard::ask(interface))
            .await
            .unwrap_or_else(|_| late())
    }
}

/// How long a device is waited for that was never asked.
const MOMENT: Duration = Duration::from_secs(1);

/// The answer of a device that was not waited for.
fn late() -> Answer {
    Answer::Unknown("it has not answered yet".to_owned())
}

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
            "peers by key are resolved as WireGuard is now, and no `enforcer run` lives that would \
             follow it: after a change of keys or AllowedIPs, run `enforcer reload`"
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
        if is_too_large(allowed, tables) && !carries.is_some_and(|it| it.intersects(&everyone)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::InterfaceRow;

    fn key(byte: u8) -> PublicKey {
        PublicKey::from([byte; 32])
    }

    fn set(peers: &[u16]) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        peers.iter().for_each(|peer| set.insert(*peer));
        set
    }

    fn device(prefixes: &[(u8, &str)]) -> Answer {
        let mut allowed = AllowedIps::default();
        allowed.insert(key(9));
        for (byte, prefix) in prefixes {
            allowed.allow(key(*byte), prefix.parse().unwrap()).unwrap();
        }
        Answer::Device(allowed)
    }

    fn survey(answer: Answer) -> Survey {
        let wg0 = Interface {
            index: 5,
            name: "wg0".to_owned(),
            ..Interface::default()
        };
        Survey::of(vec![(wg0, answer)])
    }

    /// Peer 0 by key 1 and peer 1 by address, and these entries on wg0.
    fn tables(entries: &[(&str, &[u16])]) -> Tables {
        let peer = |name: &str, key| PeerRow {
            name: name.to_owned(),
            interface: "wg0".to_owned(),
            key,
            active: true,
        };
        let mut tables = Tables {
            peers: vec![peer("laptop", Some([1; 32])), peer("office", None)],
            ..Tables::default()
        };
        let mut row = InterfaceRow::default();
        for (prefix, peers) in entries {
            let prefix: ipnet::IpNet = prefix.parse().unwrap();
            let place = (5, Address::from(prefix.network()), prefix.prefix_len());
            row.carries = row.carries.union(&set(peers));
            tables.prefixes.insert(place, set(peers));
        }
        tables.interfaces.insert(5, row);
        tables
    }

    #[test]
    fn a_policy_is_stale_where_wireguard_says_something_else() {
        let in_force = tables(&[
            ("10.0.0.0/8", &[0]),
            ("10.1.0.0/16", &[0, 1]),
            ("10.1.2.0/24", &[1]),
        ]);
        let is_stale = |answer| !stale(&in_force, &survey(answer)).is_empty();
        let hole = (2, "10.1.2.0/24");
        assert!(!is_stale(device(&[(1, "10.0.0.0/8"), hole])));
        // What changes nothing is no change: another key elsewhere, a prefix within its own.
        let more = [(3, "192.0.2.0/24"), (1, "10.7.0.0/16"), (4, "10.1.2.3/32")];
        let same = [&[(1, "10.0.0.0/8"), hole], &more[..]].concat();
        assert!(!is_stale(device(&same)));

        assert!(is_stale(device(&[(1, "10.0.0.0/8")])), "the hole is gone");
        assert!(is_stale(device(&[(1, "10.0.0.0/9"), hole])), "narrower");
        assert!(is_stale(device(&[(1, "0.0.0.0/0"), hole])), "wider");
        let new_hole = [(1, "10.0.0.0/8"), hole, (2, "10.8.0.1/32")];
        assert!(is_stale(device(&new_hole)));
        let other_family = [(1, "10.0.0.0/8"), hole, (1, "::/0")];
        assert!(is_stale(device(&other_family)));
        assert!(is_stale(device(&[(2, "10.0.0.0/8")])), "moved");
        assert!(is_stale(device(&[])), "gone");
        assert!(is_stale(Answer::NotWireGuard));
        assert!(!is_stale(Answer::Unknown("it is silent".to_owned())));
    }

    #[test]
    fn a_device_that_does_not_fit_is_not_stale_for_ever() {
        let hub: Vec<String> = (0..=10_000u32)
            .map(|n| format!("{}/32", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)))
            .collect();
        let large: Vec<(u8, &str)> = hub.iter().map(|it| (1, it.as_str())).collect();
        let survey = survey(device(&large));
        let without = tables(&[("192.0.2.0/24", &[1])]);
        assert!(stale(&without, &survey).is_empty());
        let why = why_waiting(&without, &survey, 0, &without.peers[0], [1; 32]).unwrap();
        assert!(why.contains("did not fit"), "{why}");
        assert_eq!(stale(&tables(&[("10.0.0.0/8", &[0])]), &survey), ["wg0"]);
    }

    #[test]
    fn it_is_said_why_a_peer_waits() {
        let waiting = tables(&[("192.0.2.0/24", &[1])]);
        let why = |survey: &Survey, byte: u8| {
            why_waiting(&waiting, survey, 0, &waiting.peers[0], [byte; 32]).unwrap()
        };
        let said = |answer, byte| why(&survey(answer), byte);
        assert_eq!(why(&Survey::of(vec![]), 1), "there is no interface wg0");
        assert_eq!(said(Answer::NotWireGuard, 1), "wg0 is no WireGuard device");
        assert_eq!(said(device(&[]), 1), "wg0 has no peer with its key");
        assert_eq!(said(device(&[]), 9), "its key has no AllowedIPs on wg0");
        assert!(said(device(&[(1, "::/0")]), 1).contains("`enforcer reload`"));
        let silent = Answer::Unknown("it is silent".to_owned());
        assert!(said(silent, 1).ends_with("keys: it is silent"));
        let there = tables(&[("10.0.0.0/8", &[0])]);
        let now = survey(device(&[(1, "10.0.0.0/8")]));
        assert_eq!(why_waiting(&there, &now, 0, &there.peers[0], [1; 32]), None);
    }
}
