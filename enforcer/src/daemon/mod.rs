//! `run`: put the registry in force, then follow the host and the registry's files.
//!
//! ```text
//! startup      the policy to begin with
//! reconciler   the decisions after that: a state machine without I/O
//! driver       carries out the reconciler's actions; sleeps on the watchers
//! outcome      results of control, as the reconciler knows them
//! background   the server of events, and programs loaded ahead of their use
//! bpf_log      the log of the eBPF programs
//! sd_notify    messages to the service manager
//! report       facts for the operator: nothing here prints
//! ```

mod background;
mod bpf_log;
mod driver;
mod outcome;
mod reconciler;
mod report;
mod sd_notify;
mod startup;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{
    control::{self, Author, Consent, Error, Instance, UpOptions},
    host,
    inspect::{self, events::Server},
    kernel::sys,
    note::NoteKind,
    registry::DEFAULT_PATH,
};
use background::{preload, serve_events};
use bpf_log::ProgramLog;
use driver::{Driver, Next, Watchers};
use reconciler::{OwnFile, Reconciler, Trigger};
use report::Reporter;
pub use report::{Cause, Report};

/// The options of `run`.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The registry's main file by `--config`, if given.
    pub config: Option<PathBuf>,
    /// Take the guards off at the end.
    pub ephemeral: bool,
    /// Report the log of the eBPF programs.
    pub bpf_log: bool,
    /// Apply a registry even if the registry cuts off an operator.
    pub force: bool,
}

/// The end of `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A signal came, and the guards stay attached.
    GuardsStay,
    /// A signal came, and the guards were taken off.
    GuardsRemoved,
    /// `enforcer down` took the guards off.
    GuardsGone,
}

/// Loads, attaches and pins guards, says READY, and follows the host until a signal or
/// `enforcer down` comes.
///
/// # Errors
/// No policy could be put in force, or a watcher fails. Guards that hold stay attached.
pub async fn run(
    instance: &Instance,
    options: &RunOptions,
    report: &mut dyn FnMut(Report),
) -> Result<End, Error> {
    control::check_privileges()?;
    let reporter = &Reporter::new(report);
    let snapshot = host::snapshot().await?;
    let own = own_file(options.config.as_deref())?;
    let consent = Consent {
        author: Author::Run,
        force: options.force,
        is_pending: false,
    };
    let up = UpOptions {
        log: options.bpf_log,
        consent,
        ..UpOptions::default()
    };
    control::make_parent(instance)?;
    let watchers = Watchers::open(instance, &own.path);
    let config = options.config.as_deref();
    let begun = startup::begin(instance, config, up, &snapshot, reporter).await?;
    let driver = Driver {
        instance,
        consent,
        // After the guards: without watchers, too, the host is guarded.
        watchers: watchers.context("the guards hold, but nobody can follow the host")?,
        reconciler: Reconciler::new(own, begun, Instant::now()),
        reporter,
        poll: None,
    };
    let status = inspect::status(instance).await?;
    reporter.report(Report::Status(Box::new(status)));
    let end = hold(driver, options.bpf_log).await?;
    if end == End::GuardsStay && options.ephemeral {
        let removed = control::down(instance)?;
        let notes = removed.notes.into_iter();
        notes.for_each(|note| reporter.report(Report::Note(note)));
        return Ok(End::GuardsRemoved);
    }
    Ok(end)
}

/// The registry's file of `run` itself.
fn own_file(config: Option<&Path>) -> Result<OwnFile> {
    let path = config.unwrap_or(Path::new(DEFAULT_PATH));
    let absolute = std::path::absolute(path);
    Ok(OwnFile {
        path: absolute.with_context(|| format!("failed to find {}", path.display()))?,
        is_named: config.is_some(),
    })
}

/// Says READY and follows the host until the end.
async fn hold(mut driver: Driver<'_>, bpf_log: bool) -> Result<End> {
    let (instance, reporter) = (driver.instance, driver.reporter);
    // Before READY: a process that waits for READY may send a signal at once.
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let log = match bpf_log {
        true => Some(ProgramLog::open(instance)?),
        false => None,
    };
    let (reopen, reopened) = watch::channel(());
    // Before READY: the socket tells other commands of a `run` that follows the host.
    let events = serve_events(instance, Server::bind(instance), reopened, reporter);
    let preloading = preload(instance, reporter);
    let logging = bpf_log::forward(log, reporter);
    if let Err(error) = sd_notify::ready() {
        let text = format!("the service manager cannot be told READY: {error}");
        reporter.note(NoteKind::ServiceManager, text);
    }
    sys::trim_heap();
    tokio::pin!(events, preloading, logging);
    let mut trigger = Trigger::Started;
    loop {
        match driver.settle(trigger).await {
            Next::Rest => {}
            Next::ReopenReaders => {
                reopen.send_replace(());
                // The new pins lack the programs for interfaces to come.
                preloading.set(preload(instance, reporter));
            }
            Next::Gone => return Ok(End::GuardsGone),
        }
        trigger = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            woken = driver.woken() => woken?,
            never = &mut events => match never {},
            never = &mut preloading => match never {},
            never = &mut logging => match never {},
        };
    }
    sd_notify::stopping();
    Ok(End::GuardsStay)
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).with_context(|| format!("failed to listen for signal {}", kind.as_raw_value()))
}
