//! `cargo xtask bench`

use anyhow::Result;

use crate::{lab::Lab, workspace::Workspace};

/// Builds all and measures the guards.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    Lab::build(workspace)?.run(&["bench"])
}
