//! `reload --dry-run`: the changes that another registry would make, in words.

use super::{
    Globals, Outcome,
    confirm::nothing_pinned,
    failure::{DIFFERENT, NOT_ENFORCING},
    output, policy, source,
};
use crate::{
    control::Instance,
    host,
    inspect::{self, DryRun},
    policy::{Change, changes},
    registry::load,
};

/// Say what a reload would change, and change nothing. The exit code is 5 if anything would.
pub(crate) async fn dry_run(globals: &Globals, instance: &Instance) -> Outcome {
    let loaded = load(&source(globals, instance.missing_file()?))?;
    let snapshot = host::snapshot_for(&loaded.registry).await?;
    policy::warn(&loaded, &snapshot)?;
    let Some(dry_run) = inspect::dry_run(instance, &loaded, &snapshot).await? else {
        output::note(&nothing_pinned());
        return Ok(NOT_ENFORCING);
    };
    let changes = all_changes(&dry_run);
    if globals.json {
        output::print_json(&changes)?;
    } else if changes.is_empty() {
        output::print("nothing would change")?;
    } else {
        for change in &changes {
            output::print(&change.line())?;
        }
    }
    Ok(if changes.is_empty() { 0 } else { DIFFERENT })
}

/// The changes of the policy, of the AllowedIPs, and the dangers.
fn all_changes(dry_run: &DryRun) -> Vec<Change> {
    let mut changes = changes(&dry_run.now, &dry_run.next);
    changes.extend(dry_run.stale.iter().map(|name| {
        let what = format!("the keys of {name} have other AllowedIPs than at the last reload");
        Change::global('~', what)
    }));
    changes.extend(dry_run.dangers.iter().map(|danger| {
        let what = format!("this {danger}: it wants --force, or --confirm");
        Change::global('!', what)
    }));
    changes
}
