//! `reload --dry-run`: what would be in force.

use anyhow::Result;

use crate::control::{
    Author, HostSnapshot, Instance,
    attached::AttachedGuards,
    dangers,
    reconcile::{self, plan_in_force},
};
use crate::{
    interfaces::InterfaceOptions,
    policy::{PolicyTables, compile},
    registry::Loaded,
};

/// Two policies side by side.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// The one in force.
    pub now: PolicyTables,
    /// The one that a registry would be.
    pub next: PolicyTables,
    /// What the change would do to people: the ends of sentences that begin with "this".
    pub dangers: Vec<String>,
}

/// The policy that a registry would be, beside the one in force: for `reload --dry-run`.
///
/// # Errors
/// The pins or the registry make no sense on this host.
pub async fn dry_run(
    instance: &Instance,
    loaded: &Loaded,
    snapshot: &HostSnapshot,
) -> Result<Option<DryRun>> {
    let Some(maps) = instance.maps()? else {
        return Ok(None);
    };
    let options_of = |name: &str| InterfaceOptions::of(&loaded.registry, name);
    let alive = AttachedGuards::find(instance.pins(), snapshot)?;
    let plan = plan_in_force(snapshot, maps.state().flags, options_of, &alive);
    let attachments = reconcile::attachments(snapshot, &plan, &alive.guards);
    let next = PolicyTables {
        provenance: loaded.provenance.clone(),
        ..compile(&loaded.registry, &attachments, &maps.slots())?
    };
    let (flags, author) = (maps.state().flags, Author::Command);
    let dangers = dangers(
        instance,
        Some(&maps),
        &loaded.registry,
        snapshot,
        flags,
        author,
    )
    .await?;
    Ok(Some(DryRun {
        now: maps.tables()?,
        next,
        dangers,
    }))
}
