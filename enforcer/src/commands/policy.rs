//! `up`, `down` and `reload`.

use anyhow::anyhow;
use serde::Serialize;

use super::{
    Globals, Guards, Outcome,
    cli::{Reload, Up},
    confirm::nothing_pinned,
    failure::{Failure, NOT_ENFORCING},
    output, read_again, read_for_up, status,
    wrap::{Width, wrap},
};
use crate::{
    control::{self, Consent, Instance, Strays, Terms, UpOptions},
    host::{self, HostSnapshot},
    inspect,
    note::{Note, NoteKind},
    registry::{Identity, Loaded, Origin, Registry, render},
};

/// The result of `down` as JSON; the fields are the JSON of the design.
#[derive(Serialize)]
struct DownJson<'a> {
    schema: u32,
    was_pinned: bool,
    notes: &'a [Note],
}

/// The result of `reload` as JSON; the fields are the JSON of the design.
#[derive(Serialize)]
struct ReloadJson<'a> {
    schema: u32,
    /// `null` if nothing is pinned.
    generation: Option<u32>,
    notes: &'a [Note],
}

/// Loads, attaches and pins the guards, and prints the status.
pub(crate) async fn up(globals: &Globals, instance: &Instance, up: Up) -> Outcome {
    control::check_privileges()?;
    let loaded = read_for_up(globals, instance)?;
    if !up.static_peers {
        refuse_keys(&loaded.registry)?;
    }
    let snapshot = host::snapshot().await?;
    let options = UpOptions {
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
    // The guards first, the words after: standard error may be full, or a pipe without a reader.
    let done = control::up_with_maps(instance, &loaded, options).await;
    warn(&loaded, &snapshot);
    let (notes, maps) = done?;
    output::notes(&notes);
    let status = inspect::status_after_change(instance, Some(maps)).await?;
    status::print(globals, &status)?;
    Ok(status.exit_code())
}

/// Refuses a registry with peers by key: their AllowedIPs change, and `up` leaves no process to
/// follow the changes.
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
        "{peers} {} {are}, whose AllowedIPs may change, and `up` leaves no process that would \
         follow them: nothing was changed. Start `enforcer run`, or say `--static-peers` to \
         resolve keys once, and again at each `enforcer reload`",
        names.join(", ")
    )))
}

/// Detaches the guards. Guards that no pin reaches are a failure, unless `all` takes them off.
pub(crate) fn down(globals: &Globals, instance: &Instance, all: bool) -> Outcome {
    control::check_privileges()?;
    let mut removed = control::down(instance)?;
    let strays = control::strays(instance, all)?;
    removed.notes.extend(stray_notes(&strays));
    let code = u8::from(!strays.left.is_empty());
    if globals.json {
        output::print_json(&DownJson {
            schema: 1,
            was_pinned: removed.was_pinned,
            notes: &removed.notes,
        })?;
        return Ok(code);
    }
    output::notes(&removed.notes);
    let was_on = removed.was_pinned || !strays.detached.is_empty();
    if strays.left.is_empty() {
        output::print(&off(was_on, output::width()))?;
    }
    Ok(code)
}

/// Returns the notes of the guards that no pin reaches.
fn stray_notes(strays: &Strays) -> Vec<Note> {
    let note = |words: &[String], text: &str, kind| {
        let note = || Note::new(kind, format!("{text}: {}", words.join(", ")));
        (!words.is_empty()).then(note)
    };
    let left = "guards remain that no pin reaches, and registered ports stay closed (`enforcer \
                down --all` takes these guards off too)";
    let detached = "guards that no pin reached were taken off";
    let notes = [
        note(&strays.left, left, NoteKind::Strays),
        note(&strays.detached, detached, NoteKind::GuardsOff),
    ];
    notes.into_iter().flatten().collect()
}

/// Returns the result of `down` in words.
fn off(was_on: bool, width: Width) -> String {
    let text = match was_on {
        true => "off: the guards are gone, and registered ports are as open as their sockets",
        false => "off: nothing was pinned",
    };
    wrap(text, width, 2)
}

/// Reads the registry again and switches to the new policy.
pub(crate) async fn reload(globals: &Globals, instance: &Instance, reload: &Reload) -> Outcome {
    control::check_privileges()?;
    let loaded = read_again(globals, instance)?;
    let snapshot = host::snapshot().await?;
    let terms = Terms {
        confirm: reload.confirm,
        consent: Consent {
            force: reload.force,
            ..Consent::default()
        },
    };
    let reloaded = control::reload(instance, &loaded, terms).await;
    // With nothing pinned the registry is not put in force.
    if !matches!(reloaded, Ok(None)) {
        warn(&loaded, &snapshot);
    }
    let (generation, notes) = match reloaded? {
        Some(reloaded) => (Some(reloaded.generation), reloaded.notes),
        None => (None, vec![nothing_pinned()]),
    };
    if globals.json {
        output::print_json(&ReloadJson {
            schema: 1,
            generation,
            notes: &notes,
        })?;
    } else {
        output::notes(&notes);
    }
    let Some(generation) = generation else {
        return Ok(NOT_ENFORCING);
    };
    if !globals.json {
        output::print(&in_force(generation, &loaded, output::width()))?;
    }
    Ok(0)
}

/// Returns the result of `reload` in words.
fn in_force(generation: u32, loaded: &Loaded, width: Width) -> String {
    let text = format!("generation {generation} is in force: {}", summary(loaded));
    wrap(&text, width, 2)
}

/// Prints the warnings of a registry to stderr.
pub(crate) fn warn(loaded: &Loaded, snapshot: &HostSnapshot) {
    let of_host = control::host_warnings(&loaded.registry, Some(snapshot));
    let mut all = loaded.warnings.clone();
    if let Ok(of_host) = &of_host {
        all.extend(of_host.clone());
    }
    if !all.is_empty() {
        output::print_err(render(&all, true).trim_end());
    }
    if let Err(error) = &of_host {
        let text = format!("the ports were not compared with the ephemeral ports: {error:#}");
        let width = output::stderr_width();
        output::print_err(&output::labelled(output::YELLOW, "warning", &text, width));
    }
    if matches!(loaded.origin, Origin::Embedded) {
        output::note(&Note::new(
            NoteKind::RegistryEmbedded,
            "there is no registry file: the embedded default applies",
        ));
    }
}

/// The size of a registry, in a few words.
pub(crate) fn summary(loaded: &Loaded) -> String {
    let registry = &loaded.registry;
    format!(
        "{}, {}, {}",
        output::count(registry.services().len(), "service"),
        output::count(registry.port_count(), "registered port"),
        output::count(registry.peers().len(), "peer"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::snapshots::assert_snapshot,
        registry::{PublicKey, Reader, Source, load},
    };

    #[test]
    fn results() {
        let loaded = load(&Source::Embedded, &Reader::STRICT).unwrap();
        let reloaded = |width| in_force(13, &loaded, width);
        assert_snapshot("reload", reloaded);
        let down = |width| {
            [true, false]
                .map(|was_pinned| off(was_pinned, width))
                .join("\n")
        };
        assert_snapshot("down", down);
    }

    #[test]
    fn up_refuses_peers_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        let key = |byte: u8| PublicKey::from([byte; 32]).to_string();
        let peer = |name: &str, key: &str| {
            format!("[peers.{name}]\ninterface = \"wg0\"\npublic-key = \"{key}\"\n")
        };
        let one = peer("laptop", &key(1));
        let two = format!("{one}{}", peer("phone", &key(2)));
        let failures = [one, two].map(|peers| {
            let services = "[services.redis]\nports = [6379]\n";
            std::fs::write(&path, format!("{services}{peers}")).unwrap();
            let loaded = load(&Source::Named(path.clone()), &Reader::NAMED).unwrap();
            refuse_keys(&loaded.registry).unwrap_err()
        });
        assert_snapshot("up-refuses-keys", |width| {
            failures
                .each_ref()
                .map(|it| it.words(None, width))
                .join("\n")
        });
    }
}
