//! Wire guards as they should be and as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::State;

pub(crate) use super::attached::AttachedGuards;
use super::{HostSnapshot, Instance, socket};
use crate::{
    interfaces::{Hook, InterfaceOptions, Plan, WireGuard},
    kernel::{
        bpf, links,
        load::{Options, Programs, wire_program},
        pins::PinDir,
    },
    policy::PolicyInterface,
    wireguard::Answer,
};

/// The interfaces that have a wire guard, by ifindex, and what could not be had.
#[derive(Clone, Debug, Default)]
pub(crate) struct AttachReport {
    pub(crate) guards: BTreeMap<u32, Hook>,
    pub(crate) notes: Vec<String>,
    /// Links that are not wanted any more, still attached: they go once the new policy is in
    /// force, since the old one may want them.
    leaving: Vec<(u32, Hook, PathBuf)>,
}

/// What becomes of a guard on another hook than the plan's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hooks {
    /// One on the plan's hook takes its place.
    AsPlanned,
    /// It stays: there is, or will be, a policy in force that was compiled for it.
    AsTheyAre,
}

impl AttachReport {
    /// Detaches what is not wanted any more.
    ///
    /// # Errors
    /// A pin cannot be removed; its guard stays on.
    pub(crate) fn detach_leaving(&self) -> Result<()> {
        self.leaving.iter().try_for_each(|(.., pin)| detach(pin))
    }

    /// Keeps what is not wanted any more, for a policy that may come back; says of which
    /// interfaces that is true.
    pub(crate) fn keep_leaving(&mut self, snapshot: &HostSnapshot) -> Vec<String> {
        let kept = std::mem::take(&mut self.leaving);
        let mut names = Vec::new();
        for (ifindex, hook, _) in kept {
            self.guards.entry(ifindex).or_insert(hook);
            names.extend(snapshot.by_index(ifindex).map(|i| i.name.clone()));
        }
        names
    }
}

fn detach(pin: &Path) -> Result<()> {
    bpf::detach(pin).with_context(|| format!("failed to unpin {}", pin.display()))
}

/// Attaches what the plan wants and is not there, and names what is there and not even tolerated.
///
/// What is there is taken from `held`, the pins themselves or an older set, whose guards get the
/// new programs and are pinned beside them. An interface never loses its guard before it
/// has the next one.
///
/// # Errors
/// The pins cannot be read or changed. That an interface refuses every hook is a note.
pub(crate) fn reconcile(
    programs: &mut Programs<'_>,
    held: &PinDir,
    before: &AttachedGuards,
    plan: &Plan,
    tolerated: &Plan,
    hooks: Hooks,
) -> Result<AttachReport> {
    let in_place = programs.pins().path() == held.path();
    let mut covered = AttachReport::default();
    let mut links: BTreeMap<u32, (Hook, PathBuf)> = BTreeMap::new();
    if held.exists()? {
        for (ifindex, hook, pin) in held.wire_links()? {
            if before.guards.get(&ifindex) == Some(&hook) {
                links.insert(ifindex, (hook, pin));
            } else if in_place {
                // Its interface is gone, or is in another namespace, so it guards nothing here. It
                // goes first: an interface that has the same index now needs the name of its pin.
                detach(&pin)?;
            }
        }
    }
    for stand_ins in [false, true] {
        // Members are guarded where their master got no guard.
        let lacks_master = |guard: &&WireGuard| {
            let master = guard.master.as_ref();
            master.is_some_and(|master| !covered.guards.contains_key(master))
        };
        let wanted: Vec<&WireGuard> = match stand_ins {
            false => plan.guards.iter().collect(),
            true => plan.members.iter().filter(lacks_master).collect(),
        };
        for guard in wanted {
            let held = links.remove(&guard.ifindex);
            let change = Change {
                in_place,
                hooks,
                before,
            };
            if let Some(hook) = change.settle(programs, guard, held, &mut covered)? {
                covered.guards.insert(guard.ifindex, hook);
            }
        }
    }
    for (ifindex, (hook, pin)) in links {
        // An interface that is down now may come up before anybody looks again.
        let stays = tolerated
            .guards
            .iter()
            .find(|guard| guard.ifindex == ifindex);
        let is_its_hook =
            |guard: &&WireGuard| hooks == Hooks::AsTheyAre || guard.hooks.contains(&hook);
        if let Some(guard) = stays.filter(is_its_hook) {
            keep(programs, guard, hook, &pin, in_place)?;
            covered.guards.insert(ifindex, hook);
        } else if in_place {
            covered.leaving.push((ifindex, hook, pin));
        }
    }
    reconcile_early(programs, held, plan, &covered)?;
    Ok(covered)
}

/// How a wanted guard and the one that an interface has come together.
struct Change<'a> {
    in_place: bool,
    hooks: Hooks,
    before: &'a AttachedGuards,
}

impl Change<'_> {
    /// Keeps, exchanges or attaches one guard; its hook, or `None` where there is none to be had.
    fn settle(
        &self,
        programs: &mut Programs<'_>,
        guard: &WireGuard,
        held: Option<(Hook, PathBuf)>,
        covered: &mut AttachReport,
    ) -> Result<Option<Hook>> {
        let hook = match held {
            // In its old place only a new set can put a link before somebody else's program.
            Some((hook, pin))
                if self.hooks == Hooks::AsTheyAre
                    || guard.hooks.contains(&hook)
                        && (self.in_place || !self.before.behind.contains(&guard.ifindex)) =>
            {
                if !guard.hooks.contains(&hook) {
                    covered.notes.push(format!(
                        "{} keeps its guard on {hook} until the next `enforcer reload` without \
                         --confirm",
                        guard.name
                    ));
                }
                keep(programs, guard, hook, &pin, self.in_place)?;
                hook
            }
            Some((hook, pin)) => match attach(programs, guard) {
                Ok(new) => {
                    if self.in_place {
                        covered.leaving.push((guard.ifindex, hook, pin));
                    }
                    new
                }
                Err(why) => {
                    keep(programs, guard, hook, &pin, self.in_place)?;
                    covered.notes.push(format!(
                        "{} keeps its guard on {hook} ({why}): `enforcer down` and `up` would \
                         change it, with a gap",
                        guard.name
                    ));
                    hook
                }
            },
            None => match attach(programs, guard) {
                Ok(hook) => hook,
                Err(why) => {
                    covered
                        .notes
                        .push(format!("{} has no wire guard: {why}", guard.name));
                    return Ok(None);
                }
            },
        };
        Ok(Some(hook))
    }
}

/// Keeps a guard where it is: in another set of pins with that set's program.
fn keep(
    programs: &mut Programs<'_>,
    guard: &WireGuard,
    hook: Hook,
    pin: &Path,
    in_place: bool,
) -> Result<()> {
    if in_place {
        return Ok(());
    }
    let program = programs.wire(hook, guard.link)?;
    let new = programs.pins().wire_link(guard.ifindex, hook);
    links::take_over(pin, &program, &new)
}

/// As [`reconcile`], for guards that stay in their place, under a policy's options for
/// interfaces; the socket guard too. Returns the plan as well.
///
/// # Errors
/// As for [`reconcile`].
pub(crate) fn reconcile_in_place(
    instance: &Instance,
    state: State,
    snapshot: &HostSnapshot,
    options_of: impl Fn(&str) -> InterfaceOptions + Copy,
    hooks: Hooks,
) -> Result<(Plan, AttachReport)> {
    let pins = &instance.pins;
    let alive = AttachedGuards::find(pins, snapshot)?;
    let plan = plan_in_force(snapshot, state.flags, options_of, &alive);
    let tolerated = plan_tolerated(snapshot, state.flags, options_of, &alive);
    // For an interface that came since and wants a program that nobody needed before.
    let mut programs = Programs::of(pins, Options::of(state));
    let mut covered = reconcile(&mut programs, pins, &alive, &plan, &tolerated, hooks)?;
    covered.notes.extend(socket::keep(instance, state)?);
    Ok((plan, covered))
}

/// Guards the interfaces that are still down, and lets go of those that have come up and have a
/// guard now, or have left.
fn reconcile_early(
    programs: &mut Programs<'_>,
    held: &PinDir,
    plan: &Plan,
    covered: &AttachReport,
) -> Result<()> {
    let before: BTreeSet<u32> = match held.exists()? {
        true => held.early_links()?.into_iter().map(|(it, _)| it).collect(),
        false => BTreeSet::new(),
    };
    let mut there = BTreeSet::new();
    for (ifindex, pin) in programs.pins().early_links()? {
        let is = |guards: &[WireGuard]| guards.iter().any(|guard| guard.ifindex == ifindex);
        let is_alive = links::alive(&pin, ifindex, Hook::Tcx, None)
            .with_context(|| format!("failed to examine {}", pin.display()))?
            .is_some();
        let is_covered = covered.guards.contains_key(&ifindex);
        // One that has come up and got no other guard keeps this one.
        if is_alive && !is_covered && (is(&plan.early) || is(&plan.guards)) {
            there.insert(ifindex);
        } else {
            detach(&pin)?;
        }
    }
    // Those that had nothing else in an older set have nothing else in this one.
    let stand_ins = plan.guards.iter().filter(|it| before.contains(&it.ifindex));
    for guard in plan.early.iter().chain(stand_ins) {
        let ifindex = guard.ifindex;
        if there.contains(&ifindex) || covered.guards.contains_key(&ifindex) {
            continue;
        }
        // When it comes up it gets a guard, or that is said.
        links::attach_early(programs, ifindex, guard.link).ok();
    }
    Ok(())
}

/// Puts the programs of a set behind its own links again, which another set has taken over in
/// vain: the two have maps of their own, and what is pinned must be what judges.
///
/// # Errors
/// The pins cannot be read, or the kernel's refusal; the other set's program stays on then.
pub(crate) fn give_back(pins: &PinDir, plan: &Plan) -> Result<()> {
    if !pins.exists()? {
        return Ok(());
    }
    for (ifindex, hook, pin) in pins.wire_links()? {
        let owner = plan.guards.iter().find(|guard| guard.ifindex == ifindex);
        let program = owner.map(|guard| pins.program(wire_program(hook, guard.link)));
        if let Some(program) = program.filter(|program| program.exists()) {
            links::update(&pin, &program)?;
        }
    }
    Ok(())
}

/// Tries the hooks of a plan in their order; the error says what each of them said.
fn attach(programs: &mut Programs<'_>, guard: &WireGuard) -> Result<Hook, String> {
    let mut refusals = Vec::new();
    for &hook in &guard.hooks {
        match links::attach_wire(programs, guard.ifindex, hook, guard.link) {
            Ok(()) => return Ok(hook),
            Err(error) => refusals.push(format!("{hook}: {error:#}")),
        }
    }
    Err(refusals.join("; "))
}

/// The interfaces as the policy needs to know them: all of them, guarded or not.
pub(crate) fn attachments(
    snapshot: &HostSnapshot,
    plan: &Plan,
    guards: &BTreeMap<u32, Hook>,
) -> Vec<PolicyInterface> {
    snapshot
        .iter()
        .filter(|interface| !interface.loopback)
        .map(|interface| {
            let planned = plan
                .guards
                .iter()
                .chain(&plan.early)
                .chain(&plan.members)
                .find(|guard| guard.ifindex == interface.index);
            let hook = guards.get(&interface.index);
            PolicyInterface {
                ifindex: interface.index,
                name: interface.name.clone(),
                mac: interface.mac,
                merged: planned.map(|guard| merged(guard, hook)).unwrap_or_default(),
                has_macvlan_children: planned.is_some_and(|guard| guard.has_macvlan_children),
                allowed_ips: match snapshot.wireguard(interface.index) {
                    Some(Answer::Device(allowed)) => Some(allowed.clone()),
                    Some(Answer::NotWireGuard | Answer::Unknown(_)) | None => None,
                },
            }
        })
        .collect()
}

/// The interfaces whose packets a wire guard cannot tell from its own.
fn merged(guard: &WireGuard, hook: Option<&Hook>) -> Vec<u32> {
    match (guard.master, hook) {
        (Some(master), _) => [&[master], guard.vlan_children.as_slice()].concat(),
        (None, Some(Hook::XdpNative | Hook::XdpGeneric)) => guard.vlan_children.clone(),
        (None, Some(Hook::Tcx) | None) => Vec::new(),
    }
}

/// The wire guards that should be there, if any should.
pub(crate) fn plan_in_force(
    snapshot: &HostSnapshot,
    flags: u32,
    options_of: impl Fn(&str) -> InterfaceOptions,
    alive: &AttachedGuards,
) -> Plan {
    match flags & State::WANT_WIRE {
        0 => Plan::default(),
        _ => snapshot.plan(options_of, alive.programs.clone()),
    }
}

/// The wire guards that may stay where they are: those that should be there, and those of
/// interfaces that are down, which may come up before anybody looks again.
pub(crate) fn plan_tolerated(
    snapshot: &HostSnapshot,
    flags: u32,
    options_of: impl Fn(&str) -> InterfaceOptions,
    alive: &AttachedGuards,
) -> Plan {
    plan_in_force(&snapshot.as_if_up(), flags, options_of, alive)
}
