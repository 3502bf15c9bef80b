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
    registry::{
        Diagnostic, Diagnostics, Loaded, MissingFile, Origin, READ_LIMIT, Reader, load_within,
        render,
    },
};

/// The result as JSON; the fields are the JSON of the design.
#[derive(Serialize)]
struct Report<'a> {
    errors: &'a [Diagnostic],
    warnings: &'a [Diagnostic],
    /// The number of errors and warnings that are left out, if any are.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
}

impl<'a> Report<'a> {
    fn new(errors: &'a Diagnostics, warnings: &'a Diagnostics) -> Self {
        Self {
            errors: errors.told(),
            warnings: warnings.told(),
            more: Some(errors.untold() + warnings.untold()).filter(|more| *more > 0),
        }
    }
}

/// Checks a registry, without privileges.
pub(crate) async fn check(globals: &Globals) -> Outcome {
    let reader = Reader::of_reader(globals.config.as_deref());
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
    let snapshot = crate::host::snapshot().await.ok();
    let mut warnings = loaded.warnings.clone();
    warnings.extend(control::host_warnings(&loaded.registry, snapshot.as_ref())?);
    if globals.json {
        output::print_json(&Report::new(&Diagnostics::default(), &warnings))?;
        return Ok(0);
    }
    if !warnings.is_empty() {
        output::print_err(render(&warnings, true).trim_end());
    }
    output::print(&human(&loaded, warnings.total(), output::width()))?;
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
