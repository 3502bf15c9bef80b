//! `up`, `down` and `reload`.

use anyhow::{Result, anyhow};

use super::{
    Globals, Guards, Outcome,
    cli::{Reload, Up},
    failure::{Failure, NOT_ENFORCING, note},
    output, source, status,
};
use crate::{
    control::{self, Consent, HostSnapshot, Instance, Terms, UpOptions},
    inspect,
    registry::{Diagnostic, Identity, Loaded, MissingFile, Origin, Registry, load, render},
};

/// Load, attach, pin, exit.
pub(crate) async fn up(globals: &Globals, instance: &Instance, up: Up) -> Outcome {
    let loaded = load(&source(globals, MissingFile::Embedded))?;
    if !up.static_peers {
        refuse_keys(&loaded.registry)?;
    }
    control::check_privileges()?;
    let snapshot = control::snapshot().await?;
    warn(&loaded, &snapshot)?;
    let wanted = UpOptions {
        wire: up.guards != Guards::Socket,
        socket: up.guards != Guards::Wire,
        log: up.bpf_log,
        static_peers: up.static_peers,
        consent: Consent {
            force: up.force,
            ..Consent::default()
        },
        ..UpOptions::default()
    };
    let notes = control::up(instance, &loaded, wanted).await?;
    notes.iter().for_each(|text| note(text));
    let status = inspect::status(instance).await?;
    status::print(globals, &status)?;
    Ok(status.exit_code())
}

/// Refuses a registry that knows peers by key: their AllowedIPs change, and `up` leaves nobody
/// behind to follow them.
fn refuse_keys(registry: &Registry) -> Result<(), Failure> {
    let by_key = registry
        .peers()
        .iter()
        .filter(|peer| matches!(peer.identity, Identity::Key(_)));
    let names: Vec<&str> = by_key.map(|peer| peer.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let (peers, are) = match names.len() {
        1 => ("peer", "is known by its public key"),
        _ => ("peers", "are known by their public keys"),
    };
    Err(Failure::usage(anyhow!(
        "{peers} {} {are}, whose AllowedIPs may change, and `up` leaves nothing behind that would \
         follow them: nothing was changed. Start `enforcer run`, or say `--static-peers` to \
         resolve keys once, and again at each `enforcer reload`",
        names.join(", ")
    )))
}

/// Take the guards off.
pub(crate) fn down(instance: &Instance) -> Outcome {
    control::check_privileges()?;
    let (found, notes) = control::down(instance)?;
    notes.iter().for_each(|text| note(text));
    output::print(match found {
        true => "off: the guards are gone, and registered ports are as open as their sockets",
        false => "off: nothing was pinned",
    })?;
    Ok(0)
}

/// Read the registry again and switch to it.
pub(crate) async fn reload(globals: &Globals, instance: &Instance, reload: &Reload) -> Outcome {
    // A file that vanished changes nothing: the embedded default only where it is in force.
    control::check_privileges()?;
    let loaded = load(&source(globals, instance.absent()?))?;
    let snapshot = control::snapshot().await?;
    warn(&loaded, &snapshot)?;
    let terms = Terms {
        confirm: reload.confirm,
        consent: Consent {
            force: reload.force,
            ..Consent::default()
        },
    };
    let Some(reloaded) = control::reload(instance, &loaded, terms).await? else {
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
pub(crate) fn warn(loaded: &Loaded, snapshot: &HostSnapshot) -> Result<()> {
    let of_host = control::host_warnings(&loaded.registry, Some(snapshot))?;
    let all: Vec<&Diagnostic> = loaded.warnings.iter().chain(&of_host).collect();
    if !all.is_empty() {
        anstream::eprintln!("{}", render(all, true).trim_end());
    }
    if matches!(loaded.origin, Origin::Embedded) {
        note("there is no registry file: the embedded default applies");
    }
    Ok(())
}

/// What a registry says, in a few words.
pub(crate) fn summary(loaded: &Loaded) -> String {
    let registry = &loaded.registry;
    format!(
        "{}, {}, {}",
        output::count(registry.services().len(), "service"),
        output::count(registry.registered_ports().count(), "registered port"),
        output::count(registry.peers().len(), "peer"),
    )
}
