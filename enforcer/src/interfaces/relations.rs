//! Interfaces above and below each other, for look-ups in time that does not grow with the host.

use std::collections::BTreeMap;

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
