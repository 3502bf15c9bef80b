//! From a registry, and the interfaces of this host, to the tables of one policy.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use enforcer_ebpf::{
    Address, Mode, PeerSet, Protocol,
    layout::{Binding, MAX_RULES, PREFIX_ENTRIES, SLOTS, WIRE_VIEW},
};
use ipnet::IpNet;

use super::tables::{InterfaceRow, PeerRow, Rule, ServiceRow, Tables};
use crate::{
    interfaces,
    registry::{Identity, Registry},
};

/// An interface, as the policy needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The ifindex.
    pub ifindex: u32,
    /// The name.
    pub name: String,
    /// The MAC address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// The interfaces whose packets its wire guard cannot tell from its own, by ifindex: VLAN
    /// devices, whose tag XDP does not see, and the master of a guarded member.
    pub merged: Vec<u32>,
    /// Macvlan or macvtap devices sit on it.
    pub has_children: bool,
}

/// Slots by port, as they are in use.
pub type Slots = BTreeMap<(Protocol, u16), u16>;

/// Compiles a registry. Ports keep the slots that `taken` gives them; others get free ones.
///
/// # Errors
/// A limit of the maps, named.
pub fn compile(registry: &Registry, interfaces: &[Attachment], taken: &Slots) -> Result<Tables> {
    let peer_numbers: BTreeMap<&str, u16> = (0u16..)
        .zip(registry.peers())
        .map(|(number, peer)| (peer.name.as_str(), number))
        .collect();
    let services = registry
        .services()
        .iter()
        .map(|service| ServiceRow {
            name: service.name.clone(),
            allow: service.allow.iter().fold(PeerSet::EMPTY, |mut set, name| {
                if let Some(number) = peer_numbers.get(name.as_str()) {
                    set.insert(*number);
                }
                set
            }),
        })
        .collect();
    let mut tables = Tables {
        mode: registry.mode(),
        services,
        peers: Vec::new(),
        rules: rules(registry)?,
        ports: ports(registry, taken)?,
        interfaces: BTreeMap::new(),
        prefixes: BTreeMap::new(),
    };
    let index_of = |name: &str| {
        interfaces
            .iter()
            .find(|i| i.name == name)
            .map(|i| i.ifindex)
    };
    let mut prefixes: BTreeMap<u32, Vec<(IpNet, u16)>> = BTreeMap::new();
    for (number, peer) in (0u16..).zip(registry.peers()) {
        let ifindex = index_of(&peer.interface);
        let (key, active) = match &peer.identity {
            // Not resolved yet: it is shown as waiting, and grants nothing.
            Identity::Key(key) => (Some(*key.as_bytes()), false),
            Identity::Addresses(addresses) => {
                if let Some(ifindex) = ifindex {
                    let own = prefixes.entry(ifindex).or_default();
                    own.extend(addresses.iter().map(|prefix| (*prefix, number)));
                }
                (None, ifindex.is_some())
            }
        };
        tables.peers.push(PeerRow {
            name: peer.name.clone(),
            interface: peer.interface.clone(),
            key,
            active,
        });
    }
    for interface in interfaces {
        let forward = tables.rule(&interface.name).forward;
        let own = prefixes
            .get(&interface.ifindex)
            .map_or(&[][..], Vec::as_slice);
        let row = InterfaceRow {
            forward,
            children_of: interface.mac.filter(|_| interface.has_children),
            vlan_parent: !interface.merged.is_empty(),
            ..InterfaceRow::default()
        };
        add_interface(&mut tables, interface.ifindex, row.clone(), own.to_vec());
        if row.vlan_parent {
            // What any of them would pass: the union of them and itself.
            let devices = || {
                interfaces
                    .iter()
                    .filter(|i| interface.merged.contains(&i.ifindex))
            };
            let mut all = own.to_vec();
            for device in devices() {
                all.extend(prefixes.get(&device.ifindex).into_iter().flatten());
            }
            let forward = forward || devices().any(|d| tables.rule(&d.name).forward);
            let view = InterfaceRow {
                forward,
                vlan_parent: false,
                ..row
            };
            add_interface(&mut tables, interface.ifindex | WIRE_VIEW, view, all);
        }
    }
    let most = PREFIX_ENTRIES as usize / 2;
    ensure!(
        tables.prefixes.len() <= most,
        "the peers have {} prefixes on this host's interfaces, and the limit is {most}",
        tables.prefixes.len()
    );
    Ok(tables)
}

/// Adds what there is to say about an interface, if there is anything.
fn add_interface(
    tables: &mut Tables,
    ifindex: u32,
    mut row: InterfaceRow,
    prefixes: Vec<(IpNet, u16)>,
) {
    for (prefix, peers) in longest_matches(prefixes) {
        row.carries = row.carries.union(&peers);
        let (network, length) = (Address::from(prefix.network()), prefix.prefix_len());
        tables.prefixes.insert((ifindex, network, length), peers);
    }
    if row != InterfaceRow::default() {
        tables.interfaces.insert(ifindex, row);
    }
}

/// For each distinct prefix, the peers at the addresses whose longest match it is: a peer by
/// address is at every address of its prefixes, so those of the wider ones are there too.
fn longest_matches(mut prefixes: Vec<(IpNet, u16)>) -> Vec<(IpNet, PeerSet)> {
    // By network and then by length: each prefix comes after all that contain it.
    prefixes.sort_by_key(|(prefix, peer)| (prefix.network(), prefix.prefix_len(), *peer));
    let mut found: Vec<(IpNet, PeerSet)> = Vec::with_capacity(prefixes.len());
    let mut around: Vec<usize> = Vec::new();
    for (prefix, peer) in prefixes {
        if let Some((last, peers)) = found.last_mut()
            && *last == prefix
        {
            peers.insert(peer);
            continue;
        }
        while around
            .last()
            .is_some_and(|&i| !found[i].0.contains(&prefix))
        {
            around.pop();
        }
        let mut peers = around.last().map_or(PeerSet::EMPTY, |&i| found[i].1);
        peers.insert(peer);
        around.push(found.len());
        found.push((prefix, peers));
    }
    found
}

fn rules(registry: &Registry) -> Result<Vec<Rule>> {
    let count = registry.interfaces().len();
    ensure!(
        count <= MAX_RULES as usize,
        "the registry has {count} [interfaces] tables, and the limit is {MAX_RULES}"
    );
    Ok(registry
        .interfaces()
        .iter()
        .map(|rule| Rule {
            pattern: rule.pattern.clone(),
            said: interfaces::Rule::from(rule),
        })
        .collect())
}

fn ports(registry: &Registry, taken: &Slots) -> Result<BTreeMap<(Protocol, u16), Binding>> {
    let used: BTreeSet<u16> = taken.values().copied().collect();
    let last = u16::try_from(SLOTS).context("slots are numbered with 16 bits")?;
    let mut free = (1..last).filter(|slot| !used.contains(slot));
    let mut ports = BTreeMap::new();
    for (number, service) in (0u16..).zip(registry.services()) {
        for &(protocol, port) in &service.ports {
            let slot = match taken.get(&(protocol, port)) {
                Some(slot) => *slot,
                // Twice the ports that a registry may have: there is always one.
                None => free.next().context("no slot is free")?,
            };
            let binding = Binding {
                slot,
                service: number,
                public: service.public,
                audit: registry.mode_of(service) == Mode::Audit,
                has_peers: !service.allow.is_empty(),
            };
            ports.insert((protocol, port), binding);
        }
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(peers: &[u16]) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        peers.iter().for_each(|peer| set.insert(*peer));
        set
    }

    #[test]
    fn a_narrow_prefix_keeps_the_peers_of_the_wide_ones_around_it() {
        let prefixes = [
            ("10.0.0.0/8", 0),
            ("10.1.0.0/16", 1),
            ("10.1.2.0/24", 2),
            ("10.1.2.0/24", 3),
            ("10.2.0.0/16", 4),
            ("11.0.0.0/8", 5),
            ("fd00::/8", 6),
            ("::/0", 7),
        ]
        .map(|(prefix, peer)| (prefix.parse().unwrap(), peer));
        let found: BTreeMap<String, PeerSet> = longest_matches(prefixes.to_vec())
            .into_iter()
            .map(|(prefix, peers)| (prefix.to_string(), peers))
            .collect();
        assert_eq!(found["10.0.0.0/8"], set(&[0]));
        assert_eq!(found["10.1.0.0/16"], set(&[0, 1]));
        assert_eq!(found["10.1.2.0/24"], set(&[0, 1, 2, 3]));
        assert_eq!(found["10.2.0.0/16"], set(&[0, 4]));
        assert_eq!(found["11.0.0.0/8"], set(&[5]));
        assert_eq!(found["fd00::/8"], set(&[6, 7]));
        assert_eq!(found.len(), 7);
    }
}
