//! A set of pins in the making: built beside the pins in force, and exchanged with them.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{
    super::{Instance, executor, find_attached, reserve, sent},
    UpOptions, released_by,
};
use crate::{
    decisions::{
        attached::AttachedGuards,
        candidate::{Candidate, EVERY_GUARD, Recipe},
        reconcile::HookPolicy,
    },
    kernel::{
        bpf::CgroupHook,
        links,
        load::{self, Options, Programs},
        maps::{Maps, Reserved},
        mounts,
        pins::PinDir,
        sys,
    },
    note::{Note, NoteKind},
    policy::PolicyTables,
};

/// A set of pins in the making.
pub(super) struct NewPins<'a> {
    pub(super) staging: &'a PinDir,
    pub(super) instance: &'a Instance,
    pub(super) options: UpOptions,
    pub(super) recipe: Recipe<'a>,
}

/// A finished set of pins.
pub(super) struct Built {
    pub(super) maps: Maps,
    tables: PolicyTables,
    pub(super) notes: Vec<Note>,
}

impl NewPins<'_> {
    /// Builds the set, exchanges it with the pins in force, and removes the old pins. The maps in
    /// force become the maps of the set, if there are any.
    pub(super) fn put_in_force(&self, in_force: Option<Maps>) -> Result<Built> {
        let adopt = in_force.is_some();
        // Words about the switch do not prevent the switch.
        let before = in_force
            .as_ref()
            .and_then(|maps| maps.services_in_force().ok());
        let replace = |built| {
            let pins = self.instance.pins();
            pins.replace_with(self.staging)
                .with_context(|| match adopt {
                    true => {
                        "the new policy is in force, but its pins cannot take the old ones' place"
                    }
                    false => "the new pins cannot be put in place",
                })
                .map(|()| built)
        };
        let built = match self.build(in_force).and_then(replace) {
            Err(error) if !adopt => Err(match self.give_back() {
                Ok(()) => error,
                Err(why) => error.context(format!(
                    "some guards judge by the new policy already ({why:#}): run `enforcer up` again"
                )),
            }),
            built => built,
        };
        // After an exchange the old set; after a failure the new set, whose links are
        // also pinned in the old set.
        let removed = self.staging.remove(Some(self.instance.pins()));
        let mut built = built?;
        built.notes.extend(released_by(before, &built.tables));
        built
            .notes
            .extend(reserve::reserve_or_note(&built.maps, &built.tables));
        built.notes.extend(removed.context(
            "the new policy is in force, but the old pins cannot be removed: run `enforcer up` \
             again",
        )?);
        Ok(built)
    }

    /// Fills the staging directory: maps with the policy, programs, guards.
    fn build(&self, in_force: Option<Maps>) -> Result<Built> {
        let adopt = in_force.is_some();
        let netns_cookie = sys::netns_cookie()?;
        if adopt {
            load::adopt_maps(self.instance.pins(), self.staging)?;
        }
        let options = Options {
            netns_cookie,
            log: self.options.log,
        };
        let mut programs = Programs::with_maps(self.staging, options)?;
        let mut notes = Vec::new();
        let socket = match self.options.socket {
            true => self.or_without(programs.socket(), &mut notes)?,
            false => None,
        };
        let flags = self.recipe.flags;
        let mut maps = match in_force {
            Some(maps) => maps,
            None => Maps::open(self.staging)?,
        };
        if !adopt {
            self.fill(&mut maps, netns_cookie)?;
        }
        if let Some(program) = socket {
            self.attach_socket_guard(&program, adopt, &mut notes)?;
        }
        let attached = find_attached(self.instance.pins(), self.recipe.snapshot)?;
        let plan = self.recipe.guard_plan(&attached);
        let report = executor::reconcile(
            &mut programs,
            self.instance.pins(),
            &attached,
            &plan,
            HookPolicy::AsPlanned,
        )?;
        notes.extend(report.notes);
        maps.watch_bypasses(&report.guards.keys().copied().collect())?;
        let candidate =
            Candidate::compile_for(&self.recipe, &plan.wanted, report.guards, &maps.slots()?)?;
        let tables = candidate.tables;
        notes.extend(sent::attach(&mut programs, self.instance, &tables));
        // Last, if the maps are those in force: a failure before this line has changed no policy.
        // A second time, if the maps are new and an interface took another hook than expected.
        if adopt || tables != maps.tables()? {
            switch_from_pending(&mut maps, &tables)?;
        }
        maps.describe(netns_cookie, flags);
        Ok(Built {
            maps,
            tables,
            notes,
        })
    }

    /// Gives new maps their policy: a guard must never meet maps without one.
    fn fill(&self, maps: &mut Maps, netns_cookie: u64) -> Result<()> {
        if let Some(old) = Reserved::of(self.instance.pins())? {
            maps.reserved.remember(&old.ports());
        }
        maps.describe(netns_cookie, self.recipe.flags);
        let candidate =
            Candidate::compile(&self.recipe, &AttachedGuards::default(), &maps.slots()?)?;
        maps.switch_to(&candidate.tables)?;
        Ok(())
    }

    /// Attaches the socket guard before any wire guard: the socket guard alone holds on every
    /// interface.
    fn attach_socket_guard(
        &self,
        program: &Path,
        adopt: bool,
        notes: &mut Vec<Note>,
    ) -> Result<()> {
        let old = self.instance.pins().socket_link();
        let new = self.staging.socket_link();
        let cgroup = mounts::cgroup_root(self.instance.cgroup());
        let is_in_place = match &cgroup {
            Ok(cgroup) => links::is_socket_attached_to(&old, cgroup)?,
            // The attached guard needs no mounted cgroup2.
            Err(_) => self.instance.has_socket_guard()?,
        };
        if adopt && is_in_place {
            return links::take_over(&old, program, &new);
        }
        // Beside the old guard, if there is one: both judge until the old pins go.
        let attached = cgroup
            .and_then(|cgroup| links::attach_cgroup(program, (&cgroup, CgroupHook::Ingress), &new));
        self.or_without(attached, notes).map(drop)
    }

    /// The result, or a note in its place if there can be no socket guard: wire guards alone hold
    /// more than no guards do, and `status` reports degraded.
    ///
    /// # Errors
    /// The old set has a socket guard, not to be given up; or no wire guards are wanted.
    fn or_without<T>(&self, result: Result<T>, notes: &mut Vec<Note>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(why) if !self.options.wire || self.instance.has_socket_guard()? => Err(why),
            Err(why) => {
                notes.push(Note::new(
                    NoteKind::NoSocketGuard,
                    format!("there is no socket guard: {why:#}"),
                ));
                Ok(None)
            }
        }
    }

    /// Gives the guards in place their own programs again.
    fn give_back(&self) -> Result<()> {
        let everything = Recipe {
            flags: EVERY_GUARD,
            ..self.recipe
        };
        let plan = everything.guard_plan(&AttachedGuards::default());
        executor::give_back(self.instance.pins(), &plan.tolerated)
    }
}

/// Puts a policy in force in place of any other, a pending one too.
///
/// The idle bank holds the policy before a pending policy, so that the pending policy is rolled back
/// before the bank is filled: a failure, or the end of this process, leaves the policy before, and
/// the next writer carries out the rest of the rollback.
///
/// # Errors
/// As for [`Maps::switch_to`]; no policy awaits confirmation then.
fn switch_from_pending(maps: &mut Maps, tables: &PolicyTables) -> Result<()> {
    let was_pending = maps.pending().awaiting().is_some();
    if was_pending {
        maps.roll_back()?;
    }
    let switched = maps.switch_to(tables);
    switched.with_context(|| match was_pending {
        true => "the pending policy is rolled back, and the new policy is not in force",
        false => "the new policy is not in force",
    })?;
    // The rollback of an earlier pending policy is old news.
    maps.end_pending(false);
    Ok(())
}
