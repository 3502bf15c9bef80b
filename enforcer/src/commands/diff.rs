//! `reload --dry-run`: what another registry would change, in words.

use super::{
    Globals, Outcome,
    changes::{Change, changes},
    failure::{NOT_ENFORCING, note},
    output, policy, source,
};
use crate::{
    control::{self, Place, Preview},
    registry::load,
};

/// Say what would change, and change nothing.
pub(super) async fn dry_run(globals: &Globals, place: &Place) -> Outcome {
    let loaded = load(&source(globals, place.absent()?))?;
    let survey = control::survey_for(&loaded.registry).await?;
    policy::warn(&loaded, &survey)?;
    let Some(preview) = control::preview(place, &loaded, &survey).await? else {
        note("nothing is pinned: `enforcer up` puts the registry in force");
        return Ok(NOT_ENFORCING);
    };
    let Preview { now, next, dangers } = preview;
    let mut changes = changes(&now, &next);
    changes.extend(control::stale(&now, &survey).into_iter().map(|name| {
        Change::of_the_whole(
            '~',
            format!("the keys of {name} have other AllowedIPs than at the last reload"),
        )
    }));
    changes.extend(dangers.into_iter().map(|what| {
        Change::of_the_whole('!', format!("this {what}: it wants --force, or --confirm"))
    }));
    if globals.json {
        output::print_json(&changes)?;
        return Ok(0);
    }
    if changes.is_empty() {
        output::print("nothing would change")?;
    }
    for change in &changes {
        output::print(&change.line())?;
    }
    Ok(0)
}
