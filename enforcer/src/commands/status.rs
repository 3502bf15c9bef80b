//! `status`.

use super::{
    Globals, Outcome, confirm,
    output::{self, BOLD, GREEN, PLAIN, RED, YELLOW, count, table},
};
use crate::{
    control::Instance,
    inspect::{self, Condition, Status},
};

/// Show what guards what.
pub(crate) async fn status(globals: &Globals, instance: &Instance) -> Outcome {
    confirm::settle(instance).await;
    let status = inspect::status(instance).await?;
    print(globals, &status)?;
    Ok(status.exit_code())
}

/// Prints a status, for people or for scripts.
///
/// # Errors
/// Standard output fails.
pub(crate) fn print(globals: &Globals, status: &Status) -> output::Printed {
    output::lossy(match globals.json {
        true => output::print_json(status),
        false => output::print(&human(status)),
    })
}

/// The words of a status.
pub(super) fn human(status: &Status) -> String {
    let (style, word) = match status.state {
        Condition::Enforcing => (GREEN, "enforcing"),
        Condition::Audit => (YELLOW, "audit"),
        Condition::Degraded => (YELLOW, "degraded"),
        Condition::Off => (RED, "off"),
    };
    let mut text = format!("{style}{word}{PLAIN}");
    if status.state == Condition::Off {
        return text + ": nothing is pinned, registered ports are as open as their sockets";
    }
    text += &format!(
        ": generation {}, {}, {}",
        status.generation,
        count(status.services, "service"),
        count(status.registered_ports, "registered port"),
    );
    if status.state == Condition::Audit {
        text += "; drops are counted, and everything passes";
    }
    if let Some(trial) = status.confirm {
        text += &format!(
            "\n  {YELLOW}!{PLAIN} on trial: in {} s the policy before it comes back, unless \
             `enforcer confirm` follows",
            trial.seconds_left
        );
    }
    if status.rolled_back {
        text += &format!(
            "\n  {YELLOW}!{PLAIN} the last policy on trial was not confirmed and was taken back; \
             the registry's files are as they were edited"
        );
    }
    for reason in &status.reasons {
        text += &format!("\n  {YELLOW}!{PLAIN} {reason}");
    }
    let dash = || "-".to_owned();
    let guards = status.guards.iter().map(|guard| {
        vec![
            guard.guard.to_owned(),
            guard.hook.to_owned(),
            guard.interface.clone().unwrap_or_else(dash),
            guard.ifindex.map_or_else(dash, |index| index.to_string()),
            guard.peers.to_string(),
        ]
    });
    text += "\n\n";
    text += &table(
        &["guard", "hook", "interface", "ifindex", "peers"],
        &[3, 4],
        guards.collect(),
    );
    if !status.peers.is_empty() {
        let peers = status.peers.iter().map(|peer| {
            let state = match &peer.why {
                None => "active".to_owned(),
                Some(why) => format!("waiting: {why}"),
            };
            vec![peer.name.clone(), state]
        });
        text += "\n\n";
        text += &table(&["peer", "state"], &[], peers.collect());
    }
    if !status.bypassed.is_empty() {
        text += &format!(
            "\n\n{BOLD}Dropped at a socket, past a wire guard{PLAIN} (later fragments, a REDIRECT \
             rule, decapsulated\npackets, or a reload at that moment):\n"
        );
        let rows = status
            .bypassed
            .iter()
            .map(|row| vec![row.interface.clone(), row.packets.to_string()]);
        text += &table(&["interface", "packets"], &[1], rows.collect());
    }
    text
}
