//! A thread that answers requests, so that the loop of `run` never blocks.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Error, Result};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep_until,
};

use crate::threads;

/// The time between two attempts to start a thread.
const RETRY: Duration = Duration::from_secs(1);

/// A thread with a runtime of its own. Requests are answered one after another, and wait while the
/// kernel refuses the thread.
pub(super) struct Worker<Q, A> {
    name: &'static str,
    requests: mpsc::Sender<Q>,
    answers: UnboundedReceiver<A>,
    /// The time of the request without an answer so far.
    busy_since: Option<Instant>,
    /// The work of a thread that the kernel refused.
    unstarted: Option<Unstarted<Q, A>>,
}

/// The work of a thread.
struct Body<Q, A> {
    prepare: fn(),
    queue: mpsc::Receiver<Q>,
    results: UnboundedSender<A>,
    answer: Answer<Q, A>,
}

/// The answer to a request.
type Answer<Q, A> = Box<dyn FnMut(Q, &Runtime) -> A + Send>;

/// The work of a thread that is to be started.
struct Unstarted<Q, A> {
    body: Body<Q, A>,
    why: Error,
    next_attempt: Instant,
}

impl<Q: Send + 'static, A: Send + 'static> Body<Q, A> {
    /// Answers until the worker is dropped.
    fn serve(mut self, runtime: Runtime) {
        (self.prepare)();
        while let Ok(request) = self.queue.recv() {
            if self.results.send((self.answer)(request, &runtime)).is_err() {
                break;
            }
        }
        // A thread that the kernel holds in a call must not hold the end of the process.
        runtime.shutdown_background();
    }

    /// Starts the thread, or returns the work and the kernel's refusal of a thread or a runtime.
    fn start(self, thread: thread::Builder) -> Result<(), (Self, Error)> {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return Err((self, error.into())),
        };
        let run = |(body, runtime)| Self::serve(body, runtime);
        threads::start(thread, (self, runtime), run).map_err(|((body, runtime), error)| {
            // A runtime must not be dropped within another.
            runtime.shutdown_background();
            (body, error.into())
        })
    }
}

impl<Q: Send + 'static, A: Send + 'static> Worker<Q, A> {
    /// Starts a thread, which calls `prepare` first. The thread ends with the process. A thread
    /// that the kernel refuses is started by a later [`Self::answer`].
    pub(super) fn start(
        name: &'static str,
        prepare: fn(),
        answer: impl FnMut(Q, &Runtime) -> A + Send + 'static,
    ) -> Self {
        let (requests, queue) = mpsc::channel();
        let (results, answers) = unbounded_channel();
        let mut worker = Self {
            name,
            requests,
            answers,
            busy_since: None,
            unstarted: None,
        };
        let answer = Box::new(answer);
        let body = Body {
            prepare,
            queue,
            results,
            answer,
        };
        worker.attempt(body, thread::Builder::new());
        worker
    }

    fn attempt(&mut self, body: Body<Q, A>, thread: thread::Builder) {
        let started = body.start(thread.name(self.name.to_owned()));
        self.unstarted = started.err().map(|(body, why)| Unstarted {
            body,
            why: why.context(format!("failed to start the thread of {}", self.name)),
            next_attempt: Instant::now() + RETRY,
        });
    }

    /// Returns the kernel's refusal of the thread; `None` once the thread is started.
    pub(super) fn refusal(&self) -> Option<&Error> {
        self.unstarted.as_ref().map(|unstarted| &unstarted.why)
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
        while let Some(at) = self.unstarted.as_ref().map(|it| it.next_attempt) {
            sleep_until(at.into()).await;
            if let Some(Unstarted { body, .. }) = self.unstarted.take() {
                self.attempt(body, thread::Builder::new());
            }
        }
        let answer = self.answers.recv().await;
        self.busy_since = None;
        answer.with_context(|| format!("the thread of {} has ended", self.name))
    }

    /// The time for which a request has waited for its answer; `None` without a thread, which no
    /// other process of the same limits would get either.
    pub(super) fn busy_for(&self) -> Option<Duration> {
        let since = self.busy_since.filter(|_| self.unstarted.is_none());
        since.map(|since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn requests_are_answered_in_their_order() {
        let mut worker = Worker::start("sums", || (), |number: u32, _: &Runtime| number + 1);
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
        worker.request(());
        let error = block_on(worker.answer()).unwrap_err().to_string();
        assert_eq!(error, "the thread of panics has ended");
    }

    /// A thread whose stack is longer than any address space.
    fn refused() -> thread::Builder {
        thread::Builder::new().stack_size(1 << 60)
    }

    #[test]
    fn requests_wait_for_a_thread_that_the_kernel_refuses() {
        let (requests, queue) = mpsc::channel();
        let (results, answers) = unbounded_channel();
        let mut worker = Worker {
            name: "sums",
            requests,
            answers,
            busy_since: None,
            unstarted: None,
        };
        let body = Body {
            prepare: || (),
            queue,
            results,
            answer: Box::new(|number: u32, _: &Runtime| number + 1),
        };
        block_on(async {
            worker.attempt(body, refused());
            let why = worker.refusal().map(|error| format!("{error:#}"));
            let why = why.expect("the kernel gave the thread");
            assert!(
                why.starts_with("failed to start the thread of sums: "),
                "{why}"
            );
            worker.request(1);
            assert_eq!(worker.busy_for(), None, "no thread hangs");
            // A cancelled call loses neither the work nor the request.
            let moment = tokio::time::timeout(RETRY / 10, worker.answer());
            assert!(moment.await.is_err());
            assert!(worker.refusal().is_some());
            assert_eq!(worker.answer().await.unwrap(), 2);
            assert!(worker.refusal().is_none());
        });
    }
}
