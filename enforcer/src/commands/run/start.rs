//! How `run` begins: whatever is wrong with the registry, something holds.

use anyhow::Result;

use super::super::{Globals, failure::note, policy, source};
use crate::{
    control::{self, Place, Refused, Survey, Wanted},
    registry::{Loaded, Source, load, render},
};

/// Puts the registry in force and returns it; where that cannot be, keeps what is pinned and
/// returns `None`; and where nothing is (at boot), puts the embedded default in force: a typo must
/// not leave the host open.
pub(super) async fn begin(
    globals: &Globals,
    place: &Place,
    survey: &Survey,
    wanted: Wanted,
) -> Result<Option<Loaded>> {
    let pinned = place.is_pinned()?;
    // A file that vanished since is no reason to fall back on the embedded default.
    // Pins of another layout do not say what they are, and are replaced below.
    let allow_embedded = !pinned || place.is_embedded().unwrap_or(false);
    let why = match load(&source(globals, allow_embedded)) {
        Ok(loaded) => {
            policy::warn(&loaded, survey)?;
            match install(place, &loaded, wanted).await {
                Ok(()) => return Ok(Some(loaded)),
                // Somebody typed it, and would be gone; another policy is not what they asked for.
                Err(error) if !pinned && error.is::<Refused>() => return Err(error),
                Err(error) => format!("{error:#}"),
            }
        }
        Err(rejected) => {
            anstream::eprintln!("{}", render(&rejected.errors, true).trim_end());
            "the registry is bad".to_owned()
        }
    };
    if pinned {
        note(&format!("{why}: what is pinned stays in force"));
        return Ok(None);
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
    Ok(Some(embedded))
}

async fn install(place: &Place, loaded: &Loaded, wanted: Wanted) -> Result<()> {
    let notes = control::install(place, loaded, wanted).await?;
    notes.iter().for_each(|text| note(text));
    Ok(())
}
