//! The reader of the registry's files, in a thread of its own: a file may never answer.

use std::path::{Path, PathBuf};

use anyhow::{Error, Result};

use super::{
    outcome,
    reconciler::{LoadError, SharedRegistry},
    worker::Worker,
};
use crate::{
    control::Instance,
    kernel::privileges::give_up_reserve,
    registry::{Reader, Rejected, Source, load},
    watch::FileWatcher,
};

/// A request to read.
#[derive(Debug)]
pub(super) struct Request {
    /// The main file, to be watched as well.
    pub(super) file: PathBuf,
    /// The source to read.
    pub(super) source: Source,
}

/// News of the reader.
#[derive(Debug)]
pub(super) enum Answer {
    /// The files may have changed.
    Changed,
    /// The files cannot be watched, and are looked at from time to time.
    Unwatched(Error),
    /// The result of a request.
    Loaded {
        /// The registry, or the reason why there is none.
        result: Result<SharedRegistry, LoadError>,
        /// The files changed, and [`Self::Changed`] follows once they are left alone.
        is_settling: bool,
    },
}

/// The watcher of the files, and the thread that reads the files.
pub(super) struct RegistryReader {
    files: FileWatcher,
    worker: Worker<Request, Reading>,
    /// Whether the last reading could not watch every file.
    is_blind: bool,
    /// The reason for looks, not told yet.
    failure: Option<Error>,
}

/// The result of a request.
struct Reading {
    result: Result<SharedRegistry, LoadError>,
    unwatched: Option<Error>,
}

impl RegistryReader {
    /// Watches the main file and its fragments, and starts the thread.
    pub(super) fn start(instance: &Instance, main: &Path) -> Self {
        let instance = instance.clone();
        let (files, failure) = FileWatcher::open(main);
        let watches = files.watches();
        Self {
            files,
            worker: Worker::start(
                "the registry's reader",
                give_up_reserve,
                move |request: Request, _| {
                    Reading {
                        // Before the files are read, so that no later change is missed.
                        unwatched: watches.renew(&request.file).err(),
                        result: read(&instance, &request),
                    }
                },
            ),
            is_blind: false,
            failure,
        }
    }

    /// Returns the kernel's refusal of the thread; `None` once the thread is started.
    pub(super) fn refusal(&self) -> Option<&Error> {
        self.worker.refusal()
    }

    /// Has the registry read.
    pub(super) fn request(&mut self, request: Request) {
        self.files.follow(request.file.clone());
        self.worker.request(request);
    }

    /// Waits for news. A cancelled call loses none.
    ///
    /// # Errors
    /// The thread has panicked.
    pub(super) async fn answer(&mut self) -> Result<Answer> {
        if let Some(error) = self.failure.take() {
            return Ok(Answer::Unwatched(error));
        }
        let reading = tokio::select! {
            () = self.files.changed() => return Ok(Answer::Changed),
            reading = self.worker.answer() => reading?,
        };
        Ok(Answer::Loaded {
            result: self.taken(reading),
            is_settling: self.files.is_pending(),
        })
    }

    /// Waits for the result of a request.
    ///
    /// # Errors
    /// The thread has panicked.
    pub(super) async fn result(&mut self) -> Result<Result<SharedRegistry, LoadError>> {
        let reading = self.worker.answer().await?;
        Ok(self.taken(reading))
    }

    /// Returns the result, and keeps a new reason for looks.
    fn taken(&mut self, reading: Reading) -> Result<SharedRegistry, LoadError> {
        let was_blind = std::mem::replace(&mut self.is_blind, reading.unwatched.is_some());
        if !was_blind && reading.unwatched.is_some() {
            self.failure = reading.unwatched;
        }
        reading.result
    }
}

fn read(instance: &Instance, request: &Request) -> Result<SharedRegistry, LoadError> {
    let in_force = instance.provenance().ok().flatten();
    let rejection = |rejected: Rejected| {
        LoadError::Rejected(outcome::rejection(rejected, !request.file.exists()))
    };
    load(&request.source, &Reader::STRICT.again(in_force))
        .map(SharedRegistry::from)
        .map_err(rejection)
}
