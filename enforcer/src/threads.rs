//! Threads that the kernel may refuse, as at a limit of tasks (`pids.max` of a cgroup, `TasksMax=` of
//! systemd).

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

use crate::failpoint::{Call, through};

/// Starts a thread that runs `work`.
///
/// # Errors
/// The kernel's refusal, and the work, which `thread::Builder::spawn` alone would drop.
pub(crate) fn start<W: Send + 'static>(
    thread: thread::Builder,
    work: W,
    run: impl FnOnce(W) + Send + 'static,
) -> Result<(), (W, io::Error)> {
    let slot = Arc::new(Mutex::new(Some(work)));
    let take = |slot: &Mutex<Option<W>>| {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take()
    };
    let taken = Arc::clone(&slot);
    let spawned = through(Call::StartThread, || {
        thread.spawn(move || {
            if let Some(work) = take(&taken) {
                run(work);
            }
        })
    });
    let Err(error) = spawned else { return Ok(()) };
    match take(&slot) {
        Some(work) => Err((work, error)),
        None => Ok(()),
    }
}

/// Makes a call in a thread of its own, and waits for the result. The call goes on after a
/// cancellation, and does not hold the end of the process.
///
/// `tokio::task::spawn_blocking` panics where the kernel refuses the first thread of its pool
/// (`Spawner::spawn_task` in tokio's runtime/blocking/pool.rs).
///
/// # Errors
/// The kernel refuses a thread, or the call panics.
pub(crate) async fn in_thread<T: Send + 'static>(
    name: &str,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    within(thread::Builder::new(), name, call).await
}

async fn within<T: Send + 'static>(
    thread: thread::Builder,
    name: &str,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // Nobody listens after a cancellation.
        done.send(call()).ok();
    };
    let started = thread.name(name.to_owned()).spawn(work);
    started.with_context(|| format!("failed to start the thread of {name}"))?;
    result
        .await
        .with_context(|| format!("the thread of {name} has ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn refused_work_is_handed_back() {
        let (done, result) = std::sync::mpsc::channel();
        let run = move |work: u32| done.send(work).unwrap();
        let long = thread::Builder::new().stack_size(1 << 60);
        let (work, _) = start(long, 7, run.clone()).unwrap_err();
        start(thread::Builder::new(), work, run).unwrap();
        assert_eq!(result.recv(), Ok(7));
    }

    #[test]
    fn a_result_comes_from_another_thread() {
        let other = block_on(in_thread("looks", || thread::current().id()));
        assert_ne!(other.unwrap(), thread::current().id());
    }

    #[test]
    fn a_refused_thread_and_a_panic_are_errors() {
        let long = thread::Builder::new().stack_size(1 << 60);
        let refused = block_on(within(long, "looks", || ())).unwrap_err();
        let refused = format!("{refused:#}");
        assert!(
            refused.starts_with("failed to start the thread of looks: "),
            "{refused}"
        );
        let panicked = block_on(in_thread("looks", || panic!("on purpose")));
        let panicked: Result<()> = panicked;
        let panicked = format!("{:#}", panicked.unwrap_err());
        assert!(
            panicked.starts_with("the thread of looks has ended"),
            "{panicked}"
        );
    }
}
