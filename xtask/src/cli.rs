//! The command line, and the function behind each command.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{bench, build, demo, install, lint, mutants, setup, test, vm, workspace::Workspace};

/// Sets up, builds, checks, tests, shows, measures and installs enforcer.
///
/// Every command first provides the tools that the command needs, without a word about tools
/// already present.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Provide the tools of the eBPF build, the lab and its guests, and list their places
    Setup(setup::Args),
    /// Build the enforcer with its kernel side, optimised unless told otherwise
    Build(build::Args),
    /// Check format, clippy (host and BPF), documentation, sizes and language; any warning fails
    Lint,
    /// Run the unit and property tests, then the lab on this kernel (as root)
    Test(test::Args),
    /// Test mutants of the pure rooms with the unit tests, and list the survivors
    Mutants(mutants::Args),
    /// Run the lab in QEMU on each kernel line, from Debian 12's to the newest
    Vm(vm::Args),
    /// Show attacks without and with the enforcer, on a throwaway host (as root)
    Demo,
    /// Measure the cost of the guards for each packet, and of many interfaces at once (as root)
    Bench,
    /// Put the program, its systemd unit and an example registry in place
    Install(install::Args),
}

/// Parses the command line and runs the command.
pub(crate) fn run() -> Result<()> {
    let cli = Cli::parse();
    let workspace = Workspace::find()?;
    match cli.command {
        Command::Setup(args) => setup::run(&workspace, &args),
        Command::Build(args) => build::run(&workspace, &args),
        Command::Lint => lint::run(&workspace),
        Command::Test(args) => test::run(&workspace, &args),
        Command::Mutants(args) => mutants::run(&workspace, &args),
        Command::Vm(args) => vm::run(&workspace, &args),
        Command::Demo => demo::run(&workspace),
        Command::Bench => bench::run(&workspace),
        Command::Install(args) => install::run(&workspace, &args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
