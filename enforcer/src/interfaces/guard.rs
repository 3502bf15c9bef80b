//! A wire guard to attach, and what the guard needs to know of the interface.

use std::{collections::BTreeSet, fmt, sync::Arc};

use enforcer_ebpf::Link;

use super::facts::MacvlanMode;

/// A wire guard to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireGuard {
    /// The interface's ifindex.
    pub ifindex: u32,
    /// The interface's name.
    pub name: String,
    /// The link layer of the interface's packets, which selects the program's entry point.
    pub link: Link,
    /// The sender of a packet chooses the protocol behind the link layer: GRE, geneve with inner
    /// packets of IP, and tun with packet information. VLAN tags may precede the IP header there.
    pub sender_chooses_protocol: bool,
    /// The hooks to try, in order, until an attachment succeeds; at least one.
    pub hooks: Vec<Hook>,
    /// The interfaces above with packets that this guard judges first.
    pub view: View,
    /// The VLAN devices with frames through this interface, and the masters of these devices:
    /// devices on the interface and devices on the interfaces of [`Self::view`].
    ///
    /// XDP does not see a tag stripped by the driver, so under XDP the guard must pass every packet
    /// that any of these devices would pass. tcx sees the tag.
    pub vlan_children: Vec<u32>,
    /// Unicast frames for another MAC than [`Self::mac`] are not for this host: the interface has
    /// macvlan or macvtap children, here or in another namespace, or is a member whose frames a
    /// bridge may carry to a guest, without netfilter on the way.
    pub has_macvlan_children: bool,
    /// The modes of the macvlan and macvtap children in this namespace.
    pub macvlan_modes: BTreeSet<MacvlanMode>,
    /// The interface's MAC, if any.
    pub mac: Option<[u8; 6]>,
    /// The MACs whose unicast frames this host may take on the interface: the interface's own, those
    /// of masters, of other members and of VLAN devices, and the permanent local entries of
    /// bridges. MACs of macvlan children are not among them. Shared between the guards of one
    /// bridge, bond or team.
    pub macs: Arc<BTreeSet<[u8; 6]>>,
    /// [`Self::macs`] may lack some, so that no frame is known to be for another machine.
    pub macs_unknown: bool,
    /// The ifindex of the guarded master, where the same packets are judged again.
    ///
    /// This guard must pass every packet that the master would pass, and under every hook every
    /// packet that the master's VLAN devices would pass: peers name the master, not the members.
    pub master: Option<u32>,
}

impl WireGuard {
    /// A guard of an Ethernet interface without relations, for tests.
    #[cfg(test)]
    pub(crate) fn alone(ifindex: u32, name: String, hooks: Vec<Hook>) -> Self {
        Self {
            ifindex,
            name,
            link: Link::Ethernet,
            sender_chooses_protocol: false,
            hooks,
            view: View::default(),
            vlan_children: Vec::new(),
            has_macvlan_children: false,
            macvlan_modes: BTreeSet::new(),
            mac: None,
            macs: Arc::default(),
            macs_unknown: false,
            master: None,
        }
    }

    /// Returns the ifindexes of the interfaces with packets that cannot be told from the
    /// interface's own under a hook, `None` for an unknown hook: those of a member's view, and VLAN
    /// devices where the guard cannot rely on seeing the tag.
    pub fn merged(&self, hook: Option<Hook>) -> Vec<u32> {
        let above = self.view.masters.iter().chain(&self.view.ports);
        let above: Vec<u32> = above.copied().collect();
        match !above.is_empty() || hides_tags(hook) {
            true => [above, self.vlan_children.clone()].concat(),
            false => Vec::new(),
        }
    }

    /// Returns whether frames of VLAN devices may come without their tag under a hook.
    pub fn hides_vlans(&self, hook: Option<Hook>) -> bool {
        hides_tags(hook) && !self.vlan_children.is_empty()
    }
}

/// Returns whether a guard cannot rely on seeing the tag under a hook.
const fn hides_tags(hook: Option<Hook>) -> bool {
    matches!(hook, Some(Hook::XdpNative | Hook::XdpGeneric))
}

/// The interfaces above a member: the member's guard judges their packets first, by their peers
/// and rules. Empty for an interface that is no member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The ifindexes of the masters that take the packets by an rx_handler, nearest first, guarded
    /// or not: a bond, and the bridge above the bond.
    pub masters: Vec<u32>,
    /// The ifindexes of the datapaths' own ports, above a member of Open vSwitch: those of every
    /// datapath, since rtnetlink does not say which port belongs to which. The host's addresses are
    /// on these ports, and the master has none.
    pub ports: Vec<u32>,
    /// The ifindex for questions to the FIB in place of the member's own: packets reach IP on the
    /// outermost master, or on the only port of the datapath. `None` for an interface that is no
    /// member, or where several ports make the question ambiguous.
    pub route_as: Option<u32>,
    /// Netfilter's IP hooks run on the member, and look through VLAN tags of any id
    /// (bridge-nf-filter-vlan-tagged): the guard must judge a tagged frame here.
    pub looks_through_tags: bool,
}

impl View {
    /// Returns whether the interface is a member, whose master counts what passes.
    pub const fn is_member(&self) -> bool {
        !self.masters.is_empty()
    }
}

/// An outside interface that is up and cannot have a wire guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// The interface's name.
    pub name: String,
    /// The interface's ifindex.
    pub index: u32,
    /// The reason and a remedy.
    pub why: String,
}

/// A hook for a wire guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack.
    XdpGeneric,
    /// tc's ingress hook of Linux 6.6.
    Tcx,
}

impl Hook {
    /// Returns the name used by the command line and the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::Tcx => "tcx",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
