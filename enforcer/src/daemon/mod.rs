//! `run`: put the registry in force, then stay and keep it right.

mod bpf_log;
mod reconciler;
mod retry;
mod sd_notify;
mod startup;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::commands::{Globals, Outcome, cli::Run, output, status};
use crate::{
    control::{self, Author, Consent, Instance, UpOptions},
    inspect,
    inspect::events::Server,
    kernel::sys,
    registry::DEFAULT_PATH,
};
use reconciler::{Next, Reconciler};

/// Load, attach, pin, say READY, and hold until told to stop.
pub(crate) async fn run(globals: &Globals, instance: &Instance, options: Run) -> Outcome {
    control::check_privileges()?;
    let snapshot = crate::host::snapshot().await?;
    let wanted = UpOptions {
        log: options.bpf_log,
        consent: Consent {
            author: Author::Run,
            force: options.force,
            is_pending: false,
        },
        ..UpOptions::default()
    };
    control::make_parent(instance)?;
    let keeper = Reconciler::watch(instance, registry(globals)?, wanted.consent);
    let loaded = startup::begin(globals, instance, &snapshot, wanted).await?;
    // Only now: a host where nothing can be watched is guarded all the same.
    let mut keeper = keeper.context("the guards hold, but nobody can follow the host")?;
    keeper.begin(loaded)?;
    let status = inspect::status(instance).await?;
    status::print(globals, &status)?;
    // Before READY: whoever waits for it may stop us at once.
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for SIGINT")?;
    let logger = if options.bpf_log {
        Some(bpf_log::open(instance)?)
    } else {
        None
    };
    let (replaced, news) = watch::channel(());
    // Before READY: by this socket others know that somebody follows.
    let events = tell_of_drops(instance, Server::bind(instance), news);
    let preparation = prepare(instance);
    let logging = bpf_log::forward(logger);
    sd_notify::ready();
    sd_notify::tell(keeper.generation());
    sys::trim_heap();
    tokio::pin!(events, preparation, logging);
    // What happened between the list of interfaces and now.
    let mut kept = keeper.look(reconciler::Trigger::Host).await;
    loop {
        match kept {
            Next::On => {}
            Next::Replaced => {
                replaced.send_replace(());
                // The pins that `up` put in place hold what it needed itself.
                preparation.set(prepare(instance));
            }
            Next::Gone => {
                output::lossy(output::print(
                    "the guards were taken off by `enforcer down`",
                ))?;
                return Ok(0);
            }
        }
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            woken = keeper.woken() => kept = keeper.look(woken?).await,
            () = &mut events => kept = Next::On,
            () = &mut preparation => kept = Next::On,
            () = &mut logging => kept = Next::On,
        }
    }
    sd_notify::stopping();
    if options.ephemeral {
        control::down(instance)?;
        output::lossy(output::print("stopped: the guards are off"))?;
    } else {
        output::lossy(output::print(
            "stopped: the guards stay on (`enforcer down` takes them off)",
        ))?;
    }
    Ok(0)
}

/// The registry's main file, absolute.
fn registry(globals: &Globals) -> Result<PathBuf> {
    let path = globals.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    std::path::absolute(path).with_context(|| format!("failed to find {}", path.display()))
}

/// Serves `events`, and goes on doing so when `up` puts other pins in place, and after a failure.
/// Never ends.
async fn tell_of_drops(
    instance: &Instance,
    server: Result<Server>,
    mut replaced: watch::Receiver<()>,
) {
    /// For a reason that may pass.
    const RETRY: Duration = Duration::from_secs(10);
    let mut server = match server {
        Ok(server) => server,
        Err(error) => {
            note(&format!("nobody can follow events: {error:#}"));
            return std::future::pending().await;
        }
    };
    loop {
        let Err(error) = tokio::select! {
            never = server.serve(instance) => never,
            changed = replaced.changed() => match changed {
                Ok(()) => continue,
                // `run` ends.
                Err(_) => return std::future::pending().await,
            },
        };
        note(&format!("followers of events have to wait: {error:#}"));
        tokio::time::sleep(RETRY).await;
    }
}

/// Loads in the background what a new interface may need. Never ends.
async fn prepare(instance: &Instance) {
    let instance = instance.clone();
    let prepared = tokio::task::spawn_blocking(move || control::preload(&instance)).await;
    if let Ok(Err(error)) = prepared {
        note(&format!(
            "a new interface may have to wait for its guard's program: {error:#}"
        ));
    }
    std::future::pending::<()>().await;
}

/// Prints a note to stderr.
fn note(text: &str) {
    use crate::note::{Note, NoteKind};
    output::note(&Note::new(NoteKind::Retry, text));
}
