//! The reader of the registry's files, in a thread of its own: a file may never answer.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{
    outcome,
    reconciler::{LoadError, SharedRegistry},
    worker::Worker,
};
use crate::{
    control::Instance,
    registry::{Reader, Rejected, Source, load},
    watch::Files,
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
    files: Files,
    worker: Worker<Request, Result<SharedRegistry, LoadError>>,
}

impl RegistryReader {
    /// Watches the main file and its fragments, and starts the thread.
    ///
    /// # Errors
    /// The kernel refuses a thread.
    pub(super) fn start(instance: &Instance, main: &Path) -> Result<Self> {
        let instance = instance.clone();
        Ok(Self {
            files: Files::watch(main)?,
            worker: Worker::start("the registry's reader", move |request: Request, _| {
                read(&instance, &request)
            })?,
        })
    }

    /// Has the registry read.
    pub(super) fn request(&mut self, request: Request) {
        if request.file != self.files.main()
            && let Ok(files) = Files::watch(&request.file)
        {
            self.files = files;
        }
        self.worker.request(request);
    }

    /// Waits for news. A cancelled call loses none.
    ///
    /// # Errors
    /// The thread has panicked.
    pub(super) async fn answer(&mut self) -> Result<Answer> {
        tokio::select! {
            changed = self.files.changed() => changed.map(|()| Answer::Changed),
            result = self.worker.answer() => Ok(Answer::Loaded {
                result: result?,
                is_settling: self.files.is_pending(),
            }),
        }
    }

    /// Waits for the result of a request.
    ///
    /// # Errors
    /// The thread has panicked.
    pub(super) async fn result(&mut self) -> Result<Result<SharedRegistry, LoadError>> {
        self.worker.answer().await
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
