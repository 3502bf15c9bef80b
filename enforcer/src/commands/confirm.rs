//! `confirm`: accept the pending policy.

use anyhow::anyhow;
use serde::Serialize;

use super::{Globals, Outcome, failure::NOT_ENFORCING, output};
use crate::{
    control::{self, Confirmed, Instance},
    note::{Note, NoteKind},
};

/// The result of `confirm` as JSON; the fields are the JSON of the design.
#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    /// The confirmed generation; `null` if no policy was pending.
    generation: Option<u32>,
    notes: &'a [Note],
}

/// Accepts the pending policy.
pub(crate) async fn confirm(globals: &Globals, instance: &Instance) -> Outcome {
    control::check_privileges()?;
    match control::confirm(instance).await? {
        Confirmed::Kept(generation, notes) => {
            show(globals, Some(generation), &notes)?;
            if !globals.json {
                output::print(&format!(
                    "confirmed: generation {generation} stays in force"
                ))?;
            }
            Ok(0)
        }
        Confirmed::TooLate(rolled_back) => {
            let notes = rolled_back.map(control::RolledBack::into_notes);
            show(globals, None, &notes.unwrap_or_default())?;
            Err(too_late().into())
        }
        Confirmed::NothingPending => {
            show(globals, None, &[])?;
            Err(nothing_pending().into())
        }
        Confirmed::NothingPinned => {
            show(globals, None, &[nothing_pinned()])?;
            Ok(NOT_ENFORCING)
        }
    }
}

fn too_late() -> anyhow::Error {
    anyhow!(
        "too late: the policy was rolled back before it was confirmed, and the policy before it \
         is in force. `enforcer reload --confirm SECONDS` puts the registry in force again"
    )
}

fn nothing_pending() -> anyhow::Error {
    anyhow!(
        "no policy awaits confirmation: `enforcer reload --confirm SECONDS` puts the registry in \
         force until it is confirmed or rolled back"
    )
}

fn show(globals: &Globals, generation: Option<u32>, notes: &[Note]) -> output::Printed {
    if !globals.json {
        output::notes(notes);
        return Ok(());
    }
    output::print_json(&Json {
        schema: 1,
        generation,
        notes,
    })
}

/// The note of a command without a policy to change.
pub(crate) fn nothing_pinned() -> Note {
    Note::new(
        NoteKind::NothingPinned,
        "nothing is pinned: `enforcer up` puts the registry in force",
    )
}

/// Rolls the pending policy back once the deadline has passed: the command of the timer of
/// `reload --confirm`.
pub(crate) async fn roll_back(instance: &Instance) -> Outcome {
    control::check_privileges()?;
    if let Some(rolled_back) = control::roll_back_when_due(instance).await? {
        output::notes(&rolled_back.into_notes());
    }
    Ok(0)
}

/// Rolls the pending policy back if the deadline has passed. After a failure the command goes on
/// to show the state.
pub(crate) async fn settle(instance: &Instance) {
    match control::roll_back_if_due(instance).await {
        Ok(Some(rolled_back)) => output::notes(&rolled_back.into_notes()),
        Ok(None) => {}
        // The command itself fails for want of privileges, and names the missing ones.
        Err(_) if control::check_privileges().is_err() => {}
        Err(error) => output::note(&Note::new(
            NoteKind::RollbackFailed,
            format!("the pending policy cannot be rolled back: {error:#}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{failure::Failure, snapshots::assert_snapshot};

    #[test]
    fn failures() {
        let failures = [too_late(), nothing_pending()].map(Failure::from);
        let words = |width| {
            failures
                .each_ref()
                .map(|it| it.words(None, width))
                .join("\n")
        };
        assert_snapshot("confirm-failures", words);
    }
}
