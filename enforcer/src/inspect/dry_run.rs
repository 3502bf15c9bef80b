//! The model of `reload --dry-run`: the changes by another registry.

use super::host_changes::{Guards, host_changes};
use crate::{
    control::{Author, Danger, Error, Instance, dangers, find_attached},
    decisions::{
        candidate::{Candidate, Recipe},
        peers,
    },
    host::HostSnapshot,
    kernel::mounts,
    policy::{Change, PolicyTables, changes},
    registry::Loaded,
};

/// Returns the changes from the policy in force to a registry's; `None` if nothing is pinned.
///
/// # Errors
/// The pins cannot be read, or the registry exceeds a limit of the maps.
pub async fn dry_run(
    instance: &Instance,
    loaded: &Loaded,
    snapshot: &HostSnapshot,
) -> Result<Option<Vec<Change>>, Error> {
    let Some(maps) = instance.maps()? else {
        return Ok(None);
    };
    let recipe = Recipe {
        loaded,
        snapshot,
        flags: maps.state().flags,
    };
    let attached = find_attached(instance.pins(), snapshot)?;
    let plan = recipe.guard_plan(&attached).wanted;
    let next = Candidate::compile(&recipe, &attached, &maps.slots()?)?.tables;
    let dangers = dangers(instance, Some(&maps), &recipe, Author::Command).await?;
    let now = maps.tables()?;
    let stale = peers::stale(&now, snapshot);
    let guards = Guards {
        flags: recipe.flags,
        planned: &plan.guards,
        attached: &attached,
        lacks_socket: !instance.has_socket_guard()?
            && mounts::cgroup_root(instance.cgroup()).is_ok(),
    };
    Ok(Some(all_changes(&now, &next, &guards, &stale, &dangers)))
}

/// Returns the changes of the policy, of the host and of AllowedIPs (`stale` interfaces), and the
/// dangers.
fn all_changes(
    now: &PolicyTables,
    next: &PolicyTables,
    guards: &Guards<'_>,
    stale: &[&str],
    dangers: &[Danger],
) -> Vec<Change> {
    let mut changes = changes(now, next);
    changes.extend(host_changes(now, next, changes.is_empty(), guards));
    changes.extend(stale.iter().map(|name| {
        let what = format!("the keys of {name} have other AllowedIPs than at the last reload");
        Change::global('~', what)
    }));
    let refused = dangers.iter().filter(|danger| danger.needs_consent());
    changes.extend(refused.map(|danger| {
        let what = format!("this {danger}: it wants --force, or --confirm");
        Change::global('!', what)
    }));
    changes
}

#[cfg(test)]
mod tests {
    use enforcer_ebpf::Mode;

    use super::*;
    use crate::decisions::attached::AttachedGuards;

    #[test]
    fn changes_stale_keys_and_dangers_stand_in_this_order() {
        let now = PolicyTables::default();
        let next = PolicyTables {
            mode: Mode::Audit,
            ..PolicyTables::default()
        };
        let dangers = [Danger::ClosesLastPublicPort(vec!["80/tcp".to_owned()])];
        let attached = AttachedGuards::default();
        let guards = Guards {
            flags: 0,
            planned: &[],
            attached: &attached,
            lacks_socket: false,
        };
        let changes = all_changes(&now, &next, &guards, &["wg0"], &dangers);
        let signs: String = changes.iter().map(|change| change.sign).collect();
        assert_eq!(signs, "~~!");
        assert!(changes[1].what.starts_with("the keys of wg0 have other"));
        assert!(changes[2].what.contains("no public port"));
        assert_eq!(all_changes(&now, &now, &guards, &[], &[]), []);
    }
}
