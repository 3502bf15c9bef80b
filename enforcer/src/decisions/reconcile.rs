//! From the attached guards to the wanted guards.
//!
//! [`Reconcile::steps`] lists the steps, phase by phase; [`AttachReport::record`] takes the
//! outcome of each step. No interface loses a guard before the next guard holds.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::attached::{AttachedGuards, EarlyGuards};
use crate::{
    interfaces::{Hook, Plan, WireGuard},
    note::{Note, NoteKind},
};

/// The wanted and the tolerated wire guards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GuardPlan {
    /// The wanted guards.
    pub(crate) wanted: Plan,
    /// The same plan as if no interface were down: an interface may come up before the next
    /// look, so its guard may stay.
    pub(crate) tolerated: Plan,
}

/// The reconciled set of pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinSet {
    /// The pins in force: guards stay where they are.
    InPlace,
    /// A new set beside the pins in force: guards are taken over with the new set's programs.
    New,
}

/// The treatment of a guard on another hook than the plan's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookPolicy {
    /// A guard on the plan's hook replaces the guard.
    AsPlanned,
    /// The guard stays for a policy compiled for its hook, in force or to be restored.
    Keep,
}

/// The facts and wishes behind the steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reconcile<'a> {
    /// The guards of the pins in force.
    pub(crate) attached: &'a AttachedGuards,
    /// The early guards.
    pub(crate) early: &'a EarlyGuards,
    /// The wanted guards.
    pub(crate) plan: &'a GuardPlan,
    /// The reconciled set of pins.
    pub(crate) set: PinSet,
    /// The treatment of guards on other hooks.
    pub(crate) hooks: HookPolicy,
}

/// The reason why a guard stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The plan wants the guard, on this hook.
    Planned,
    /// The plan wants the guard on another hook, and [`HookPolicy::Keep`] holds.
    OtherHook,
    /// The interface is down, or the exchange of its guard was refused.
    Tolerated,
}

/// A step for an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// Remove the pin of a link without effect. A new interface of the same ifindex may need the
    /// pin's name.
    Unpin { ifindex: u32, hook: Hook },
    /// Leave an attached guard in place.
    Keep {
        guard: &'a WireGuard,
        hook: Hook,
        why: Kept,
    },
    /// Put the new set's program behind an attached guard's link, and pin the link in the new set.
    TakeOver {
        guard: &'a WireGuard,
        hook: Hook,
        why: Kept,
    },
    /// Attach a guard by the first hook to accept.
    Attach { guard: &'a WireGuard },
    /// Attach a guard by a hook of the plan, beside a guard on the hook `from`.
    Exchange { guard: &'a WireGuard, from: Hook },
    /// Detach a guard once the new policy is in force: the old policy may want the guard.
    DetachLater { ifindex: u32, hook: Hook },
    /// Attach an early guard to an interface not up yet. A refusal is no loss: the interface gets a
    /// guard when coming up.
    AttachEarly { guard: &'a WireGuard },
    /// Detach an early guard: the interface has another guard, or has left.
    DetachEarly { ifindex: u32 },
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The step was carried out.
    Done,
    /// A guard is attached by this hook.
    Attached(Hook),
    /// Every hook refused the guard, for these reasons.
    Refused(String),
}

/// The phases of a reconciliation. The steps of a phase depend on the outcomes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Pins without effect.
    Stale,
    /// The plan's guards.
    Planned,
    /// Members of masters without a guard.
    StandIns,
    /// Attached guards outside the plan.
    Leftovers,
    /// Interfaces not up yet.
    Early,
}

impl Phase {
    /// Every phase, in order.
    pub(crate) const ALL: [Self; 5] = [
        Self::Stale,
        Self::Planned,
        Self::StandIns,
        Self::Leftovers,
        Self::Early,
    ];
}

/// The guards after a reconciliation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttachReport {
    /// The hooks of the guards, by ifindex.
    pub(crate) guards: BTreeMap<u32, Hook>,
    /// The guards to detach once the new policy is in force.
    pub(crate) detach_later: Vec<(u32, Hook)>,
    /// Notes for the operator.
    pub(crate) notes: Vec<Note>,
}

impl<'a> Reconcile<'a> {
    /// The steps of a phase, after the outcomes of the phases before it.
    pub(crate) fn steps(&self, phase: Phase, report: &AttachReport) -> Vec<Step<'a>> {
        match phase {
            Phase::Stale => self.stale(),
            Phase::Planned => {
                let guards = self.plan.wanted.guards.iter();
                guards.map(|guard| self.settle(guard)).collect()
            }
            Phase::StandIns => {
                let members = self.stand_ins(report);
                members.map(|guard| self.settle(guard)).collect()
            }
            Phase::Leftovers => self.leftovers(report),
            Phase::Early => self.early(report),
        }
    }

    fn stale(&self) -> Vec<Step<'a>> {
        match self.set {
            PinSet::New => Vec::new(),
            PinSet::InPlace => {
                let unpin = |&(ifindex, hook)| Step::Unpin { ifindex, hook };
                self.attached.stale.iter().map(unpin).collect()
            }
        }
    }

    /// The members of masters without a guard.
    fn stand_ins(&self, report: &AttachReport) -> impl Iterator<Item = &'a WireGuard> {
        let lacks_master = |guard: &&WireGuard| {
            let master = guard.master.as_ref();
            master.is_some_and(|master| !report.guards.contains_key(master))
        };
        self.plan.wanted.members.iter().filter(lacks_master)
    }

    /// The step for an interface of the plan.
    fn settle(&self, guard: &'a WireGuard) -> Step<'a> {
        let Some(&hook) = self.attached.guards.get(&guard.ifindex) else {
            return Step::Attach { guard };
        };
        let is_planned = guard.hooks.contains(&hook);
        // Only a new set can put a link before another tcx program.
        let is_well_placed =
            self.set == PinSet::InPlace || !self.attached.behind.contains(&guard.ifindex);
        match self.hooks {
            HookPolicy::Keep if !is_planned => self.keep(guard, hook, Kept::OtherHook),
            HookPolicy::Keep => self.keep(guard, hook, Kept::Planned),
            HookPolicy::AsPlanned if is_planned && is_well_placed => {
                self.keep(guard, hook, Kept::Planned)
            }
            HookPolicy::AsPlanned => Step::Exchange { guard, from: hook },
        }
    }

    const fn keep(&self, guard: &'a WireGuard, hook: Hook, why: Kept) -> Step<'a> {
        match self.set {
            PinSet::InPlace => Step::Keep { guard, hook, why },
            PinSet::New => Step::TakeOver { guard, hook, why },
        }
    }

    fn leftovers(&self, report: &AttachReport) -> Vec<Step<'a>> {
        let planned = self.plan.wanted.guards.iter().chain(self.stand_ins(report));
        let planned: BTreeSet<u32> = planned.map(|guard| guard.ifindex).collect();
        let tolerated = self.plan.tolerated.guards.iter();
        let tolerated: BTreeMap<u32, &WireGuard> =
            tolerated.map(|guard| (guard.ifindex, guard)).collect();
        let attached = self.attached.guards.iter();
        let left = attached.filter(|(ifindex, _)| !planned.contains(ifindex));
        let step = |(&ifindex, &hook): (&u32, &Hook)| {
            let guard = tolerated.get(&ifindex).copied();
            let stays =
                |guard: &&WireGuard| self.hooks == HookPolicy::Keep || guard.hooks.contains(&hook);
            match (guard.filter(stays), self.set) {
                (Some(guard), _) => Some(self.keep(guard, hook, Kept::Tolerated)),
                (None, PinSet::InPlace) => Some(Step::DetachLater { ifindex, hook }),
                // The old set goes as a whole.
                (None, PinSet::New) => None,
            }
        };
        left.filter_map(step).collect()
    }

    /// Early guards for interfaces not up yet. An early guard stays if its interface came up
    /// without another guard.
    fn early(&self, report: &AttachReport) -> Vec<Step<'a>> {
        let plan = &self.plan.wanted;
        let is_covered = |ifindex: &u32| report.guards.contains_key(ifindex);
        let wanted = plan.early.iter().chain(&plan.guards);
        let wanted: BTreeSet<u32> = wanted.map(|guard| guard.ifindex).collect();
        let (kept, gone): (Vec<_>, Vec<_>) =
            self.early.here.iter().partition(|(it, is_attached)| {
                **is_attached && !is_covered(it) && wanted.contains(it)
            });
        let kept: BTreeSet<u32> = kept.into_iter().map(|(ifindex, _)| *ifindex).collect();
        let gone = gone.into_iter();
        let mut steps: Vec<Step<'a>> = gone
            .map(|(&ifindex, _)| Step::DetachEarly { ifindex })
            .collect();
        // An interface with nothing but an early guard in the old set needs the same in the new
        // set.
        let had_early = |guard: &&WireGuard| self.early.in_force.contains(&guard.ifindex);
        let stand_ins = plan.guards.iter().filter(had_early);
        let missing = plan
            .early
            .iter()
            .chain(stand_ins)
            .filter(|guard| !kept.contains(&guard.ifindex) && !is_covered(&guard.ifindex));
        steps.extend(missing.map(|guard| Step::AttachEarly { guard }));
        steps
    }
}

/// Splits steps, in their order, into groups: the steps of a group may be carried out at the same
/// time.
///
/// Groups have several steps for new guards of interfaces without relations alone. Where one
/// interface is above another, the order counts: a driver may refuse XDP on an interface while a
/// program is attached above or below.
pub(crate) fn groups<'s, 'a>(steps: &'s [Step<'a>]) -> impl Iterator<Item = &'s [Step<'a>]> {
    let guards = steps.iter().filter_map(|step| match step {
        Step::Attach { guard } => Some(guard),
        _ => None,
    });
    let masters: BTreeSet<u32> = guards.filter_map(|guard| guard.master).collect();
    let is_alone = move |step: &Step<'_>| match step {
        Step::Attach { guard } => {
            let is_master = masters.contains(&guard.ifindex);
            let is_parent = guard.has_macvlan_children || !guard.vlan_children.is_empty();
            guard.master.is_none() && !is_master && !is_parent
        }
        _ => false,
    };
    steps.chunk_by(move |one, next| is_alone(one) && is_alone(next))
}

/// Returns a note for each guard whose bridge may take frames for MACs that nobody knows.
pub(crate) fn unknown_macs(plan: &Plan) -> impl Iterator<Item = Note> {
    // A bridge speaks for its members.
    let guards = plan.guards.iter().filter(|guard| guard.master.is_none());
    guards.filter(|guard| guard.macs_unknown).map(|guard| {
        let text = format!(
            "{0}: the forwarding table of its bridge is too long to be read (`bridge fdb show` \
             lists the table): until the table is shorter, packets through {0} for other machines \
             are judged as though they were for this host",
            guard.name
        );
        Note::new(NoteKind::MacsUnknown, text).on(&guard.name)
    })
}

impl AttachReport {
    /// Takes the outcome of a step. Returns the step after a refusal, if any.
    pub(crate) fn record<'a>(
        &mut self,
        step: Step<'a>,
        outcome: Outcome,
        set: PinSet,
    ) -> Option<Step<'a>> {
        match (step, outcome) {
            (Step::Keep { guard, hook, why } | Step::TakeOver { guard, hook, why }, _) => {
                self.guards.insert(guard.ifindex, hook);
                if why == Kept::OtherHook {
                    self.notes.push(hook_kept(
                        guard,
                        format!(
                            "{} keeps its guard on {hook} until the next `enforcer reload` \
                             without --confirm",
                            guard.name
                        ),
                    ));
                }
            }
            (Step::Attach { guard }, Outcome::Attached(hook)) => {
                self.guards.insert(guard.ifindex, hook);
            }
            (Step::Attach { guard }, Outcome::Refused(why)) => {
                let text = format!("{} has no wire guard: {why}", guard.name);
                let note = Note::new(NoteKind::NoWireGuard, text);
                self.notes.push(note.on(&guard.name));
            }
            (Step::Exchange { guard, from }, Outcome::Attached(hook)) => {
                self.guards.insert(guard.ifindex, hook);
                if set == PinSet::InPlace {
                    self.detach_later.push((guard.ifindex, from));
                }
            }
            (Step::Exchange { guard, from }, Outcome::Refused(why)) => {
                self.notes.push(hook_kept(
                    guard,
                    format!(
                        "{} keeps its guard on {from} ({why}): `enforcer down` and `up` would \
                         change the hook, with a gap",
                        guard.name
                    ),
                ));
                let (hook, why) = (from, Kept::Tolerated);
                return Some(match set {
                    PinSet::InPlace => Step::Keep { guard, hook, why },
                    PinSet::New => Step::TakeOver { guard, hook, why },
                });
            }
            (Step::DetachLater { ifindex, hook }, _) => self.detach_later.push((ifindex, hook)),
            (Step::Attach { .. } | Step::Exchange { .. }, Outcome::Done)
            | (Step::Unpin { .. } | Step::AttachEarly { .. } | Step::DetachEarly { .. }, _) => {}
        }
        None
    }

    /// Keeps the guards to be detached later, for a rollback. Returns
    /// their ifindexes.
    pub(crate) fn keep_detached(&mut self) -> Vec<u32> {
        let kept = std::mem::take(&mut self.detach_later);
        for (ifindex, hook) in &kept {
            self.guards.entry(*ifindex).or_insert(*hook);
        }
        kept.into_iter().map(|(ifindex, _)| ifindex).collect()
    }
}

fn hook_kept(guard: &WireGuard, text: String) -> Note {
    Note::new(NoteKind::HookKept, text).on(&guard.name)
}
