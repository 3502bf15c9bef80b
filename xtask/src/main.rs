//! `cargo xtask`: sets up, builds, checks, tests, shows, measures and installs enforcer.

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
