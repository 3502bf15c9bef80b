//! `reload --dry-run`: the policy in force and the policy that a registry would be.

use crate::{
    control::{Author, Danger, Error, Instance, dangers, find_attached},
    decisions::{
        candidate::{Candidate, Recipe},
        peers,
    },
    host::HostSnapshot,
    policy::PolicyTables,
    registry::Loaded,
};

/// Two policies side by side.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// The policy in force.
    pub now: PolicyTables,
    /// The policy that the registry would be.
    pub next: PolicyTables,
    /// The ways in which the change would cut operators off.
    pub dangers: Vec<Danger>,
    /// The interfaces whose AllowedIPs differ from the policy in force.
    pub stale: Vec<String>,
}

/// Compiles a registry beside the policy in force; `None` if nothing is pinned.
///
/// # Errors
/// The pins cannot be read, or the registry exceeds a limit of the maps.
pub async fn dry_run(
    instance: &Instance,
    loaded: &Loaded,
    snapshot: &HostSnapshot,
) -> Result<Option<DryRun>, Error> {
    let Some(maps) = instance.maps()? else {
        return Ok(None);
    };
    let recipe = Recipe {
        loaded,
        snapshot,
        flags: maps.state().flags,
    };
    let attached = find_attached(instance.pins(), snapshot)?;
    let next = Candidate::compile(&recipe, &attached, &maps.slots())?.tables;
    let dangers = dangers(instance, Some(&maps), &recipe, Author::Command).await?;
    let now = maps.tables()?;
    let stale = peers::stale(&now, snapshot);
    Ok(Some(DryRun {
        stale: stale.into_iter().map(str::to_owned).collect(),
        now,
        next,
        dangers,
    }))
}
