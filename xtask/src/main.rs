//! `cargo xtask`: sets up, builds, checks, tests, shows, measures and installs enforcer.
//!
//! Each floor imports lower floors only:
//!
//! - `cli`: the command line
//! - `bench`, `build`, `demo`, `install`, `lint`, `mutants`, `test`, `vm`: a command each; `vm` has
//!   the guests' machine and initramfs, and boots the files of `install`
//! - `lab`: the lab's program, built
//! - `setup`: tools, programs and kernels in a cache outside the tree
//! - `interrupt`, `process`, `summary`, `tools_file`, `workspace`: no knowledge of enforcer

mod bench;
mod build;
mod cli;
mod demo;
mod install;
mod interrupt;
mod lab;
mod lint;
mod mutants;
mod process;
mod setup;
mod summary;
mod test;
mod tools_file;
mod vm;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
