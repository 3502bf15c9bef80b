//! `check`: a registry, without privileges.

use serde::Serialize;

use super::{
    Globals, Outcome, output,
    output::{GREEN, PLAIN},
    policy, source,
};
use crate::{
    control,
    registry::{Diagnostic, MissingFile, Origin, load, render},
};

#[derive(Serialize)]
struct Report<'a> {
    errors: &'a [Diagnostic],
    warnings: &'a [Diagnostic],
}

/// Validate a registry.
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
        anstream::eprintln!("{}", render(&warnings, true).trim_end());
    }
    let origin = match &loaded.origin {
        Origin::Embedded => "the embedded default (there is no registry file)".to_owned(),
        Origin::Files(files) => {
            let files: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
            files.join(", ")
        }
    };
    let warned = match warnings.len() {
        0 => String::new(),
        number => format!("; {}", output::count(number, "warning")),
    };
    output::print(&format!(
        "{GREEN}good{PLAIN}: {origin}: {}{warned}",
        policy::summary(&loaded)
    ))?;
    Ok(0)
}
