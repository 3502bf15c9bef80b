//! `check`: a registry, without privileges.

use std::{collections::BTreeSet, path::PathBuf};

use serde::Serialize;

use super::{
    Globals, Outcome, output,
    output::{GREEN, PLAIN},
    policy, source,
    wrap::{Width, wrap},
};
use crate::{
    control,
    host::{self, HostSnapshot},
    printable,
    registry::{
        Diagnostic, Diagnostics, Loaded, MissingFile, Origin, READ_LIMIT, Reader, Registry,
        load_within, render,
    },
    wireguard::Device,
};

/// The result as JSON; the fields are the JSON of the design.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    errors: &'a [Diagnostic],
    warnings: &'a [Diagnostic],
    /// The number of errors and warnings that are left out, if any are.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
    /// The parts of the host that this user may not look at, if there are any.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    not_looked_at: &'a [String],
}

impl<'a> Report<'a> {
    fn new(errors: &'a Diagnostics, warnings: &'a Diagnostics) -> Self {
        Self {
            schema: 1,
            errors: errors.told(),
            warnings: warnings.told(),
            more: Some(errors.untold() + warnings.untold()).filter(|more| *more > 0),
            not_looked_at: &[],
        }
    }
}

/// Checks a registry, with a file as one more fragment if one is named, without privileges.
pub(crate) async fn check(globals: &Globals, fragment: Option<PathBuf>) -> Outcome {
    let reader = Reader::of_reader(globals.config.as_deref()).with_fragment(fragment);
    let source = source(globals, MissingFile::Embedded);
    let loaded = match load_within(&source, &reader, READ_LIMIT) {
        Ok(loaded) => loaded,
        Err(rejected) if globals.json => {
            output::print_json(&Report::new(&rejected.errors, &rejected.warnings))?;
            return Ok(2);
        }
        Err(rejected) => return Err(rejected.into()),
    };
    // A warning about interfaces is not worth a failure where they cannot be listed.
    let snapshot = host::snapshot().await;
    let mut warnings = loaded.warnings.clone();
    let of_host = control::host_warnings(&loaded.registry, snapshot.as_ref().ok());
    warnings.extend(of_host?);
    let blind_spots = not_looked_at(&loaded.registry, snapshot.as_ref());
    if globals.json {
        output::print_json(&Report {
            not_looked_at: &blind_spots,
            ..Report::new(&Diagnostics::default(), &warnings)
        })?;
        return Ok(0);
    }
    if !warnings.is_empty() {
        output::print_err(render(&warnings, true).trim_end());
    }
    for blind_spot in &blind_spots {
        let (text, width) = (printable::text(blind_spot), output::stderr_width());
        output::print_err(&output::labelled(
            output::YELLOW,
            "not looked at",
            &text,
            width,
        ));
    }
    output::print(&human(&loaded, warnings.total(), output::width()))?;
    Ok(0)
}

/// Returns the parts of the host that a registry's warnings should have taken into account, and
/// that the kernel or the file system does not show to this user, each with the consequence.
fn not_looked_at(
    registry: &Registry,
    snapshot: Result<&HostSnapshot, &anyhow::Error>,
) -> Vec<String> {
    let snapshot = match snapshot {
        Ok(snapshot) => snapshot,
        Err(why) => {
            return vec![format!(
                "{why:#}: neither container networks nor the interfaces of peers were checked"
            )];
        }
    };
    let addresses = snapshot.local_table().err();
    let addresses = addresses.map(|why| format!("{why}: container networks were not checked"));
    let of_peers = registry.peers().iter();
    let of_peers = of_peers.flat_map(|peer| snapshot.matching(&peer.interface));
    let hidden: BTreeSet<String> = of_peers
        .filter_map(|interface| {
            let socket = printable::decode_path(&Device::hidden(interface)?);
            let name = &interface.name;
            Some(format!(
                "{socket}, which this user may not look for: {name} counts as no WireGuard device \
                 here; root sees whether it is one"
            ))
        })
        .collect();
    addresses.into_iter().chain(hidden).collect()
}

/// Returns the answer to a good registry in words.
fn human(loaded: &Loaded, warnings: usize, width: Width) -> String {
    let origin = match &loaded.origin {
        Origin::Embedded => "the embedded default (there is no registry file)".to_owned(),
        Origin::Files(files) => printable::name(&printable::decoded(files)).into_owned(),
    };
    let warned = match warnings {
        0 => String::new(),
        number => format!("; {}", output::count(number, "warning")),
    };
    let summary = policy::summary(loaded);
    wrap(
        &format!("{GREEN}good{PLAIN}: {origin}: {summary}{warned}"),
        width,
        2,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::snapshots::assert_snapshot,
        registry::{Source, load},
    };

    #[test]
    fn good_registries() {
        let embedded = load(&Source::Embedded, &Reader::STRICT).unwrap();
        let files = [
            "enforcer.toml",
            "enforcer.d/10-r\u{1b}.toml",
            "enforcer.d/20-wg.toml",
        ];
        let files = files.map(|file| PathBuf::from("/etc/enforcer").join(file));
        let of_files = Loaded {
            origin: Origin::Files(files.to_vec()),
            ..embedded.clone()
        };
        assert_snapshot("check-embedded", |width| human(&embedded, 0, width));
        assert_snapshot("check-files", |width| human(&of_files, 2, width));
    }
}
