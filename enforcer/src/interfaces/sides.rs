//! The sides: the place of an interface between this host and the world.

use super::{
    facts::{Interface, MacvlanMode},
    framing::ARPHRD_ETHER,
    plan::{InterfaceOptions, Planner},
};
use crate::registry::Side;

/// The placement of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// A packet may first meet IP or netfilter here: the interface has a guard.
    Outside,
    /// No guard.
    Inside,
    /// The master is guarded instead.
    Member,
}

impl<'a, R: Fn(&Interface) -> InterfaceOptions> Planner<'a, R> {
    /// Returns the operator's options.
    pub(super) fn options(&self, interface: &Interface) -> InterfaceOptions {
        (self.options_of)(interface)
    }

    /// Returns the placement of an interface: the operator's choice, else from the facts.
    pub(super) fn placement(&self, interface: &Interface) -> Placement {
        match self.options(interface).side {
            Some(Side::Inside) => return Placement::Inside,
            Some(Side::Outside) => return Placement::Outside,
            None => {}
        }
        if self.has_guests_only(interface) || self.has_passthru_child(interface) {
            return Placement::Inside;
        }
        match self.relations.rx_master(interface) {
            Some(master) => self.placement_of_member(interface, master),
            None if self.is_vlan_of_guests(interface) => Placement::Inside,
            None => Placement::Outside,
        }
    }

    /// Returns whether an interface is a bridge with only containers and guests as members. A bridge
    /// without members receives no packets; a new member changes the facts and so the plan.
    fn has_guests_only(&self, interface: &Interface) -> bool {
        interface.is_kind("bridge") && self.relations.members(interface).all(is_guest_port)
    }

    /// Returns whether a macvlan child takes all unicast frames of the interface
    /// (`macvlan_handle_frame` in drivers/net/macvlan.c).
    fn has_passthru_child(&self, interface: &Interface) -> bool {
        let mut children = self.relations.children(interface.index);
        children.any(|child| child.macvlan_mode == Some(MacvlanMode::Passthru))
    }

    /// Returns whether an interface is a VLAN device, of one tag or more, on a bridge with only
    /// containers and guests as members.
    fn is_vlan_of_guests(&self, interface: &Interface) -> bool {
        let parents = self.relations.parents(interface);
        let is_outside = |below: &&Interface| self.options(below).side == Some(Side::Outside);
        interface.is_kind("vlan")
            && !parents.iter().any(is_outside)
            && parents
                .last()
                .is_some_and(|last| self.has_guests_only(last))
    }

    fn placement_of_member(&self, interface: &Interface, master: &Interface) -> Placement {
        let side = self.options(master).side;
        if side == Some(Side::Inside) || self.has_inside_ports_only(master) {
            return Placement::Inside;
        }
        let has_guard = match master.kind.as_deref() {
            Some("bridge") if side == Some(Side::Outside) => true,
            Some("bridge") if self.has_guests_only(master) => false,
            // An Ethernet frame may reach IP on the member, as the bridge may be told to route the
            // frame (br_handle_frame: the hook of BROUTING) or leaves link-local group addresses
            // to the member, whether up or down. A guest's port is left alone there.
            Some("bridge") => self.has_netfilter(master) || !is_guest_port(interface),
            // Open vSwitch has an rx_handler that takes every frame (netdev_frame_hook in
            // net/openvswitch/vport-netdev.c), and does not run netfilter's IP hooks.
            Some("openvswitch") => !is_guest_port(interface),
            // A backup member of a bond or team takes link-local group addresses for itself, and
            // each member takes all packets while the master is down (bond_handle_frame,
            // team_handle_frame). Nothing is known of other masters.
            _ => true,
        };
        match has_guard {
            true => Placement::Outside,
            false => Placement::Member,
        }
    }

    /// Returns whether the operator said of every own port of Open vSwitch's datapaths that the
    /// port is inside: the master of the other ports carries no address.
    fn has_inside_ports_only(&self, master: &Interface) -> bool {
        let is_other = |port: &&Interface| port.index != master.index;
        let mut ports = self.relations.datapath_ports().filter(is_other).peekable();
        master.is_kind("openvswitch")
            && ports.peek().is_some()
            && ports.all(|port| self.options(port).side == Some(Side::Inside))
    }

    /// Returns whether netfilter's IP hooks, DNAT in PREROUTING above all, run on the members of a
    /// bridge before the bridge's own hooks (`br_nf_pre_routing`).
    pub(super) const fn has_netfilter(&self, bridge: &Interface) -> bool {
        self.host.bridge_nf_call || bridge.nf_call
    }
}

/// Returns whether a bridge's member leads to a container or a guest: a veth, a tap, or a dummy,
/// which receives no packet.
fn is_guest_port(interface: &Interface) -> bool {
    let is_tap = interface.is_kind("tun") && interface.link_type == ARPHRD_ETHER;
    is_tap || interface.is_kind("veth") || interface.is_kind("dummy")
}
