//! `reload --dry-run`: what another registry would change, in words.

use super::{
    Globals, Outcome,
    failure::{NOT_ENFORCING, note},
    output, policy, source,
};
use crate::{
    control::{self, Instance},
    inspect::{self, DryRun},
    policy::{Change, changes},
    registry::load,
};

/// Say what would change, and change nothing.
pub(crate) async fn dry_run(globals: &Globals, instance: &Instance) -> Outcome {
    let loaded = load(&source(globals, instance.absent()?))?;
    let snapshot = control::snapshot_for(&loaded.registry).await?;
    policy::warn(&loaded, &snapshot)?;
    let Some(preview) = inspect::dry_run(instance, &loaded, &snapshot).await? else {
        note("nothing is pinned: `enforcer up` puts the registry in force");
        return Ok(NOT_ENFORCING);
    };
    let DryRun { now, next, dangers } = preview;
    let mut changes = changes(&now, &next);
    changes.extend(control::stale(&now, &snapshot).into_iter().map(|name| {
        Change::global(
            '~',
            format!("the keys of {name} have other AllowedIPs than at the last reload"),
        )
    }));
    changes.extend(
        dangers.into_iter().map(|what| {
            Change::global('!', format!("this {what}: it wants --force, or --confirm"))
        }),
    );
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
