//! The host, as the compiler of policies needs to know it.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::port_set::PortSet;
use crate::{registry::pattern_matches, wireguard::AllowedIps};

/// The facts about an interface that the compiler needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyInterface {
    /// The ifindex.
    pub ifindex: u32,
    /// The name.
    pub name: String,
    /// The alternative names.
    pub alternative_names: Vec<String>,
    /// The MAC address, if the interface has one.
    pub mac: Option<[u8; 6]>,
    /// The ifindexes of interfaces whose packets the wire guard cannot tell from packets for this
    /// interface: VLAN devices, since XDP sees no tag, and the master of a guarded member.
    pub merged: Vec<u32>,
    /// Whether VLAN devices are among the merged interfaces, and the wire guard may not see the tag.
    pub has_hidden_vlans: bool,
    /// Whether the interface has macvlan or macvtap children.
    pub has_macvlan_children: bool,
    /// Whether the wire guard compares MACs by itself: XDP, before the kernel has.
    pub is_under_xdp: bool,
    /// Whether the host may take frames for MACs that are not in [`PolicyHost::macs`].
    pub has_unknown_macs: bool,
    /// Whether a wire guard is planned for the interface: others need no facts about packets on a
    /// wire, and a container's new interface changes no policy.
    pub is_guarded: bool,
    /// Whether packets have no Ethernet header: WireGuard, tun, GRE.
    pub is_headerless: bool,
    /// Whether the interface is inside.
    pub is_inside: bool,
    /// The ifindex of the master, for a member that is guarded in the master's place.
    pub member_of: Option<u32>,
    /// Whether the wire guard looks through VLAN tags of any id.
    pub looks_through_tags: bool,
    /// Whether the interface is a VRF device.
    pub is_vrf: bool,
    /// Whether the interface is a bridge.
    pub is_bridge: bool,
    /// The bridge of the interface by ifindex: the interface itself, its master, or the bridge below
    /// a VLAN device.
    pub bridge: Option<u32>,
    /// The addresses, each with the length of its subnet.
    pub addresses: Vec<IpNet>,
    /// The AllowedIPs, for a WireGuard device on which the registry has peers by key.
    pub allowed_ips: Option<AllowedIps>,
}

impl PolicyInterface {
    /// Returns every name: the name, and then the alternative names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.alternative_names.iter().map(String::as_str);
        std::iter::once(self.name.as_str()).chain(others)
    }

    /// Returns whether a name or a pattern of the registry means the interface.
    pub(super) fn is_on(&self, pattern: &str) -> bool {
        self.names().any(|name| pattern_matches(pattern, name))
    }
}

/// The facts about a host that the compiler needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyHost {
    /// The interfaces, without the loopback.
    pub interfaces: Vec<PolicyInterface>,
    /// The local table: prefixes, each with the ifindex of the route's interface.
    pub local: Vec<(IpNet, u32)>,
    /// The MAC addresses that the host takes: of interfaces, and permanent local entries of
    /// bridges; each with whether macvlan or macvtap devices alone take it.
    pub macs: BTreeMap<[u8; 6], bool>,
    /// The UDP ports of clients and tunnels, which rule 6 leaves alone.
    pub open_udp: PortSet,
}

#[cfg(test)]
impl PolicyHost {
    /// A host with these interfaces, each guarded, without a local table.
    pub(crate) fn of(interfaces: &[PolicyInterface]) -> Self {
        let guarded = |interface: &PolicyInterface| PolicyInterface {
            is_guarded: true,
            ..interface.clone()
        };
        Self {
            interfaces: interfaces.iter().map(guarded).collect(),
            ..Self::default()
        }
    }
}
