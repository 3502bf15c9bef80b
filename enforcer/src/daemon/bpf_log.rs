//! `--bpf-log`: the log of the eBPF programs themselves.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Once, mpsc},
};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use aya_log::EbpfLogger;
use log::Log;
use tokio::io::unix::AsyncFd;

use super::report::{Report, Reporter};
use crate::{
    async_fd,
    control::Instance,
    kernel::load::{SOCKET_PROGRAM, wire_programs},
};

/// A sink of log records: passes the texts on.
struct Lines(mpsc::Sender<String>);

impl Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.send(record.args().to_string()).ok();
    }

    fn flush(&self) {}
}

/// The log of the pinned programs.
pub(super) struct ProgramLog {
    buffer: AsyncFd<EbpfLogger<Lines>>,
    lines: mpsc::Receiver<String>,
}

impl ProgramLog {
    /// Opens the ring buffer of the log.
    ///
    /// # Errors
    /// The pinned programs were loaded without `--bpf-log`.
    pub(super) fn open(instance: &Instance) -> Result<Self> {
        static LEVEL: Once = Once::new();
        LEVEL.call_once(|| log::set_max_level(log::LevelFilter::Trace));
        let mut names = wire_programs().into_iter().chain([SOCKET_PROGRAM]);
        let id = names
            .find_map(|name| ProgramInfo::from_pin(instance.pins().program(name)).ok())
            .context("no program is pinned")?
            .id();
        let (sender, lines) = mpsc::channel();
        let logger = EbpfLogger::init_from_id_with_logger(id, Lines(sender))
            .context("the pinned programs have no log: they were loaded without --bpf-log")?;
        let buffer = async_fd::readable(logger).context("failed to watch AYA_LOGS")?;
        Ok(Self { buffer, lines })
    }
}

/// Reports the lines of a log as they come. Never ends.
pub(super) async fn forward(log: Option<ProgramLog>, reporter: &Reporter<'_>) -> Infallible {
    let Some(ProgramLog { mut buffer, lines }) = log else {
        return pending().await;
    };
    while let Ok(mut ready) = buffer.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
        lines
            .try_iter()
            .for_each(|line| reporter.report(Report::ProgramLog(line)));
    }
    pending().await
}
