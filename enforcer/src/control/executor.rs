//! The executor: finds the attached guards, and carries out the steps of a reconciliation.

use std::path::Path;

use anyhow::{Context as _, Result};
use enforcer_ebpf::layout::State;

use super::Instance;
use crate::{
    decisions::{
        attached::{AttachedGuards, EarlyGuards},
        candidate::guard_plan,
        reconcile::{
            AttachReport, GuardPlan, HookPolicy, Outcome, Phase, PinSet, Reconcile, Step, groups,
            unknown_macs,
        },
    },
    host::HostSnapshot,
    interfaces::{Hook, Interface, InterfaceOptions, Plan, WireGuard},
    kernel::{
        bpf::{self, CgroupHook},
        links,
        load::{Options, Programs, SOCKET_PROGRAM, wire_program},
        mounts,
        pins::PinDir,
    },
    note::{Note, NoteKind},
    printable::decode_path,
};

/// Finds the wire guards of a directory, none if the directory is missing.
///
/// # Errors
/// The pins cannot be read.
pub(crate) fn find_attached(pins: &PinDir, snapshot: &HostSnapshot) -> Result<AttachedGuards> {
    let mut attached = AttachedGuards::default();
    if !pins.exists()? {
        return Ok(attached);
    }
    for (ifindex, hook, pin) in pins.wire_links()? {
        let link = match snapshot.by_index(ifindex) {
            Some(interface) => {
                let xdp = interface.xdp.and_then(|xdp| xdp.prog_id);
                links::status(&pin, ifindex, hook, xdp)
                    .with_context(|| format!("failed to examine {}", decode_path(&pin)))?
            }
            // Two questions for each of many links would each wait for the kernel's lock of
            // interfaces, which the removal of many interfaces holds most of the time.
            None => None,
        };
        let Some(link) = link else {
            attached.stale.push((ifindex, hook));
            continue;
        };
        // An exchange interrupted between its two steps leaves two guards.
        if let Some(other) = attached.guards.insert(ifindex, hook) {
            attached.stale.push((ifindex, other));
        }
        attached.programs.insert(link.program);
        if !link.is_first {
            attached.behind.insert(ifindex);
        }
    }
    Ok(attached)
}

/// Finds the early guards of the pins in force and of the reconciled set.
fn find_early(in_force: &PinDir, here: &PinDir) -> Result<EarlyGuards> {
    let mut early = EarlyGuards::default();
    if in_force.exists()? {
        let links = in_force.early_links()?;
        early.in_force = links.into_iter().map(|(ifindex, _)| ifindex).collect();
    }
    for (ifindex, pin) in here.early_links()? {
        let link = links::status(&pin, ifindex, Hook::Tcx, None)
            .with_context(|| format!("failed to examine {}", decode_path(&pin)))?;
        early.here.insert(ifindex, link.is_some());
    }
    Ok(early)
}

/// Brings the guards of a set of pins to a plan. The guards of `in_force`, the same set or the
/// set before, are kept or taken over.
///
/// # Errors
/// The pins cannot be read or changed. An interface without a usable hook is a note.
pub(crate) fn reconcile(
    programs: &mut Programs<'_>,
    in_force: &PinDir,
    attached: &AttachedGuards,
    plan: &GuardPlan,
    hooks: HookPolicy,
) -> Result<AttachReport> {
    let set = match programs.pins().path() == in_force.path() {
        true => PinSet::InPlace,
        false => PinSet::New,
    };
    let early = find_early(in_force, programs.pins())?;
    let request = Reconcile {
        attached,
        early: &early,
        plan,
        set,
        hooks,
    };
    let mut report = AttachReport {
        notes: unknown_macs(&plan.wanted).collect(),
        ..AttachReport::default()
    };
    for phase in Phase::ALL {
        let mut steps = request.steps(phase, &report);
        while !steps.is_empty() {
            let mut after = Vec::new();
            for group in groups(&steps) {
                let outcomes = execute_group(programs, in_force, group)?;
                for (step, outcome) in group.iter().zip(outcomes) {
                    after.extend(report.record(*step, outcome, set));
                }
            }
            steps = after;
        }
    }
    Ok(report)
}

/// The number of new guards that are worth another thread.
const MANY: usize = 8;

/// Carries out the steps of a group. Returns the outcomes in the order of the steps.
fn execute_group(
    programs: &mut Programs<'_>,
    in_force: &PinDir,
    group: &[Step<'_>],
) -> Result<Vec<Outcome>> {
    let by_first_hook = |step: &Step<'_>| match step {
        Step::Attach { guard } => Some((guard.ifindex, *guard.hooks.first()?, guard.link)),
        _ => None,
    };
    let together: Vec<_> = group.iter().map_while(by_first_hook).collect();
    if group.len() < MANY || together.len() < group.len() {
        let steps = group.iter();
        return steps
            .map(|step| execute(programs, in_force, *step))
            .collect();
    }
    let attached = links::attach_together(programs, &together);
    let mut outcomes = Vec::new();
    for ((step, is_attached), (_, hook, _)) in group.iter().zip(attached).zip(&together) {
        outcomes.push(match is_attached {
            true => Outcome::Attached(*hook),
            // Alone, the guard tries every hook.
            false => execute(programs, in_force, *step)?,
        });
    }
    Ok(outcomes)
}

/// Carries out one step.
fn execute(programs: &mut Programs<'_>, in_force: &PinDir, step: Step<'_>) -> Result<Outcome> {
    match step {
        Step::Keep { .. } | Step::DetachLater { .. } => {}
        Step::Unpin { ifindex, hook } => detach(&in_force.wire_link(ifindex, hook))?,
        Step::TakeOver { guard, hook, .. } => {
            let program = programs.wire(hook, guard.link)?;
            let old = in_force.wire_link(guard.ifindex, hook);
            let new = programs.pins().wire_link(guard.ifindex, hook);
            links::take_over(&old, &program, &new)?;
        }
        Step::Attach { guard } | Step::Exchange { guard, .. } => {
            return Ok(attach(programs, guard));
        }
        Step::AttachEarly { guard } => {
            links::attach_early(programs, guard.ifindex, guard.link).ok();
        }
        Step::DetachEarly { ifindex } => detach(&programs.pins().early_link(ifindex))?,
    }
    Ok(Outcome::Done)
}

/// Tries the hooks of a guard in their order.
fn attach(programs: &mut Programs<'_>, guard: &WireGuard) -> Outcome {
    let mut refusals = Vec::new();
    for &hook in &guard.hooks {
        match links::attach_wire(programs, guard.ifindex, hook, guard.link) {
            Ok(()) => return Outcome::Attached(hook),
            Err(error) => refusals.push(format!("{hook}: {error:#}")),
        }
    }
    Outcome::Refused(refusals.join("; "))
}

fn detach(pin: &Path) -> Result<()> {
    bpf::detach(pin).with_context(|| format!("failed to unpin {}", decode_path(pin)))
}

/// Detaches the guards without a use for the policy in force.
///
/// # Errors
/// A pin cannot be removed; its guard stays attached.
pub(crate) fn detach_unwanted(pins: &PinDir, report: &AttachReport) -> Result<()> {
    let mut unwanted = report.detach_later.iter();
    unwanted.try_for_each(|(ifindex, hook)| detach(&pins.wire_link(*ifindex, *hook)))
}

/// As [`reconcile`], for the pins in force, under a policy's options for interfaces; the socket
/// guard too. Returns the plan as well.
///
/// # Errors
/// As for [`reconcile`].
pub(crate) fn reconcile_in_place(
    instance: &Instance,
    state: State,
    snapshot: &HostSnapshot,
    options: impl Fn(&Interface) -> InterfaceOptions,
    hooks: HookPolicy,
) -> Result<(Plan, AttachReport)> {
    let pins = instance.pins();
    let attached = find_attached(pins, snapshot)?;
    let plan = guard_plan(snapshot, state.flags, options, &attached);
    // A new interface may be the first to want a program.
    let mut programs = Programs::of(pins, Options::of(state));
    let mut report = reconcile(&mut programs, pins, &attached, &plan, hooks)?;
    report.notes.extend(attached.restored(&report, snapshot));
    report.notes.extend(restore_socket_guard(instance, state)?);
    Ok((plan.wanted, report))
}

/// Attaches the socket guard again if the policy wants one and none is attached. Returns a note of
/// the attempt.
///
/// # Errors
/// The kernel does not tell whether the guard is attached. A refusal to attach is a note.
fn restore_socket_guard(instance: &Instance, state: State) -> Result<Option<Note>> {
    if state.flags & State::WANT_SOCKET == 0 || instance.has_socket_guard()? {
        return Ok(None);
    }
    let program = instance.pins().program(SOCKET_PROGRAM);
    // The kernel refused the program, so only another `up` can load the program.
    if !program.exists() {
        return Ok(None);
    }
    let link = instance.pins().socket_link();
    let attach = || -> Result<()> {
        if link.exists() {
            detach(&link)?;
        }
        let cgroup = mounts::cgroup_root(instance.cgroup())?;
        links::attach_cgroup(&program, (&cgroup, CgroupHook::Ingress), &link)
    };
    Ok(Some(match attach() {
        Ok(()) => Note::new(
            NoteKind::SocketGuardRestored,
            "the socket guard was missing and is attached again",
        ),
        Err(why) => Note::new(
            NoteKind::NoSocketGuard,
            format!("there is no socket guard: {why:#}"),
        ),
    }))
}

/// Puts the programs of a set behind its own links again, after another set failed to take the
/// links over. Each set has maps of its own, and the pinned set must judge.
///
/// # Errors
/// The pins cannot be read, or the kernel's refusal; the other set's program stays then.
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
