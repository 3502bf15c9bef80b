//! `reload --dry-run`: the changes by another registry, in words.

use super::{
    Globals, Outcome,
    confirm::nothing_pinned,
    failure::{DIFFERENT, NOT_ENFORCING},
    output, policy, read_again,
    wrap::{Width, wrap},
};
use crate::{control::Instance, host, inspect, policy::Change, printable};

/// Prints the changes of a reload, and changes nothing. The exit code is 5 if there are changes.
pub(crate) async fn dry_run(globals: &Globals, instance: &Instance) -> Outcome {
    let loaded = read_again(globals, instance)?;
    let snapshot = host::snapshot_for(&loaded.registry).await?;
    let Some(changes) = inspect::dry_run(instance, &loaded, &snapshot).await? else {
        output::note(&nothing_pinned());
        if globals.json {
            output::print_json::<[Change]>(&[])?;
        }
        return Ok(NOT_ENFORCING);
    };
    policy::warn(&loaded, &snapshot);
    match globals.json {
        true => output::print_json(&changes)?,
        false => output::print(&human(&changes, output::width()))?,
    }
    Ok(if changes.is_empty() { 0 } else { DIFFERENT })
}

/// Returns changes in words, one a line.
fn human(changes: &[Change], width: Width) -> String {
    if changes.is_empty() {
        return "nothing would change".to_owned();
    }
    let line = |change: &Change| wrap(&printable::text(&change.line()), width, 2);
    changes.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::snapshots::assert_snapshot;

    #[test]
    fn changes() {
        let redis = |sign, what: &str| Change {
            sign,
            service: Some("redis".to_owned()),
            protocol: Some("tcp"),
            port: Some(6379),
            what: what.to_owned(),
        };
        let changes = [
            redis('+', "office may reach the port (192.0.2.0/24 and 2001:db8::/32 on eth0)"),
            redis('-', "no longer registered"),
            Change::global('~', "the global mode is enforce and becomes audit".to_owned()),
            Change::global(
                '!',
                "this would cut an SSH session (192.0.2.7 on eth\u{1b}0 to port 22): sshd (22/tcp) \
                 drops it as untrusted-interface: it wants --force, or --confirm"
                    .to_owned(),
            ),
        ];
        assert_snapshot("dry-run", |width| human(&changes, width));
        assert_snapshot("dry-run-empty", |width| human(&[], width));
    }
}
