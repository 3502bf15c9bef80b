//! `cargo xtask bench`: the cost of the guards for each packet.

use anyhow::Result;

use crate::{lab::Lab, workspace::Workspace};

/// Builds the lab and runs the benchmark.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    Lab::build(workspace)?.run(&["bench"])
}
