//! `reload --dry-run`: what would be in force.

use anyhow::Result;

use super::{
    Place, Survey,
    safety::{self, Author},
    wire::{self, Alive, plan_in_force},
};
use crate::{
    interfaces::Rule,
    policy::{Tables, compile},
    registry::Loaded,
};

/// Two policies side by side.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The one in force.
    pub now: Tables,
    /// The one that a registry would be.
    pub next: Tables,
    /// What the change would do to people: the ends of sentences that begin with "this".
    pub dangers: Vec<String>,
}

/// The policy that a registry would be, beside the one in force: for `reload --dry-run`.
///
/// # Errors
/// The pins or the registry make no sense on this host.
pub async fn preview(place: &Place, loaded: &Loaded, survey: &Survey) -> Result<Option<Preview>> {
    let Some(maps) = place.maps()? else {
        return Ok(None);
    };
    let rule = |name: &str| Rule::of(&loaded.registry, name);
    let alive = Alive::find(&place.pins, survey)?;
    let plan = plan_in_force(survey, maps.state().flags, rule, &alive);
    let attachments = wire::attachments(survey, &plan, &alive.guards);
    let next = Tables {
        provenance: loaded.provenance.clone(),
        ..compile(&loaded.registry, &attachments, &maps.slots())?
    };
    let (flags, author) = (maps.state().flags, Author::Command);
    let dangers =
        safety::dangers(place, Some(&maps), &loaded.registry, survey, flags, author).await?;
    Ok(Some(Preview {
        now: maps.tables()?,
        next,
        dangers,
    }))
}
