//! The recipe for a policy: `up`, `reload`, the dry run, `explain` and the lock-out check start
//! from the same [`Candidate`].

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::Result;
use enforcer_ebpf::{Link, layout::State};
use ipnet::IpNet;

use super::{attached::AttachedGuards, reconcile::GuardPlan};
use crate::{
    host::HostSnapshot,
    interfaces::{Hook, Interface, InterfaceOptions, Plan, WireGuard},
    policy::{PolicyHost, PolicyInterface, PolicyTables, Slots, compile},
    registry::Loaded,
    wireguard::Answer,
};

/// The flags of a policy with every guard.
pub(crate) const EVERY_GUARD: u32 = State::WANT_WIRE | State::WANT_SOCKET;

/// A registry and a host: the ingredients of a policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe<'a> {
    /// The registry.
    pub(crate) loaded: &'a Loaded,
    /// The host.
    pub(crate) snapshot: &'a HostSnapshot,
    /// The flags of [`State`] of the policy to come.
    pub(crate) flags: u32,
}

/// A policy not yet in force.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The hooks of the wire guards behind the tables, by ifindex.
    pub(crate) hooks: BTreeMap<u32, Hook>,
    /// The policy, with provenance.
    pub(crate) tables: PolicyTables,
}

impl Recipe<'_> {
    /// The registry's wire guards on this host.
    pub(crate) fn guard_plan(&self, attached: &AttachedGuards) -> GuardPlan {
        let registry = &self.loaded.registry;
        let options = |interface: &Interface| InterfaceOptions::of(registry, interface);
        guard_plan(self.snapshot, self.flags, options, attached)
    }

    /// The ifindexes of the inside interfaces, whatever guards are wanted.
    fn inside(&self) -> BTreeSet<u32> {
        let registry = &self.loaded.registry;
        // Rule 6 alone asks.
        if registry.unregistered().passes_all() {
            return BTreeSet::new();
        }
        let options = |interface: &Interface| InterfaceOptions::of(registry, interface);
        self.snapshot.plan(options, BTreeSet::new()).inside
    }
}

impl Candidate {
    /// The policy for the expected guards: a guard stays on a hook of the plan, and
    /// a new guard gets the plan's first hook.
    ///
    /// # Errors
    /// A limit of the maps, named.
    pub(crate) fn compile(
        recipe: &Recipe<'_>,
        attached: &AttachedGuards,
        slots: &Slots,
    ) -> Result<Self> {
        let plan = recipe.guard_plan(attached).wanted;
        let hook = |guard: &WireGuard| {
            let here = attached.guards.get(&guard.ifindex);
            let stays = here.filter(|hook| guard.hooks.contains(hook));
            Some((guard.ifindex, *stays.or(guard.hooks.first())?))
        };
        let hooks = plan.guards.iter().filter_map(hook).collect();
        Self::compile_for(recipe, &plan, hooks, slots)
    }

    /// The policy for these guards.
    ///
    /// # Errors
    /// A limit of the maps, named.
    pub(crate) fn compile_for(
        recipe: &Recipe<'_>,
        plan: &Plan,
        hooks: BTreeMap<u32, Hook>,
        slots: &Slots,
    ) -> Result<Self> {
        let host = PolicyHost {
            interfaces: policy_interfaces(recipe, plan, &hooks),
            local: local_table(recipe.snapshot),
            macs: macs(plan, recipe.snapshot),
            open_udp: recipe.snapshot.open_udp_ports(&recipe.loaded.registry),
        };
        let tables = PolicyTables {
            provenance: recipe.loaded.provenance.clone(),
            ..compile(&recipe.loaded.registry, &host, slots)?
        };
        Ok(Self { hooks, tables })
    }
}

/// The policy with what the host has got since: [`PolicyTables::with_additions`].
pub(crate) fn with_host_of_now(
    tables: &PolicyTables,
    plan: &Plan,
    snapshot: &HostSnapshot,
) -> PolicyTables {
    let interfaces = snapshot.iter().map(|interface| PolicyInterface {
        ifindex: interface.index,
        name: interface.name.clone(),
        alternative_names: interface.alternative_names.clone(),
        is_bridge: interface.is_kind("bridge"),
        addresses: snapshot.addresses(interface.index).collect(),
        ..PolicyInterface::default()
    });
    tables.with_additions(&PolicyHost {
        interfaces: interfaces.collect(),
        local: local_table(snapshot),
        macs: macs(plan, snapshot),
        ..PolicyHost::default()
    })
}

/// The wanted and the tolerated wire guards under a policy's flags and options for interfaces.
pub(crate) fn guard_plan(
    snapshot: &HostSnapshot,
    flags: u32,
    options: impl Fn(&Interface) -> InterfaceOptions,
    attached: &AttachedGuards,
) -> GuardPlan {
    if flags & State::WANT_WIRE == 0 {
        return GuardPlan::default();
    }
    GuardPlan {
        wanted: snapshot.plan(&options, attached.programs.clone()),
        tolerated: snapshot
            .as_if_up()
            .plan(&options, attached.programs.clone()),
    }
}

/// The interfaces as the policy needs to know them: all but the loopback, guarded or not.
fn policy_interfaces(
    recipe: &Recipe<'_>,
    plan: &Plan,
    hooks: &BTreeMap<u32, Hook>,
) -> Vec<PolicyInterface> {
    let snapshot = recipe.snapshot;
    let inside = recipe.inside();
    let interfaces = snapshot.iter().filter(|interface| !interface.loopback);
    let guards = plan.guards.iter().chain(&plan.early).chain(&plan.members);
    let guards: BTreeMap<u32, &WireGuard> = guards.map(|guard| (guard.ifindex, guard)).collect();
    let describe = |interface: &Interface| {
        let planned = guards.get(&interface.index).copied();
        let hook = hooks.get(&interface.index).copied();
        PolicyInterface {
            ifindex: interface.index,
            name: interface.name.clone(),
            alternative_names: interface.alternative_names.clone(),
            mac: interface.mac,
            merged: planned.map(|guard| guard.merged(hook)).unwrap_or_default(),
            has_hidden_vlans: planned.is_some_and(|guard| guard.hides_vlans(hook)),
            // A member leaves frames for guests to rule 3, which knows the MACs of bridges.
            has_macvlan_children: planned
                .is_some_and(|guard| guard.has_macvlan_children && !guard.view.is_member()),
            is_under_xdp: hook != Some(Hook::Tcx),
            has_unknown_macs: planned.is_some_and(|guard| guard.macs_unknown),
            is_guarded: planned.is_some(),
            is_headerless: planned.is_some_and(|guard| guard.link == Link::Ip),
            is_inside: inside.contains(&interface.index),
            member_of: planned.and_then(member_of),
            looks_through_tags: planned.is_some_and(|guard| guard.view.looks_through_tags),
            is_vrf: interface.is_kind("vrf"),
            is_bridge: interface.is_kind("bridge"),
            bridge: bridge_of(snapshot, interface),
            addresses: snapshot.addresses(interface.index).collect(),
            allowed_ips: match snapshot.wireguard(interface.index) {
                Some(Answer::Device(allowed)) => Some(allowed.clone()),
                Some(Answer::NotWireGuard | Answer::Unknown(_)) | None => None,
            },
        }
    };
    interfaces.map(describe).collect()
}

/// The host's local table: prefixes, each with the ifindex of a route's interface. Where the kernel
/// did not show the table, every destination counts as local, and is judged.
pub(crate) fn local_table(snapshot: &HostSnapshot) -> Vec<(IpNet, u32)> {
    let Ok(table) = snapshot.local_table() else {
        let any = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ];
        return any.map(|any| (IpNet::new_assert(any, 0), 0)).to_vec();
    };
    // The port of a bridge sends nothing by itself: a container's new port changes no policy.
    let is_port = |ifindex: &u32| {
        let interface = snapshot.by_index(*ifindex);
        let master = interface.and_then(|it| snapshot.by_index(it.master?));
        master.is_some_and(|master| !master.is_kind("vrf"))
    };
    let rows = table.rows().filter(|(prefix, ifindexes)| {
        let is_link_local = matches!(prefix, IpNet::V6(v6) if v6.addr().is_unicast_link_local());
        !(is_link_local && ifindexes.iter().all(is_port))
    });
    rows.map(|(prefix, ifindexes)| (*prefix, ifindexes.first().copied().unwrap_or_default()))
        .collect()
}

/// The MAC addresses that the host takes on some guarded interface, each with whether macvlan and
/// macvtap devices alone take it.
fn macs(plan: &Plan, snapshot: &HostSnapshot) -> BTreeMap<[u8; 6], bool> {
    let mut macs = BTreeMap::new();
    for guard in plan.guards.iter().chain(&plan.early).chain(&plan.members) {
        let interface = snapshot.by_index(guard.ifindex);
        let is_child = interface.is_some_and(|it| it.is_kind("macvlan") || it.is_kind("macvtap"));
        for mac in guard.macs.iter() {
            *macs.entry(*mac).or_insert(true) &= is_child;
        }
    }
    macs
}

/// The ifindex for questions to the FIB, 0 for the interface's own; `None` for no member.
fn member_of(guard: &WireGuard) -> Option<u32> {
    let view = &guard.view;
    view.is_member().then(|| view.route_as.unwrap_or_default())
}

/// The bridge of an interface, by ifindex: the interface itself, its master, or the bridge below a
/// VLAN device.
fn bridge_of(snapshot: &HostSnapshot, interface: &Interface) -> Option<u32> {
    let parent = interface.parent.filter(|_| interface.is_kind("vlan"));
    let candidates = [Some(interface.index), interface.master, parent];
    let mut candidates = candidates.into_iter().flatten();
    candidates.find(|index| {
        let found = snapshot.by_index(*index);
        found.is_some_and(|found| found.is_kind("bridge"))
    })
}
