//! How `run` begins: whatever is wrong with the registry, something holds.

use anyhow::Result;

use super::super::{Globals, failure::note, policy, source};
use crate::{
    control::{self, Place, Refused, Survey, TakenBack, Wanted},
    registry::{Absent, Loaded, Source, load, render},
};

/// What is in force at first.
pub(super) struct Begun {
    /// Its registry, where this process put it in force.
    pub(super) loaded: Option<Loaded>,
    /// There is a good one that could not be put in force, for a reason that may pass.
    pub(super) failed: bool,
}

/// Puts the registry in force; where that cannot be, keeps what is pinned; and where nothing is (at
/// boot), puts the embedded default in force: a typo must not leave the host open.
pub(super) async fn begin(
    globals: &Globals,
    place: &Place,
    survey: &Survey,
    wanted: Wanted,
) -> Result<Begun> {
    let pinned = place.is_pinned()?;
    let absent = match pinned {
        false => Absent::Embedded,
        // Pins of another layout do not say what they are, and are replaced below.
        true => place.absent().unwrap_or(Absent::Fragments),
    };
    let mut failed = false;
    let why = match load(&source(globals, absent)) {
        Ok(loaded) => {
            policy::warn(&loaded, survey)?;
            match install(place, &loaded, wanted).await {
                Ok(()) => {
                    return Ok(Begun {
                        loaded: Some(loaded),
                        failed,
                    });
                }
                // Somebody typed it, and would be gone; another policy is not what they asked for.
                Err(error) if !pinned && error.is::<Refused>() => return Err(error),
                Err(error) => {
                    failed = !error.is::<Refused>() && !error.is::<TakenBack>();
                    format!("{error:#}")
                }
            }
        }
        Err(rejected) => {
            anstream::eprintln!("{}", render(&rejected.errors, true).trim_end());
            "the registry is bad".to_owned()
        }
    };
    if pinned {
        note(&format!("{why}: what is pinned stays in force"));
        return Ok(Begun {
            loaded: None,
            failed,
        });
    }
    note(&format!(
        "{why}: the embedded default holds in its place (degraded)"
    ));
    let wanted = Wanted {
        fallback: true,
        ..wanted
    };
    let embedded = load(&Source::Embedded)?;
    install(place, &embedded, wanted).await?;
    Ok(Begun {
        loaded: Some(embedded),
        failed,
    })
}

async fn install(place: &Place, loaded: &Loaded, wanted: Wanted) -> Result<()> {
    let notes = control::install(place, loaded, wanted).await?;
    notes.iter().for_each(|text| note(text));
    Ok(())
}
