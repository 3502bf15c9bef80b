//! Services of `run` beside the reconciler. None of them ever ends.

use std::{convert::Infallible, future::pending, time::Duration};

use anyhow::Result;
use tokio::{sync::watch, time::sleep};

use super::report::Reporter;
use crate::{
    control::{self, Instance, Patience},
    inspect::events::Server,
    kernel::privileges::give_up_reserve,
    note::NoteKind,
    threads::in_thread,
};

/// The wait before the events are read again, or programs loaded, after a failure.
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

/// Loads the programs for interfaces to come, in another thread. Without a thread, another attempt
/// follows.
pub(super) async fn preload(instance: &Instance, reporter: &Reporter<'_>) -> Infallible {
    // The operations of this process take the lock too, and may hold the lock for seconds.
    let instance = instance.clone().with_patience(PATIENCE);
    let mut is_told = false;
    loop {
        let instance = instance.clone();
        let load = move || {
            give_up_reserve();
            control::preload(&instance)
        };
        let preloaded = in_thread("programs", load).await;
        let (error, is_over) = match preloaded {
            Ok(Ok(_)) => return pending().await,
            Ok(Err(error)) => (error, true),
            Err(error) => (error, false),
        };
        if !is_told {
            is_told = true;
            let text =
                format!("a new interface may have to wait for its guard's program: {error:#}");
            reporter.note(NoteKind::PreloadFailed, text);
        }
        if is_over {
            return pending().await;
        }
        sleep(RETRY).await;
    }
}
