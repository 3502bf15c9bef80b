//! `--bpf-log`: what the programs themselves say.

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use crate::{
    async_fd,
    control::{self, Place},
};

/// Where the programs' diagnostics go: the journal takes stderr, and a terminal shows it.
pub(super) struct Stderr;

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
pub(super) type Logger = AsyncFd<EbpfLogger<Stderr>>;

/// Opens it.
pub(super) fn open(place: &Place) -> Result<Logger> {
    let logger = control::bpf_log(place, Stderr)?;
    async_fd::readable(logger).context("failed to watch AYA_LOGS")
}

/// Prints what the programs say, as it comes; never ends.
pub(super) async fn forward(logger: Option<Logger>) {
    let Some(mut logger) = logger else {
        return std::future::pending().await;
    };
    while let Ok(mut ready) = logger.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
    std::future::pending::<()>().await;
}
