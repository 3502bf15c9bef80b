//! `cargo xtask lint`: format, clippy, documentation, sizes and language.

mod prose;
mod sizes;

use anyhow::{Result, bail};

use crate::{process, setup, workspace::Workspace};

/// Checks the format, both sides with clippy, the documentation, the length of files and
/// functions, and the language of comments and documents; a warning fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tools = setup::provide_ebpf_tools(workspace)?;

    process::run(&mut workspace.cargo(["fmt", "--all", "--check"]))?;

    let host = ["clippy", "--workspace", "--all-targets", "--"];
    process::run(workspace.cargo(host).args(["-D", "warnings"]))?;

    // The shipped binary lacks this feature.
    let failpoints = ["clippy", "--package", "enforcer", "--all-targets"];
    let mut failpoints = workspace.cargo(failpoints);
    failpoints.args(["--features", "failpoints", "--", "-D", "warnings"]);
    process::run(&mut failpoints)?;

    // On the host the hooks are compiled out.
    let mut kernel = workspace.cargo(["clippy", "--package", "enforcer-ebpf"]);
    kernel
        .args(["--target", "bpfel-unknown-none", "-Zbuild-std=core", "--"])
        .args(["-D", "warnings"])
        .envs(tools.environment(&workspace.ebpf_build_dir()));
    process::run(&mut kernel)?;

    let mut docs = workspace.cargo(["doc", "--workspace", "--no-deps"]);
    process::run(docs.env("RUSTDOCFLAGS", "-D warnings"))?;

    // Both print their figures, whichever fails.
    let (sizes, prose) = (sizes::check(workspace), prose::check(workspace));
    match (sizes, prose) {
        (Err(sizes), Err(prose)) => bail!("{sizes}\nerror: {prose}"),
        (sizes, prose) => sizes.and(prose),
    }
}
