//! `check`: a registry, without privileges.

use serde::Serialize;

use super::{
    Globals, Outcome, output,
    output::{GREEN, PLAIN},
    policy, source,
    wrap::{Width, wrap},
};
use crate::{
    control, printable,
    registry::{Diagnostic, Loaded, MissingFile, Origin, load, render},
};

#[derive(Serialize)]
struct Report<'a> {
    errors: &'a [Diagnostic],
    warnings: &'a [Diagnostic],
}

/// Checks a registry, without privileges.
pub(crate) async fn check(globals: &Globals) -> Outcome {
    let loaded = match load(&source(globals, MissingFile::Embedded)) {
        Ok(loaded) => loaded,
        Err(rejected) if globals.json => {
            output::print_json(&Report {
                errors: &rejected.errors,
                warnings: &rejected.warnings,
            })?;
            return Ok(2);
        }
        Err(rejected) => return Err(rejected.into()),
    };
    // A warning about interfaces is not worth a failure where they cannot be listed.
    let snapshot = crate::host::snapshot().await.ok();
    let mut warnings = loaded.warnings.clone();
    warnings.extend(control::host_warnings(&loaded.registry, snapshot.as_ref())?);
    if globals.json {
        let errors = &[];
        output::print_json(&Report {
            errors,
            warnings: &warnings,
        })?;
        return Ok(0);
    }
    if !warnings.is_empty() {
        output::print_err(render(&warnings, true).trim_end());
    }
    output::print(&human(&loaded, warnings.len(), output::width()))?;
    Ok(0)
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
    use std::path::PathBuf;

    use super::*;
    use crate::{commands::snapshots::assert_snapshot, registry::Source};

    #[test]
    fn good_registries() {
        let embedded = load(&Source::Embedded).unwrap();
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
