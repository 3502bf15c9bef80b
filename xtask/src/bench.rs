//! `cargo xtask bench`: the cost of the guards for each packet, and of many interfaces at once.

use anyhow::Result;

use crate::{lab::Lab, process, workspace::Workspace};

/// Builds the lab and runs the benchmarks.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let lab = Lab::build(workspace)?;
    process::run(&mut lab.command(&["bench"])?)?;
    lab.run(&["bench-interfaces"])
}
