//! The plan: the outside interfaces, and a wire guard for each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_ebpf::{Link, Mode};

use super::facts::{Host, Interface};
use super::framing::{ARPHRD_ETHER, Framing, framing, sender_chooses_protocol};
use super::guard::{Hook, Uncovered, View, WireGuard};
use super::relations::Relations;
use super::sides::Placement;
use crate::registry::{Forward, HookChoice, InterfaceTable, Registry, Side};

/// The wire guards for a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The guards of outside interfaces that are up, in the order of their attachment: an interface
    /// goes before all interfaces above, and otherwise by ifindex.
    pub guards: Vec<WireGuard>,
    /// The outside interfaces that are up and cannot have a guard, in the same order.
    pub uncovered: Vec<Uncovered>,
    /// The guards of outside interfaces that are still down, for NICs and for interfaces named as
    /// outside by the operator. Other interfaces that are down may be a container's, on the way
    /// through this namespace.
    ///
    /// Early guards use tcx alone, beside which the interface can get any other hook on coming up:
    /// a driver with an XDP program may refuse an MTU that is set before.
    pub early: Vec<WireGuard>,
    /// The guards of members that are up and have a guarded master; used where the master's guard
    /// cannot be attached.
    pub members: Vec<WireGuard>,
    /// The ifindexes of inside interfaces that are no members, and of VRFs with inside members
    /// alone.
    pub inside: BTreeSet<u32>,
}

/// The operator's options for one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceOptions {
    /// The side of the host, overriding the facts.
    pub side: Option<Side>,
    /// The treatment of forwarded packets.
    pub forward: Forward,
    /// The hook to use.
    pub hook: HookChoice,
    /// Whether the interface is the bridge of a container network, overriding the name.
    pub containers: Option<bool>,
    /// Whether others reach the container network on purpose.
    pub routed: bool,
    /// The container network's mode; `None` for the global mode.
    pub mode: Option<Mode>,
}

impl InterfaceOptions {
    /// Returns a registry's options for an interface.
    pub fn of(registry: &Registry, interface: &Interface) -> Self {
        registry
            .interface_table(interface.names())
            .map(Self::from)
            .unwrap_or_default()
    }
}

impl From<&InterfaceTable> for InterfaceOptions {
    fn from(table: &InterfaceTable) -> Self {
        Self {
            side: table.side,
            forward: table.forward,
            hook: table.hook,
            containers: table.containers,
            routed: table.routed,
            mode: table.mode,
        }
    }
}

/// Returns the wire guards for a host.
///
/// `options_of` returns the operator's options for an interface. Interfaces that are down are
/// never reported as uncovered.
pub fn plan(
    interfaces: &[Interface],
    options_of: impl Fn(&Interface) -> InterfaceOptions,
    host: &Host,
) -> Plan {
    let relations = Relations::of(interfaces);
    let heights = relations.heights();
    let planner = Planner {
        macs: relations.macs(),
        unknown_macs: relations.with_unknown_macs(),
        relations,
        options_of: &options_of,
        host,
    };
    let mut order: Vec<&Interface> = interfaces.iter().collect();
    // The kernel refuses XDP on an interface while a program is on an interface above
    // (dev_xdp_attach in net/core/dev.c): members go first.
    order.sort_by_key(|interface| (heights.get(&interface.index).copied(), interface.index));
    let mut plan = Plan::default();
    for interface in order {
        let options = planner.options(interface);
        if interface.loopback {
            continue;
        }
        match planner.placement(interface) {
            Placement::Inside => {
                let is_member = planner.relations.rx_master(interface).is_some();
                plan.inside.extend((!is_member).then_some(interface.index));
                continue;
            }
            Placement::Member => {
                plan.members.extend(planner.member(interface, options));
                continue;
            }
            Placement::Outside => {}
        }
        if !interface.up {
            plan.early.extend(planner.early(interface, options));
            continue;
        }
        let guard = match framing(interface) {
            Framing::Readable(link) => planner.guard(interface, link, options),
            Framing::NeverIp => continue,
            Framing::Unreadable(why) => Err(why),
        };
        match guard {
            Ok(guard) => plan.guards.push(guard),
            Err(why) => plan.uncovered.push(Uncovered {
                name: interface.name.clone(),
                index: interface.index,
                why,
            }),
        }
    }
    plan.forget_unguarded_masters();
    plan.inside = planner.with_vrfs(plan.inside, interfaces);
    plan
}

impl Plan {
    fn forget_unguarded_masters(&mut self) {
        let guarded: BTreeSet<u32> = self.guards.iter().map(|guard| guard.ifindex).collect();
        let of_guards = self.guards.iter_mut().chain(&mut self.early);
        for guard in of_guards.chain(&mut self.members) {
            guard.master = guard.master.filter(|master| guarded.contains(master));
        }
        self.members.retain(|guard| guard.master.is_some());
    }
}

/// The facts and wishes behind a plan.
pub(super) struct Planner<'a, R> {
    pub(super) relations: Relations<'a>,
    pub(super) options_of: &'a R,
    pub(super) host: &'a Host,
    /// The MACs by [`Relations::macs`].
    macs: BTreeMap<u32, Arc<BTreeSet<[u8; 6]>>>,
    /// The interfaces by [`Relations::with_unknown_macs`].
    unknown_macs: BTreeSet<u32>,
}

impl<'a, R: Fn(&Interface) -> InterfaceOptions> Planner<'a, R> {
    /// Returns the guard of a member that is up.
    fn member(&self, interface: &Interface, options: InterfaceOptions) -> Option<WireGuard> {
        let Framing::Readable(link) = framing(interface) else {
            return None;
        };
        let is_up = interface.up;
        self.guard(interface, link, options).ok().filter(|_| is_up)
    }

    /// Returns the early guard of an interface that is down, if any.
    fn early(&self, interface: &Interface, options: InterfaceOptions) -> Option<WireGuard> {
        let is_nic =
            interface.has_device && interface.kind.is_none() && interface.link_type == ARPHRD_ETHER;
        if !self.host.tcx || !(is_nic || options.side == Some(Side::Outside)) {
            return None;
        }
        let Framing::Readable(link) = framing(interface) else {
            return None;
        };
        let guard = self.guard(interface, link, options).ok()?;
        Some(WireGuard {
            hooks: vec![Hook::Tcx],
            ..guard
        })
    }

    fn guard(
        &self,
        interface: &Interface,
        link: Link,
        options: InterfaceOptions,
    ) -> Result<WireGuard, String> {
        let view = self.view(interface);
        let vlan_children = self.vlan_children(interface, &view);
        let modes = self.relations.children(interface.index);
        let macvlan_modes = modes.filter_map(|child| child.macvlan_mode).collect();
        let is_parent = self.has_macvlan_children(interface) || !vlan_children.is_empty();
        let masters = self.relations.rx_masters(interface);
        let is_switched =
            |master: &&Interface| self.has_macvlan_children(master) || self.is_switched(master);
        let has_macvlan_children =
            self.has_macvlan_children(interface) || masters.iter().any(is_switched);
        Ok(WireGuard {
            ifindex: interface.index,
            name: interface.name.clone(),
            link,
            sender_chooses_protocol: sender_chooses_protocol(interface),
            hooks: self.hooks(interface, options.hook, is_parent)?,
            view,
            vlan_children,
            has_macvlan_children,
            macvlan_modes,
            mac: interface.mac,
            macs: self.macs.get(&interface.index).cloned().unwrap_or_default(),
            macs_unknown: self.unknown_macs.contains(&interface.index),
            master: interface.master,
        })
    }

    /// Returns the inside interfaces with the VRFs whose members are all inside.
    ///
    /// At a socket, a packet of a member has arrived on the VRF (`vrf_ip_rcv` in
    /// drivers/net/vrf.c): the side that the operator gives the VRF itself accepts a missing
    /// wire guard, and says nothing of the members.
    fn with_vrfs(&self, inside: BTreeSet<u32>, interfaces: &[Interface]) -> BTreeSet<u32> {
        let is_inside = |vrf: &Interface| {
            let mut members = self.relations.members(vrf).peekable();
            members.peek().is_some() && members.all(|member| inside.contains(&member.index))
        };
        let mut all = inside.clone();
        for vrf in interfaces.iter().filter(|it| it.is_kind("vrf")) {
            match is_inside(vrf) {
                true => all.insert(vrf.index),
                false => all.remove(&vrf.index),
            };
        }
        all
    }

    fn has_macvlan_children(&self, interface: &Interface) -> bool {
        // An interface has one rx_handler: a member has no macvlan devices, and its foreign MACs
        // are those of other members and of the master.
        let mut children = self.relations.children(interface.index);
        self.relations.rx_master(interface).is_none()
            && (interface.other_macs
                || children.any(|child| child.is_kind("macvlan") || child.is_kind("macvtap")))
    }

    /// Returns whether a master carries frames for other MACs to others, and netfilter takes none
    /// of these frames to this host on the way.
    fn is_switched(&self, master: &Interface) -> bool {
        match master.kind.as_deref() {
            Some("bridge") => !self.has_netfilter(master),
            Some("openvswitch") => true,
            _ => false,
        }
    }

    fn view(&self, interface: &Interface) -> View {
        let masters = self.relations.rx_masters(interface);
        let is_port = masters.iter().any(|master| master.is_kind("openvswitch"));
        let ports = self.relations.datapath_ports().filter(|_| is_port);
        let ports = ports.filter(|port| masters.iter().all(|it| it.index != port.index));
        let ports: Vec<u32> = ports.map(|port| port.index).collect();
        let filtered =
            |master: &&&Interface| master.is_kind("bridge") && self.has_netfilter(master);
        View {
            route_as: match ports.as_slice() {
                [] => masters.last().map(|master| master.index),
                [only] => Some(*only),
                _ => None,
            },
            looks_through_tags: self.host.bridge_filter_vlan_tagged
                && masters.first().filter(filtered).is_some(),
            masters: masters.iter().map(|master| master.index).collect(),
            ports,
        }
    }

    fn vlan_children(&self, interface: &Interface, view: &View) -> Vec<u32> {
        let parents = [interface.index].into_iter();
        let parents = parents.chain(view.masters.iter().chain(&view.ports).copied());
        let children = parents.flat_map(|parent| self.relations.children(parent));
        let vlans = children.filter(|child| child.is_kind("vlan"));
        let with_masters = vlans.flat_map(|child| {
            let masters = self.relations.rx_masters(child);
            std::iter::once(child).chain(masters)
        });
        let mut vlans: Vec<u32> = with_masters.map(|above| above.index).collect();
        vlans.sort_unstable();
        vlans.dedup();
        vlans
    }
}
