//! The commands: each takes what was typed, calls `control`, and prints.

mod changes;
mod check;
mod cli;
mod confirm;
mod counters;
mod diff;
mod events;
mod explain;
mod failure;
mod output;
mod policy;
mod run;
mod status;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

pub use cli::Cli;
use cli::{Command, Globals, Guards};
use failure::{Failure, Outcome};

use crate::{
    control::Place,
    registry::{Absent, DEFAULT_PATH, Source},
};

/// Parses the command line, carries it out, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(cli));
            // A thread may be with the verifier, or wait for a lock: nobody waits for it.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(anyhow::Error::new(error)
            .context("failed to start the runtime")
            .into()),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

/// The command line's definition, for man pages and completions.
pub fn definition() -> clap::Command {
    Cli::command()
}

async fn dispatch(Cli { globals, command }: Cli) -> Outcome {
    let place = Place::new(&globals.pin_dir, globals.cgroup.clone()).map_err(Failure::usage)?;
    match command {
        Command::Run(options) => run::run(&globals, &place, options).await,
        Command::Up(up) => policy::up(&globals, &place, up).await,
        Command::Down => policy::down(&place),
        Command::Reload(reload) if reload.dry_run => diff::dry_run(&globals, &place).await,
        Command::Reload(reload) => policy::reload(&globals, &place, &reload).await,
        Command::Confirm { roll_back: false } => confirm::confirm(&place).await,
        Command::Confirm { roll_back: true } => confirm::roll_back(&place).await,
        Command::Status => status::status(&globals, &place).await,
        Command::Counters {
            service,
            port,
            all,
            watch,
        } => {
            let wanted = counters::Wanted { service, port, all };
            counters::counters(&globals, &place, &wanted, watch).await
        }
        Command::Events => events::events(&globals, &place).await,
        Command::Explain(packet) => explain::explain(&globals, &place, &packet).await,
        Command::Check => check::check(&globals).await,
    }
}

/// Where a command reads the registry.
fn source(globals: &Globals, absent: Absent) -> Source {
    match &globals.config {
        Some(path) => Source::Named(path.clone()),
        None => Source::Default {
            path: DEFAULT_PATH.into(),
            absent,
        },
    }
}
