//! `run`: put the registry in force, then follow the host and the registry's files.
//!
//! ```text
//! startup      the policy to begin with
//! reconciler   the decisions after that: a state machine without I/O
//! driver       hands the reconciler's actions to threads; sleeps on watchers and results
//! outcome      results of control, as the reconciler knows them
//! operations   the reconciler's operations, in their thread
//! reader       the reads of the registry's files, in their thread
//! worker       a thread that answers requests
//! background   the server of events, and programs loaded ahead of their use
//! bpf_log      the log of the eBPF programs
//! sd_notify    messages to the service manager
//! signals      the signals of an operator
//! report       facts for the operator: nothing here prints
//! ```

mod background;
mod bpf_log;
mod driver;
mod operations;
mod outcome;
mod reader;
mod reconciler;
mod report;
mod sd_notify;
mod signals;
mod startup;
mod worker;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use crate::{
    control::{self, Author, Consent, Error, Instance, UpOptions},
    inspect::events::Server,
    kernel::{held::Held, sys},
    printable::decode_path,
    registry::DEFAULT_PATH,
};
use background::{preload, serve_events};
use bpf_log::ProgramLog;
use driver::{Driver, Next, Threads, Watchers};
use operations::Operations;
use reader::RegistryReader;
use reconciler::{OwnFile, Reconciler, Trigger};
use report::Reporter;
pub use report::{Cause, Report};
use sd_notify::ServiceManager;
use signals::{Signalled, Signals};

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
/// No policy could be put in force, or a thread panics. Guards that hold stay attached.
pub async fn run(
    instance: &Instance,
    options: &RunOptions,
    report: &mut dyn FnMut(Report),
) -> Result<End, Error> {
    control::check_privileges()?;
    sys::raise_descriptor_limit();
    sys::keep_heaps_small();
    // A signal must not end a start.
    let signals = Signals::listen()?;
    let reporter = &Reporter::new(report);
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
    // Before the registry is read for the first time: no later change is missed.
    let watchers = Watchers::open(instance);
    let mut reader = RegistryReader::start(instance, &own.path);
    // An interface that came up without a `run` waits for no file and no WireGuard device.
    let guarded = control::guard_newcomers(instance).await.unwrap_or_default();
    let begun = startup::begin(instance, &own, up, &mut reader, reporter).await?;
    let guarded = guarded.into_iter().map(Report::Note);
    guarded.for_each(|note| reporter.report(note));
    let mut held = Held::default();
    // Before the first look, which tells a failure: pins that vanish before are put back as well.
    held.refresh(instance.pins()).ok();
    let operations = Operations {
        instance: instance.clone(),
        consent,
        held,
    };
    let manager = ServiceManager::of_environment();
    let driver = Driver {
        watchers,
        threads: Threads::start(reader, operations, reporter),
        reconciler: Reconciler::new(own, begun, Instant::now()),
        reporter,
        manager: &manager.unwrap_or_default(),
        poll: None,
    };
    let end = hold(instance, driver, signals, options.bpf_log).await?;
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
        path: absolute.with_context(|| format!("failed to find {}", decode_path(path)))?,
        is_named: config.is_some(),
    })
}

/// Follows the host until the end.
async fn hold(
    instance: &Instance,
    mut driver: Driver<'_>,
    mut signals: Signals,
    bpf_log: bool,
) -> Result<End> {
    let (reporter, manager) = (driver.reporter, driver.manager);
    let log = match bpf_log {
        true => Some(ProgramLog::open(instance)?),
        false => None,
    };
    let (reopen, reopened) = watch::channel(());
    // Before READY: the socket tells other commands of a `run` that follows the host.
    let events = serve_events(instance, Server::bind(instance), reopened, reporter);
    let preloading = preload(instance, reporter);
    let logging = bpf_log::forward(log, reporter);
    let watchdog = watchdog(manager);
    sys::trim_heap();
    tokio::pin!(events, preloading, logging, watchdog);
    let mut trigger = Trigger::Started;
    loop {
        match driver.settle(trigger) {
            Next::Rest => {}
            Next::ReopenReaders => {
                reopen.send_replace(());
                // The new pins lack the programs for interfaces to come.
                preloading.set(preload(instance, reporter));
            }
            Next::Gone => return Ok(End::GuardsGone),
        }
        trigger = loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signalled::End => {
                        manager.stopping();
                        return Ok(End::GuardsStay);
                    }
                    Signalled::Reload => break Trigger::ReloadRequested,
                },
                woken = driver.woken() => break woken?,
                () = &mut watchdog => {
                    if driver.is_alive() {
                        manager.keep_alive();
                    }
                    watchdog.set(self::watchdog(manager));
                }
                never = &mut events => match never {},
                never = &mut preloading => match never {},
                never = &mut logging => match never {},
            }
        };
    }
}

/// Waits until the next keep-alive message is due, for ever without a watchdog.
async fn watchdog(manager: &ServiceManager) {
    match manager.interval() {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}
