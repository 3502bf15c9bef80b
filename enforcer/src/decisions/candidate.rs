//! The recipe for a policy: `up`, `reload`, the dry run, `explain` and the lock-out check start
//! from the same [`Candidate`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::Result;
use enforcer_ebpf::layout::State;

use super::{attached::AttachedGuards, reconcile::GuardPlan};
use crate::{
    host::HostSnapshot,
    interfaces::{Hook, InterfaceOptions, Plan, WireGuard},
    policy::{PolicyInterface, PolicyTables, Slots, compile},
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
        let options = |name: &str| InterfaceOptions::of(registry, name);
        guard_plan(self.snapshot, self.flags, options, attached)
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
        let interfaces = policy_interfaces(recipe.snapshot, plan, &hooks);
        let tables = PolicyTables {
            provenance: recipe.loaded.provenance.clone(),
            ..compile(&recipe.loaded.registry, &interfaces, slots)?
        };
        Ok(Self { hooks, tables })
    }
}

/// The wanted and the tolerated wire guards under a policy's flags and options for interfaces.
pub(crate) fn guard_plan(
    snapshot: &HostSnapshot,
    flags: u32,
    options: impl Fn(&str) -> InterfaceOptions,
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
    snapshot: &HostSnapshot,
    plan: &Plan,
    hooks: &BTreeMap<u32, Hook>,
) -> Vec<PolicyInterface> {
    let interfaces = snapshot.iter().filter(|interface| !interface.loopback);
    let guards = plan.guards.iter().chain(&plan.early).chain(&plan.members);
    let guards: BTreeMap<u32, &WireGuard> = guards.map(|guard| (guard.ifindex, guard)).collect();
    let describe = |interface: &crate::interfaces::Interface| {
        let planned = guards.get(&interface.index).copied();
        let hook = hooks.get(&interface.index).copied();
        PolicyInterface {
            ifindex: interface.index,
            name: interface.name.clone(),
            mac: interface.mac,
            merged: planned.map(|guard| guard.merged(hook)).unwrap_or_default(),
            has_macvlan_children: planned.is_some_and(|guard| guard.has_macvlan_children),
            allowed_ips: match snapshot.wireguard(interface.index) {
                Some(Answer::Device(allowed)) => Some(allowed.clone()),
                Some(Answer::NotWireGuard | Answer::Unknown(_)) | None => None,
            },
        }
    };
    interfaces.map(describe).collect()
}
