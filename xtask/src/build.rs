//! `cargo xtask build`

use anyhow::Result;

use crate::{process, setup, workspace::Workspace};

/// What `cargo xtask build` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Build without optimisation, into target/debug
    #[arg(long)]
    debug: bool,
}

/// Builds the enforcer and says where it lies.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::provide_ebpf_tools(workspace)?;
    let mut cargo = workspace.cargo(["build", "--package", "enforcer"]);
    let binary = if args.debug {
        workspace.debug_binary("enforcer")
    } else {
        cargo.arg("--release");
        workspace.release_binary("enforcer")
    };
    process::run(&mut cargo)?;
    println!("{}", binary.display());
    Ok(())
}
