//! The commands: each parses options, calls a reader or a writer, and prints the result in words or
//! as JSON.

mod check;
pub(crate) mod cli;
mod confirm;
mod counters;
mod dry_run;
mod events;
mod explain;
pub(crate) mod failure;
pub(crate) mod output;
pub(crate) mod policy;
mod privileges;
mod refusal;
mod run;
#[cfg(test)]
mod snapshots;
pub(crate) mod status;
mod stream;
mod wrap;

use std::{process::ExitCode, time::Duration};

use clap::CommandFactory as _;

pub use cli::Cli;
pub(crate) use cli::Globals;
use cli::{Command, Guards};
use failure::Failure;
pub(crate) use failure::Outcome;

use crate::{
    control::{Instance, Patience},
    inspect::Selection,
    note::{Note, NoteKind},
    registry::{Loaded, MissingFile, READ_LIMIT, Reader, Rejected, Source, load_within},
};

/// The patience of a command with another command.
const PATIENCE: Patience = Patience {
    limit: Duration::from_secs(30),
    report: |holder| {
        output::note(&Note::new(
            NoteKind::LockHeld,
            format!("{holder} has the lock of the pins: waiting for up to 30 s"),
        ));
    },
};

/// Parses the command line, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::of_words(std::env::args_os()) {
        Ok(cli) => cli,
        Err(refusal) => refusal.exit(),
    };
    let needs_privileges = !matches!(cli.command, Command::Check { .. });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(cli));
            // A thread may be inside the verifier, or wait for a lock: the exit does not wait.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(anyhow::Error::new(error)
            .context("failed to start the runtime")
            .into()),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(needs_privileges),
    }
}

/// The command line's definition, for man pages and completions.
pub fn definition() -> clap::Command {
    Cli::command()
}

async fn dispatch(Cli { globals, command }: Cli) -> Outcome {
    let instance =
        Instance::new(&globals.pin_dir, globals.cgroup.clone()).map_err(Failure::usage)?;
    // Capabilities that stay do no harm to the guards: the command goes on.
    privileges::give_up(&globals, &command, &instance).ok();
    // A person can wait for another command; `run` has a host to follow.
    let instance = match command {
        Command::Run(_) => instance,
        _ => instance.with_patience(PATIENCE),
    };
    match command {
        Command::Run(options) => run::run(&globals, &instance, options).await,
        Command::Up(up) => policy::up(&globals, &instance, up).await,
        Command::Down { all } => policy::down(&globals, &instance, all),
        Command::Reload(reload) if reload.dry_run => dry_run::dry_run(&globals, &instance).await,
        Command::Reload(reload) => policy::reload(&globals, &instance, &reload).await,
        Command::Confirm { roll_back: false } => confirm::confirm(&globals, &instance).await,
        Command::Confirm { roll_back: true } => confirm::roll_back(&instance).await,
        Command::Status => status::status(&globals, &instance).await,
        Command::Counters {
            service,
            port,
            all,
            watch,
        } => {
            let selection = Selection { service, port, all };
            counters::counters(&globals, &instance, &selection, watch).await
        }
        Command::Events => events::events(&globals, &instance).await,
        Command::Explain(packet) => explain::explain(&globals, &instance, &packet).await,
        Command::Check { fragment } => check::check(&globals, fragment).await,
    }
}

/// Reads the registry of a command.
///
/// # Errors
/// The registry is bad, or its files do not answer.
pub(crate) fn read(globals: &Globals, missing: MissingFile) -> Result<Loaded, Rejected> {
    let reader = Reader::of_command(globals.config.as_deref());
    load_within(&source(globals, missing), &reader, READ_LIMIT)
}

/// Reads the registry of `up`. Where the policy in force came from files, a file or a folder of
/// fragments that vanished is an error, as for a reload: `down` alone opens.
///
/// # Errors
/// As for [`read`]; the pins are another namespace's.
pub(crate) fn read_for_up(globals: &Globals, instance: &Instance) -> Result<Loaded, Failure> {
    let (before, missing) = instance.before_up()?;
    let reader = Reader::of_command(globals.config.as_deref()).again(before);
    Ok(load_within(&source(globals, missing), &reader, READ_LIMIT)?)
}

/// Reads the registry of a command that replaces the policy in force.
///
/// # Errors
/// As for [`read`]; the pins cannot be read.
pub(crate) fn read_again(globals: &Globals, instance: &Instance) -> Result<Loaded, Failure> {
    let reader = Reader::of_command(globals.config.as_deref()).again(instance.provenance()?);
    let source = source(globals, instance.missing_file()?);
    Ok(load_within(&source, &reader, READ_LIMIT)?)
}

/// The registry that a command reads.
pub(crate) fn source(globals: &Globals, missing: MissingFile) -> Source {
    Source::of_config(globals.config.as_deref(), missing)
}
