//! `--bpf-log`: what the programs themselves say.

use std::sync::Once;

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use aya_log::EbpfLogger;
use log::Log;
use tokio::io::unix::AsyncFd;

use crate::{
    async_fd,
    control::Instance,
    kernel::load::{SOCKET_PROGRAM, wire_programs},
};

/// Where the programs' diagnostics go: the journal takes stderr, and a terminal shows it.
pub(crate) struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        anstream::eprintln!("bpf: {}", record.args());
    }

    fn flush(&self) {}
}

/// The ring buffer of the programs' own diagnostics.
pub(crate) type Logger = AsyncFd<EbpfLogger<Stderr>>;

/// Opens it.
pub(crate) fn open(instance: &Instance) -> Result<Logger> {
    let logger = logger(instance, Stderr)?;
    async_fd::readable(logger).context("failed to watch AYA_LOGS")
}

/// Prints what the programs say, as it comes; never ends.
pub(crate) async fn forward(logger: Option<Logger>) {
    let Some(mut logger) = logger else {
        return std::future::pending().await;
    };
    while let Ok(mut ready) = logger.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
    std::future::pending::<()>().await;
}

/// The ring buffer in which the pinned programs log.
///
/// # Errors
/// They were loaded without `--bpf-log`.
fn logger<T: Log>(instance: &Instance, sink: T) -> Result<EbpfLogger<T>> {
    static LEVEL: Once = Once::new();
    LEVEL.call_once(|| log::set_max_level(log::LevelFilter::Trace));
    let mut names = wire_programs().into_iter().chain([SOCKET_PROGRAM]);
    let id = names
        .find_map(|name| ProgramInfo::from_pin(instance.pins().program(name)).ok())
        .context("no program is pinned")?
        .id();
    EbpfLogger::init_from_id_with_logger(id, sink)
        .context("the pinned programs have no log: they were loaded without --bpf-log")
}
