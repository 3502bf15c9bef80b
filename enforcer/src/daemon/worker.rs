//! A thread that answers requests, so that the loop of `run` never blocks.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// A thread with a runtime of its own. Requests are answered one after another.
pub(super) struct Worker<Q, A> {
    name: &'static str,
    requests: mpsc::Sender<Q>,
    answers: UnboundedReceiver<A>,
    /// The time of the request without an answer so far.
    busy_since: Option<Instant>,
}

impl<Q: Send + 'static, A: Send + 'static> Worker<Q, A> {
    /// Starts a thread, which calls `prepare` first. The thread ends with the process.
    ///
    /// # Errors
    /// The kernel refuses a thread or a runtime.
    pub(super) fn start(
        name: &'static str,
        prepare: fn(),
        mut answer: impl FnMut(Q, &Runtime) -> A + Send + 'static,
    ) -> Result<Self> {
        let what = || format!("failed to start the thread of {name}");
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.with_context(what)?;
        let (requests, queue) = mpsc::channel();
        let (results, answers): (UnboundedSender<A>, _) = unbounded_channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                prepare();
                while let Ok(request) = queue.recv() {
                    if results.send(answer(request, &runtime)).is_err() {
                        break;
                    }
                }
                // A thread that the kernel holds in a call must not hold the end of the process.
                runtime.shutdown_background();
            })
            .with_context(what)?;
        Ok(Self {
            name,
            requests,
            answers,
            busy_since: None,
        })
    }

    /// Hands a request to the thread.
    pub(super) fn request(&mut self, request: Q) {
        self.busy_since.get_or_insert_with(Instant::now);
        // A thread that has ended is found by `answer`.
        self.requests.send(request).ok();
    }

    /// Waits for the next answer, for ever without a request. A cancelled call loses no answer.
    ///
    /// # Errors
    /// The thread has panicked.
    pub(super) async fn answer(&mut self) -> Result<A> {
        let answer = self.answers.recv().await;
        self.busy_since = None;
        answer.with_context(|| format!("the thread of {} has ended", self.name))
    }

    /// The time for which a request has waited for its answer.
    pub(super) fn busy_for(&self) -> Option<Duration> {
        self.busy_since.map(|since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn requests_are_answered_in_their_order() {
        let mut worker =
            Worker::start("sums", || (), |number: u32, _: &Runtime| number + 1).unwrap();
        assert!(worker.busy_for().is_none());
        worker.request(1);
        worker.request(2);
        assert!(worker.busy_for().is_some());
        assert_eq!(block_on(worker.answer()).unwrap(), 2);
        assert_eq!(block_on(worker.answer()).unwrap(), 3);
        assert!(worker.busy_for().is_none());
    }

    #[test]
    fn the_end_of_a_thread_is_an_error() {
        let mut worker = Worker::start(
            "panics",
            || (),
            |(), _: &Runtime| -> () { panic!("on purpose") },
        );
        let worker = worker.as_mut().unwrap();
        worker.request(());
        let error = block_on(worker.answer()).unwrap_err().to_string();
        assert_eq!(error, "the thread of panics has ended");
    }
}
