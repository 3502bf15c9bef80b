//! Services of `run` beside the reconciler. None of them ever ends.

use std::{convert::Infallible, future::pending, time::Duration};

use anyhow::Result;
use tokio::{sync::watch, time::sleep};

use super::report::Reporter;
use crate::{
    control::{self, Instance, Patience},
    inspect::events::Server,
    note::NoteKind,
};

/// The wait before the events are read again after a failure.
const RETRY: Duration = Duration::from_secs(10);

/// The patience of the thread that loads programs.
const PATIENCE: Patience = Patience {
    limit: Duration::from_secs(30),
    report: |_| (),
};

/// Serves events to followers, from other pins too once `reopened` tells of them.
pub(super) async fn serve_events(
    instance: &Instance,
    server: Result<Server>,
    mut reopened: watch::Receiver<()>,
    reporter: &Reporter<'_>,
) -> Infallible {
    let kind = NoteKind::EventsUnavailable;
    let mut server = match server {
        Ok(server) => server,
        Err(error) => {
            reporter.note(kind, format!("nobody can follow events: {error:#}"));
            return pending().await;
        }
    };
    loop {
        let Err(error) = tokio::select! {
            served = server.serve(instance) => served,
            changed = reopened.changed() => match changed {
                Ok(()) => continue,
                // `run` ends.
                Err(_) => return pending().await,
            },
        };
        reporter.note(kind, format!("followers of events have to wait: {error:#}"));
        sleep(RETRY).await;
    }
}

/// Loads the programs for interfaces to come, in another thread.
pub(super) async fn preload(instance: &Instance, reporter: &Reporter<'_>) -> Infallible {
    // The operations of this process take the lock too, and may hold the lock for seconds.
    let instance = instance.clone().with_patience(PATIENCE);
    let preloaded = tokio::task::spawn_blocking(move || control::preload(&instance)).await;
    if let Ok(Err(error)) = preloaded {
        reporter.note(
            NoteKind::PreloadFailed,
            format!("a new interface may have to wait for its guard's program: {error:#}"),
        );
    }
    pending().await
}
