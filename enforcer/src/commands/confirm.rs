//! `confirm`: keep what `reload --confirm` put in force.

use anyhow::anyhow;

use super::{
    Outcome,
    failure::{NOT_ENFORCING, note},
    output,
};
use crate::control::{self, Confirmed, Instance, RolledBack};

/// Keep what is on trial.
pub(crate) async fn confirm(instance: &Instance) -> Outcome {
    control::check_privileges()?;
    match control::confirm(instance).await? {
        Confirmed::Kept(generation, notes) => {
            notes.iter().for_each(|text| note(text));
            output::print(&format!(
                "confirmed: generation {generation} stays in force"
            ))?;
            Ok(0)
        }
        Confirmed::TooLate(back) => {
            if let Some(back) = back {
                tell(&back);
            }
            Err(anyhow!(
                "too late: the policy was taken back before it was confirmed, and the one before \
                 it is in force. `enforcer reload --confirm SECONDS` tries the registry again"
            )
            .into())
        }
        Confirmed::NothingArmed => Err(anyhow!(
            "nothing is waiting for a confirmation: `enforcer reload --confirm SECONDS` puts the \
             registry in force on trial"
        )
        .into()),
        Confirmed::NothingPinned => {
            note("nothing is pinned: `enforcer up` puts the registry in force");
            Ok(NOT_ENFORCING)
        }
    }
}

/// Take back what is on trial once its time is over: what a timer of `reload --confirm` runs.
pub(crate) async fn roll_back(instance: &Instance) -> Outcome {
    control::check_privileges()?;
    if let Some(back) = control::roll_back_when_due(instance).await? {
        tell(&back);
    }
    Ok(0)
}

/// Takes back what is overdue, and says so; a command that only shows something goes on if that
/// fails.
pub(crate) async fn settle(instance: &Instance) {
    match control::roll_back_if_due(instance).await {
        Ok(Some(back)) => tell(&back),
        Ok(None) => {}
        Err(error) => note(&format!(
            "a policy on trial cannot be taken back: {error:#}"
        )),
    }
}

/// Tells the operator what was taken back.
pub(crate) fn tell(back: &RolledBack) {
    note(&back.words());
    back.notes.iter().for_each(|text| note(text));
}
