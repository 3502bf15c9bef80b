//! `cargo xtask demo`: attacks without and with the enforcer.

use anyhow::Result;

use crate::{lab::Lab, workspace::Workspace};

/// Builds the lab and runs the demonstration.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let lab = Lab::build(workspace)?;
    lab.run(&["demo", "--enforcer", &lab.enforcer()])
}
