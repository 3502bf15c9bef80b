//! `cargo xtask build`: the enforcer with its kernel side.

use anyhow::Result;

use crate::{process, setup, workspace::Workspace};

/// Arguments of `cargo xtask build`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Build without optimisation, into target/debug
    #[arg(long)]
    debug: bool,
}

/// Builds the enforcer and prints the path of the binary.
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
