//! `run`: put the registry in force, then stay.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use rustix::fs::inotify;
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{SignalKind, signal},
};

use super::{Globals, Outcome, failure::note, output, policy, source, status};
use crate::{
    control::{self, Place, Survey, Wanted},
    kernel::sys,
    registry::{Loaded, Origin, Source, load, render},
};

/// Load, attach, pin, say READY, and hold until told to stop.
pub(super) async fn run(globals: &Globals, place: &Place, ephemeral: bool, log: bool) -> Outcome {
    control::check_privileges()?;
    let survey = control::survey().await?;
    let wanted = Wanted {
        log,
        ..Wanted::default()
    };
    begin(globals, place, &survey, wanted).await?;
    let status = control::status(place).await?;
    status::print(globals, &status)?;
    // Before READY: whoever waits for it may stop us at once.
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for SIGINT")?;
    let gone = PinsGone::watch(place.pin_dir())?;
    let logger = if log { Some(logger(place)?) } else { None };
    sd_notify::notify(&[
        sd_notify::NotifyState::Ready,
        sd_notify::NotifyState::Status(&format!(
            "generation {} in force, {} guards",
            status.generation,
            status.guards.len()
        )),
    ])
    .unwrap_or_else(|error| {
        note(&format!(
            "the service manager cannot be told READY: {error}"
        ));
    });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        gone = gone.wait() => {
            gone?;
            output::lossy(output::print("the guards were taken off by `enforcer down`"))?;
            return Ok(0);
        }
        () = forward_log(logger) => {}
    }
    sd_notify::notify(&[sd_notify::NotifyState::Stopping]).ok();
    if ephemeral {
        control::down(place)?;
        output::lossy(output::print("stopped: the guards are off"))?;
    } else {
        output::lossy(output::print(
            "stopped: the guards stay on (`enforcer down` takes them off)",
        ))?;
    }
    Ok(0)
}

/// Puts the registry in force; where that cannot be, keeps what is pinned; and where nothing is
/// (at boot), puts the embedded default in force: a typo must not leave the host open.
async fn begin(globals: &Globals, place: &Place, survey: &Survey, wanted: Wanted) -> Result<()> {
    let pinned = place.is_pinned()?;
    // A file that vanished since is no reason to fall back on the embedded default.
    // Pins of another layout do not say what they are, and are replaced below.
    let allow_embedded = !pinned || place.is_embedded().unwrap_or(false);
    let why = match load(&source(globals, allow_embedded)) {
        Ok(loaded) => {
            policy::warn(&loaded, survey)?;
            if let Some(text) = control::unfollowed(&loaded.registry) {
                note(&text);
            }
            let wanted = Wanted {
                embedded: matches!(loaded.origin, Origin::Embedded),
                ..wanted
            };
            match install(place, &loaded, wanted).await {
                Ok(()) => return Ok(()),
                Err(error) => format!("{error:#}"),
            }
        }
        Err(rejected) => {
            anstream::eprintln!("{}", render(&rejected.errors, true).trim_end());
            "the registry is bad".to_owned()
        }
    };
    if pinned {
        note(&format!("{why}: what is pinned stays in force"));
        return Ok(());
    }
    note(&format!(
        "{why}: the embedded default holds in its place (degraded)"
    ));
    let wanted = Wanted {
        fallback: true,
        ..wanted
    };
    install(place, &load(&Source::Embedded)?, wanted).await
}

async fn install(place: &Place, loaded: &Loaded, wanted: Wanted) -> Result<()> {
    let notes = control::install(place, &loaded.registry, wanted).await?;
    notes.iter().for_each(|text| note(text));
    Ok(())
}

/// Waits for the end of the pin directory, without waking up in between.
struct PinsGone {
    events: AsyncFd<std::os::fd::OwnedFd>,
    path: std::path::PathBuf,
}

impl PinsGone {
    fn watch(path: &Path) -> Result<Self> {
        let what = || format!("failed to watch {}", path.display());
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let events = inotify::init(flags).with_context(what)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let changes = inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&events, parent, changes).with_context(what)?;
        Ok(Self {
            events: sys::readable(events).with_context(what)?,
            path: path.to_owned(),
        })
    }

    async fn wait(self) -> Result<()> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        loop {
            // An `up` puts a new directory in the old one's place; only an empty place is the end.
            if !self.path.try_exists().unwrap_or(true) {
                return Ok(());
            }
            let mut ready = self
                .events
                .readable()
                .await
                .context("failed to wait for inotify")?;
            let mut reader = inotify::Reader::new(self.events.get_ref(), &mut buffer);
            while reader.next().is_ok() {}
            ready.clear_ready();
        }
    }
}

/// Where the programs' diagnostics go: the journal takes stderr, and a terminal shows it.
struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        anstream::eprintln!("bpf: {}", record.args());
    }

    fn flush(&self) {}
}

/// Opens the ring buffer of the programs' own diagnostics.
fn logger(place: &Place) -> Result<AsyncFd<EbpfLogger<Stderr>>> {
    let logger = control::bpf_log(place, Stderr)?;
    sys::readable(logger).context("failed to watch AYA_LOGS")
}

/// Prints what the programs say, as it comes; never ends.
async fn forward_log(logger: Option<AsyncFd<EbpfLogger<Stderr>>>) {
    let Some(mut logger) = logger else {
        return std::future::pending().await;
    };
    while let Ok(mut ready) = logger.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
