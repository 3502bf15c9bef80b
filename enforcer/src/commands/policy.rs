//! `up`, `down` and `reload`.

use anyhow::Result;

use super::{
    Globals, Guards, Outcome,
    failure::{NOT_ENFORCING, note},
    output, source, status,
};
use crate::{
    control::{self, Place, Survey, Wanted},
    registry::{Diagnostic, Identity, Loaded, Origin, load, render},
};

/// Load, attach, pin, exit.
pub(super) async fn up(globals: &Globals, place: &Place, guards: Guards, log: bool) -> Outcome {
    let loaded = load(&source(globals, true))?;
    control::check_privileges()?;
    let survey = control::survey().await?;
    warn(&loaded, &survey)?;
    let wanted = Wanted {
        embedded: matches!(loaded.origin, Origin::Embedded),
        wire: guards != Guards::Socket,
        socket: guards != Guards::Wire,
        log,
        ..Wanted::default()
    };
    let notes = control::install(place, &loaded.registry, wanted).await?;
    notes.iter().for_each(|text| note(text));
    let status = control::status(place, &control::survey().await?)?;
    status::print(globals, &status)?;
    Ok(status.exit_code())
}

/// Take the guards off.
pub(super) fn down(place: &Place) -> Outcome {
    control::check_privileges()?;
    let (found, notes) = control::down(place)?;
    notes.iter().for_each(|text| note(text));
    output::print(match found {
        true => "off: the guards are gone, and registered ports are as open as their sockets",
        false => "off: nothing was pinned",
    })?;
    Ok(0)
}

/// Read the registry again and switch to it.
pub(super) async fn reload(globals: &Globals, place: &Place) -> Outcome {
    // A file that vanished changes nothing: the embedded default only where it is in force.
    control::check_privileges()?;
    let loaded = load(&source(globals, place.is_embedded()?))?;
    let survey = control::survey().await?;
    warn(&loaded, &survey)?;
    let embedded = matches!(loaded.origin, Origin::Embedded);
    let Some(reloaded) = control::reload(place, &loaded.registry, embedded).await? else {
        note("nothing is pinned: `enforcer up` puts the registry in force");
        return Ok(NOT_ENFORCING);
    };
    reloaded.notes.iter().for_each(|text| note(text));
    output::print(&format!(
        "generation {} is in force: {}",
        reloaded.generation,
        summary(&loaded)
    ))?;
    Ok(0)
}

/// Prints the warnings of a registry to stderr.
pub(super) fn warn(loaded: &Loaded, survey: &Survey) -> Result<()> {
    let of_host = control::host_warnings(&loaded.registry, Some(survey))?;
    let all: Vec<&Diagnostic> = loaded.warnings.iter().chain(&of_host).collect();
    if !all.is_empty() {
        anstream::eprintln!("{}", render(all, true).trim_end());
    }
    for peer in loaded.registry.peers() {
        if matches!(peer.identity, Identity::Key(_)) {
            note(&format!(
                "peer {} is known by its public key, which this version does not resolve: it \
                 waits, and grants nothing (give `addresses` instead)",
                peer.name
            ));
        }
    }
    if matches!(loaded.origin, Origin::Embedded) {
        note("there is no registry file: the embedded default applies");
    }
    Ok(())
}

/// What a registry says, in a few words.
pub(super) fn summary(loaded: &Loaded) -> String {
    let registry = &loaded.registry;
    format!(
        "{}, {}, {}",
        output::count(registry.services().len(), "service"),
        output::count(registry.registered_ports().count(), "registered port"),
        output::count(registry.peers().len(), "peer"),
    )
}
