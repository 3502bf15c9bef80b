//! The plan: the outside interfaces, and a wire guard for each.

use std::collections::BTreeSet;
use std::fmt;

use enforcer_ebpf::{Link, Mode};

use super::facts::{Host, Interface};
use super::framing::{ARPHRD_ETHER, Framing, framing};
use super::relations::Relations;
use crate::registry::{Forward, HookChoice, InterfaceTable, Registry, Side};

/// The wire guards for a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The guards of outside interfaces that are up, by ifindex.
    pub guards: Vec<WireGuard>,
    /// The outside interfaces that are up and cannot have a guard, by ifindex.
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
}

/// A wire guard to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireGuard {
    /// The interface's ifindex.
    pub ifindex: u32,
    /// The interface's name.
    pub name: String,
    /// The link layer of the interface's packets, which selects the program's entry point.
    pub link: Link,
    /// The hooks to try, in order, until an attachment succeeds; at least one.
    pub hooks: Vec<Hook>,
    /// The VLAN devices with frames through this interface: devices on the interface and devices
    /// on the masters.
    ///
    /// XDP does not see a tag stripped by the driver, so under XDP the guard must pass every packet
    /// that any of these devices would pass. tcx sees the tag.
    pub vlan_children: Vec<u32>,
    /// Whether the interface has macvlan or macvtap children, here or in another namespace: unicast
    /// frames for another MAC than [`Self::mac`] belong to the children.
    pub has_macvlan_children: bool,
    /// The interface's MAC, if any.
    pub mac: Option<[u8; 6]>,
    /// The ifindex of the guarded master, where the same packets are judged again.
    ///
    /// This guard must pass every packet that the master would pass, and under every hook every
    /// packet that the master's VLAN devices would pass: peers name the master, not the members.
    pub master: Option<u32>,
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
    /// Returns a registry's options for the interface of this name.
    pub fn of(registry: &Registry, interface: &str) -> Self {
        registry
            .interface_table(interface)
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
/// `options_of` returns the operator's options for an interface name. Interfaces that are down are
/// never reported as uncovered.
pub fn plan(
    interfaces: &[Interface],
    options_of: impl Fn(&str) -> InterfaceOptions,
    host: &Host,
) -> Plan {
    let planner = Planner {
        relations: Relations::of(interfaces),
        options_of: &options_of,
        host,
    };
    let mut order: Vec<&Interface> = interfaces.iter().collect();
    order.sort_by_key(|interface| interface.index);
    let mut plan = Plan::default();
    for interface in order {
        let options = options_of(&interface.name);
        if interface.loopback {
            continue;
        }
        match planner.placement(interface) {
            Placement::Inside => continue,
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
    let guarded: BTreeSet<u32> = plan.guards.iter().map(|guard| guard.ifindex).collect();
    let of_guards = plan.guards.iter_mut().chain(&mut plan.early);
    for guard in of_guards.chain(&mut plan.members) {
        guard.master = guard.master.filter(|master| guarded.contains(master));
    }
    plan.members.retain(|guard| guard.master.is_some());
    plan
}

/// The placement of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    Outside,
    Inside,
    /// The master is guarded instead.
    Member,
}

struct Planner<'a, R> {
    relations: Relations<'a>,
    options_of: &'a R,
    host: &'a Host,
}

impl<'a, R: Fn(&str) -> InterfaceOptions> Planner<'a, R> {
    /// Returns the placement of an interface: the operator's choice, else from the facts.
    fn placement(&self, interface: &Interface) -> Placement {
        match (self.options_of)(&interface.name).side {
            Some(Side::Inside) => return Placement::Inside,
            Some(Side::Outside) => return Placement::Outside,
            None => {}
        }
        // A bridge with only containers and guests as members is inside. A bridge without members
        // receives no packets; a new member changes the facts and so the plan.
        if interface.is_kind("bridge") && self.relations.members(interface).all(is_guest_port) {
            return Placement::Inside;
        }
        let Some(master) = self.master(interface) else {
            return Placement::Outside;
        };
        if is_rx_master(master) && (self.options_of)(&master.name).side == Some(Side::Inside) {
            return Placement::Inside;
        }
        let master_is_guarded_instead = match master.kind.as_deref() {
            // DNAT in PREROUTING runs on the member while bridge-nf-call-* is on, before the
            // bridge's hooks (br_nf_pre_routing). A bridge that is down delivers no packets, since
            // all ports are disabled (br_stp_disable_bridge).
            Some("bridge") => !self.host.bridge_nf_call || is_guest_port(interface),
            // A bond or team that is down still gets the members' packets (bond_handle_frame,
            // team_handle_frame), and IP takes the packets there: the members need guards.
            Some("bond" | "team") => master.up,
            // A VRF's members keep packets until IP has them. Other masters are unknown.
            _ => false,
        };
        if master_is_guarded_instead {
            Placement::Member
        } else {
            Placement::Outside
        }
    }

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
        let vlan_children = self.vlan_children(interface);
        let has_macvlan_children = self.has_macvlan_children(interface);
        let is_parent = has_macvlan_children || !vlan_children.is_empty();
        Ok(WireGuard {
            ifindex: interface.index,
            name: interface.name.clone(),
            link,
            hooks: self.hooks(interface, options.hook, is_parent)?,
            vlan_children,
            has_macvlan_children,
            mac: interface.mac,
            master: interface.master,
        })
    }

    /// Returns the hooks to try, or the reason for having none.
    fn hooks(
        &self,
        interface: &Interface,
        choice: HookChoice,
        is_parent: bool,
    ) -> Result<Vec<Hook>, String> {
        let tcx = self.host.tcx;
        match choice {
            HookChoice::Auto => {}
            HookChoice::XdpNative => return Ok(vec![Hook::XdpNative]),
            HookChoice::XdpGeneric => return Ok(vec![Hook::XdpGeneric]),
            HookChoice::Tcx if tcx => return Ok(vec![Hook::Tcx]),
            HookChoice::Tcx => {
                return Err(format!(
                    "`hook = \"tcx\"` needs Linux 6.6: leave `hook` out of [interfaces] for {}, or \
                     update the kernel",
                    interface.name
                ));
            }
        }
        if let Some(program) = self.foreign_program(interface) {
            // An interface has room for one XDP program (dev_xdp_attach in net/core/dev.c).
            return if tcx {
                Ok(vec![Hook::Tcx])
            } else {
                Err(format!(
                    "another XDP program{program} is attached, and tcx, which runs beside it, \
                     needs Linux 6.6: detach that program or update the kernel"
                ))
            };
        }
        let is_nic = interface.kind.is_none() && interface.link_type == ARPHRD_ETHER;
        let native = (is_nic && !is_parent).then_some(Hook::XdpNative);
        Ok(native
            .into_iter()
            .chain(tcx.then_some(Hook::Tcx))
            .chain([Hook::XdpGeneric])
            .collect())
    }

    /// Returns words for an attached XDP program of another owner.
    fn foreign_program(&self, interface: &Interface) -> Option<String> {
        match interface.xdp?.prog_id {
            Some(id) if self.host.own_programs.contains(&id) => None,
            Some(id) => Some(format!(" (id {id})")),
            None => Some(String::new()),
        }
    }

    fn master(&self, interface: &Interface) -> Option<&'a Interface> {
        self.relations.by_index(interface.master?)
    }

    fn vlan_children(&self, interface: &Interface) -> Vec<u32> {
        let mut parents = vec![interface.index];
        let mut above = self.master(interface).filter(|master| is_rx_master(master));
        while let Some(master) = above.filter(|master| !parents.contains(&master.index)) {
            parents.push(master.index);
            above = self.master(master).filter(|master| is_rx_master(master));
        }
        let children = parents
            .iter()
            .flat_map(|parent| self.relations.children(*parent));
        let mut children: Vec<u32> = children
            .filter(|child| child.is_kind("vlan"))
            .map(|child| child.index)
            .collect();
        children.sort_unstable();
        children
    }

    fn has_macvlan_children(&self, interface: &Interface) -> bool {
        // An interface has one rx_handler: a bridge's member has no macvlan devices, and frames
        // for another MAC go to the bridge, and from there perhaps to DNAT.
        if self.master(interface).is_some_and(is_rx_master) {
            return false;
        }
        interface.other_macs
            || self
                .relations
                .children(interface.index)
                .any(|child| child.is_kind("macvlan") || child.is_kind("macvtap"))
    }
}

/// Returns whether a bridge's member leads to a container or a guest: a veth, or a tap.
fn is_guest_port(interface: &Interface) -> bool {
    interface.is_kind("veth") || (interface.is_kind("tun") && interface.link_type == ARPHRD_ETHER)
}

/// Returns whether a master takes the members' packets by an rx_handler: all but VRFs do.
fn is_rx_master(master: &Interface) -> bool {
    !master.is_kind("vrf")
}
