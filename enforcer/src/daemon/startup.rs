//! How `run` begins: whatever is wrong with the registry, something holds.

use anyhow::Result;

use crate::{
    commands::{Globals, policy, source},
    control::{self, Error, Instance, UpOptions},
    daemon::note,
    host::HostSnapshot,
    registry::{Loaded, MissingFile, Source, load, render},
};

/// What is in force at first.
pub(crate) struct Begun {
    /// Its registry, where this process put it in force.
    pub(crate) loaded: Option<Loaded>,
    /// There is a good one that could not be put in force, for a reason that may pass.
    pub(crate) failed: bool,
}

/// Puts the registry in force; where that cannot be, keeps what is pinned; and where nothing is (at
/// boot), puts the embedded default in force: a typo must not leave the host open.
pub(crate) async fn begin(
    globals: &Globals,
    instance: &Instance,
    snapshot: &HostSnapshot,
    wanted: UpOptions,
) -> Result<Begun> {
    let pinned = instance.is_pinned()?;
    let absent = match pinned {
        false => MissingFile::Embedded,
        // Pins of another layout do not say what they are, and are replaced below.
        true => instance.missing_file().unwrap_or(MissingFile::Fragments),
    };
    let mut failed = false;
    let why = match load(&source(globals, absent)) {
        Ok(loaded) => {
            policy::warn(&loaded, snapshot)?;
            match install(instance, &loaded, wanted).await {
                Ok(()) => {
                    return Ok(Begun {
                        loaded: Some(loaded),
                        failed,
                    });
                }
                // Somebody typed it, and would be gone; another policy is not what they asked for.
                Err(error @ Error::LockOut(_)) if !pinned => return Err(error.into()),
                Err(error) => {
                    failed = !error.is_refusal();
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
    let wanted = UpOptions {
        fallback: true,
        ..wanted
    };
    let embedded = load(&Source::Embedded)?;
    install(instance, &embedded, wanted).await?;
    Ok(Begun {
        loaded: Some(embedded),
        failed,
    })
}

async fn install(instance: &Instance, loaded: &Loaded, wanted: UpOptions) -> Result<(), Error> {
    let notes = control::up(instance, loaded, wanted).await?;
    notes.iter().for_each(|it| note(&it.text));
    Ok(())
}
