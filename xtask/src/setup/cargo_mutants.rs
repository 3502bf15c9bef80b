//! cargo-mutants: mutants of the source, and the unit tests run on each.

use std::path::PathBuf;

use anyhow::Result;

use super::{cache::Cache, crates_io::CrateProgram, step::Step};
use crate::workspace::Workspace;

const CARGO_MUTANTS: CrateProgram = CrateProgram {
    name: "cargo-mutants",
    version: "27.1.0",
    version_arguments: &["mutants", "--version"],
};

/// Builds cargo-mutants into the cache, unless present, and returns its path.
pub(crate) fn provide(workspace: &Workspace, cache: &Cache) -> Result<PathBuf> {
    let program = CARGO_MUTANTS.path(cache);
    if CARGO_MUTANTS.starts(&program) {
        return Ok(program);
    }
    let lock = cache.lock()?;
    // The previous holder of the lock may have built the program.
    if !CARGO_MUTANTS.starts(&program) {
        let how = format!("building {}, a minute or two", CARGO_MUTANTS.version);
        let step = Step::start(CARGO_MUTANTS.name, &how);
        CARGO_MUTANTS.build(workspace, &lock, |_| {})?;
        step.done();
    }
    Ok(program)
}
