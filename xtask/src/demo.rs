//! `cargo xtask demo`

use anyhow::Result;

use crate::{lab::Lab, workspace::Workspace};

/// Builds all and runs the demonstration.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let lab = Lab::build(workspace)?;
    lab.run(&["demo", "--enforcer", &lab.enforcer()])
}
