//! `--bpf-log`: what the programs themselves say.

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use crate::{control::Instance, inspect, kernel::sys};

/// Where the programs' diagnostics go: the journal takes stderr, and a terminal shows it.
pub(crate) struct Stderr;

impl log::Log for Stderr {
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
    let logger = inspect::bpf_log(instance, Stderr)?;
    sys::readable(logger).context("failed to watch AYA_LOGS")
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
