//! Interfaces above and below each other, for look-ups in time that does not grow with the host.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::facts::Interface;

/// The interfaces of a host by ifindex, master and parent.
pub(super) struct Relations<'a> {
    by_index: BTreeMap<u32, &'a Interface>,
    members: BTreeMap<u32, Vec<&'a Interface>>,
    children: BTreeMap<u32, Vec<&'a Interface>>,
}

impl<'a> Relations<'a> {
    /// Sorts interfaces by their relations.
    pub(super) fn of(interfaces: &'a [Interface]) -> Self {
        let mut relations = Self {
            by_index: BTreeMap::new(),
            members: BTreeMap::new(),
            children: BTreeMap::new(),
        };
        for interface in interfaces {
            // The first of two of one ifindex, if the kernel ever told so.
            relations
                .by_index
                .entry(interface.index)
                .or_insert(interface);
            if let Some(master) = interface.master {
                relations.members.entry(master).or_default().push(interface);
            }
            if let Some(parent) = interface.parent {
                relations
                    .children
                    .entry(parent)
                    .or_default()
                    .push(interface);
            }
        }
        relations
    }

    /// Returns the interface of an ifindex.
    pub(super) fn by_index(&self, index: u32) -> Option<&'a Interface> {
        self.by_index.get(&index).copied()
    }

    /// Returns the interfaces with this master.
    pub(super) fn members(&self, master: &Interface) -> impl Iterator<Item = &'a Interface> {
        self.members
            .get(&master.index)
            .into_iter()
            .flatten()
            .copied()
    }

    /// Returns the interfaces with the parent of this ifindex: VLAN and macvlan devices, and the
    /// other end of a veth.
    pub(super) fn children(&self, parent: u32) -> impl Iterator<Item = &'a Interface> {
        self.children.get(&parent).into_iter().flatten().copied()
    }
}

impl<'a> Relations<'a> {
    /// Returns the master that takes the interface's packets by an rx_handler: any but a VRF, which
    /// takes packets over within IP (`vrf_ip_rcv`).
    pub(super) fn rx_master(&self, interface: &Interface) -> Option<&'a Interface> {
        let master = self.by_index(interface.master?)?;
        (!master.is_kind("vrf")).then_some(master)
    }

    /// Returns the masters by [`Self::rx_master`], nearest first.
    pub(super) fn rx_masters(&self, interface: &Interface) -> Vec<&'a Interface> {
        self.chain(interface, |below| self.rx_master(below))
    }

    /// Returns the interfaces that an interface stands on: the parent of a VLAN or macvlan device,
    /// and so on down.
    pub(super) fn parents(&self, interface: &Interface) -> Vec<&'a Interface> {
        self.chain(interface, |above| {
            let parent = above.parent.filter(|_| stands_on_parent(above));
            self.by_index(parent?)
        })
    }

    /// Follows a relation; no interface comes twice, whatever the kernel said.
    fn chain(
        &self,
        interface: &Interface,
        next: impl Fn(&Interface) -> Option<&'a Interface>,
    ) -> Vec<&'a Interface> {
        let mut found: Vec<&Interface> = Vec::new();
        let mut last = next(interface);
        while let Some(one) = last {
            let is_known = found.iter().any(|known| known.index == one.index);
            if is_known || one.index == interface.index {
                break;
            }
            found.push(one);
            last = next(one);
        }
        found
    }

    /// Returns the interfaces right above: the master, and the devices that stand on the interface
    /// (`netdev_upper_dev_link` in net/core/dev.c).
    pub(super) fn uppers(&self, interface: &Interface) -> Vec<&'a Interface> {
        let master = interface.master.and_then(|master| self.by_index(master));
        let children = self.children(interface.index);
        let standing = children.filter(|child| stands_on_parent(child));
        master.into_iter().chain(standing).collect()
    }

    /// Returns the number of interfaces below each interface, one above the other: 0 for a NIC, 1
    /// for the bridge on the NIC. An interface has a greater number than every interface below.
    pub(super) fn heights(&self) -> BTreeMap<u32, usize> {
        let mut heights: BTreeMap<u32, usize> =
            self.by_index.keys().map(|index| (*index, 0)).collect();
        // The kernel stacks 8 interfaces at most (MAX_NEST_DEV in linux/netdevice.h).
        for height in 1..=8 {
            let lower: Vec<u32> = heights
                .iter()
                .filter(|(_, known)| **known == height - 1)
                .map(|(index, _)| *index)
                .collect();
            let above = lower.iter().filter_map(|index| self.by_index(*index));
            for upper in above.flat_map(|interface| self.uppers(interface)) {
                heights.insert(upper.index, height);
            }
        }
        heights
    }

    /// Returns for each interface the MACs of all interfaces around: bridges, bonds and the like with
    /// their members, and VLAN devices with their parents. The permanent local entries of the
    /// bridges are among the MACs, those of macvlan children are not.
    pub(super) fn macs(&self) -> BTreeMap<u32, Arc<BTreeSet<[u8; 6]>>> {
        let mut macs = BTreeMap::new();
        for interface in self.by_index.values() {
            if macs.contains_key(&interface.index) {
                continue;
            }
            let around = self.around(interface);
            let own = around.values().filter_map(|one| one.mac);
            let local = around.values().flat_map(|one| &one.local_macs).copied();
            let shared: Arc<BTreeSet<_>> = Arc::new(own.chain(local).collect());
            macs.extend(around.into_keys().map(|index| (index, Arc::clone(&shared))));
        }
        macs
    }

    /// Returns the interfaces with MACs of [`Self::macs`] that may lack some.
    pub(super) fn with_unknown_macs(&self) -> BTreeSet<u32> {
        let unknown = self.by_index.values().filter(|one| one.macs_unknown);
        let around = unknown.flat_map(|one| self.around(one).into_keys());
        around.collect()
    }

    fn around(&self, interface: &'a Interface) -> BTreeMap<u32, &'a Interface> {
        let mut around = BTreeMap::new();
        let mut next = vec![interface];
        while let Some(one) = next.pop() {
            if around.insert(one.index, one).is_some() {
                continue;
            }
            next.extend(self.rx_master(one));
            if !one.is_kind("vrf") {
                next.extend(self.members(one));
            }
            let parent = one.parent.filter(|_| one.is_kind("vlan"));
            next.extend(parent.and_then(|parent| self.by_index(parent)));
            let children = self.children(one.index);
            next.extend(children.filter(|child| child.is_kind("vlan")));
            if one.is_kind("openvswitch") {
                next.extend(self.datapath_ports());
            }
        }
        around
    }

    /// Returns the own ports of all Open vSwitch datapaths, among them the masters of the other
    /// ports (`internal_dev_link_ops` in net/openvswitch/vport-internal_dev.c).
    pub(super) fn datapath_ports(&self) -> impl Iterator<Item = &'a Interface> {
        let all = self.by_index.values().copied();
        all.filter(|interface| interface.is_kind("openvswitch"))
    }
}

/// Returns whether an interface stands on the parent, and gets the parent's frames. Others have a
/// parent of another sort: the other end of a veth, the carrier of a tunnel.
fn stands_on_parent(interface: &Interface) -> bool {
    const KINDS: [&str; 6] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"];
    interface
        .kind
        .as_deref()
        .is_some_and(|kind| KINDS.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_found_by_ifindex_master_and_parent() {
        let interface = |index, master, parent| Interface {
            index,
            master,
            parent,
            ..Interface::default()
        };
        let all = [
            interface(2, None, None),
            interface(3, Some(9), Some(2)),
            interface(4, Some(9), None),
            interface(9, None, None),
            interface(5, None, Some(2)),
        ];
        let relations = Relations::of(&all);
        let indexes = |found: Vec<&Interface>| -> Vec<u32> {
            found.into_iter().map(|interface| interface.index).collect()
        };
        let found = [2, 9, 7].map(|index| relations.by_index(index).map(|it| it.index));
        assert_eq!(found, [Some(2), Some(9), None]);
        assert_eq!(indexes(relations.members(&all[3]).collect()), [3, 4]);
        assert!(relations.members(&all[0]).next().is_none());
        assert_eq!(indexes(relations.children(2).collect()), [3, 5]);
        assert!(relations.children(9).next().is_none());
    }
}
