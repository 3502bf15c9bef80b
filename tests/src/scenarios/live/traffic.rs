//! Sending and watching threads of a scenario.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use etherparse::{SlicedPacket, TransportSlice};

use crate::lab::command::eventually;
use crate::lab::enforcer::SETTLE;
use crate::lab::wire::Wire;

/// Source ports of a barrage alone: late answers to a control have others.
pub(super) const PORTS: std::ops::Range<u16> = 40_000..48_000;

/// A thread, and the amount of work so far.
#[derive(Debug)]
struct Worker {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Worker {
    /// Runs `work` again and again, and adds up the returned amounts.
    fn start(mut work: impl FnMut() -> Result<u64> + Send + 'static) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                count.fetch_add(work()?, Ordering::SeqCst);
            }
            Ok(())
        });
        Self {
            stop,
            done,
            thread: Some(thread),
        }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    fn stop(mut self) -> Result<u64> {
        self.join()?;
        Ok(self.done())
    }

    fn join(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("a worker panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

/// Frames that go out until `stop`.
#[derive(Debug)]
pub(super) struct Barrage(Worker);

impl Barrage {
    /// Sends the frames of `frame`, with a pause after each `burst`. Retries while the interface
    /// takes none.
    pub(super) fn start(
        wire: Wire,
        burst: u64,
        pause: Duration,
        mut frame: impl FnMut() -> Vec<u8> + Send + 'static,
    ) -> Self {
        Self(Worker::start(move || {
            let mut sent = 0;
            for _ in 0..burst {
                sent += u64::from(wire.try_send(&frame())?);
            }
            // The pace: a flood over the backlog's limit would be lost before any guard.
            thread::sleep(pause);
            Ok(sent)
        }))
    }

    /// Number of frames so far.
    pub(super) fn sent(&self) -> u64 {
        self.0.done()
    }

    /// Waits until this many more are out.
    pub(super) fn go_on_for(&self, more: u64) -> Result<()> {
        let goal = self.sent() + more;
        eventually(SETTLE * 2, || (self.sent() >= goal).then_some(()))
            .context("the barrage dried up")
    }

    /// Ends the barrage, and returns the number of frames.
    pub(super) fn stop(self) -> Result<u64> {
        self.0.stop()
    }
}

/// A listener for every SYN-ACK to a barrage.
#[derive(Debug)]
pub(super) struct SynAckWatch(Worker);

impl SynAckWatch {
    /// Watches a wire for SYN-ACKs from these services to the ports of a barrage.
    pub(super) fn on(wire: Wire, services: &'static [u16]) -> Self {
        Self(Worker::start(move || {
            let deadline = Instant::now() + Duration::from_millis(50);
            let accepted =
                wire.expect(deadline, |frame| is_accepted(frame, services).then_some(()))?;
            Ok(u64::from(accepted.is_some()))
        }))
    }

    /// Number of SYN-ACKs so far.
    pub(super) fn seen(&self) -> u64 {
        self.0.done()
    }

    /// Closes the listener after a last look, and returns the number of SYN-ACKs.
    pub(super) fn close(self) -> Result<u64> {
        thread::sleep(Duration::from_millis(100));
        self.0.stop()
    }
}

fn is_accepted(frame: &[u8], services: &[u16]) -> bool {
    let packet = SlicedPacket::from_ethernet(frame);
    match packet.ok().and_then(|packet| packet.transport) {
        Some(TransportSlice::Tcp(tcp)) => {
            let ours =
                services.contains(&tcp.source_port()) && PORTS.contains(&tcp.destination_port());
            ours && tcp.syn() && tcp.ack()
        }
        _ => false,
    }
}

/// Request after request, until `stop`.
#[derive(Debug)]
pub(super) struct Requests(Worker);

impl Requests {
    /// Makes `ask` a request, with a pause after each; the first error is the end.
    pub(super) fn start(
        pause: Duration,
        mut ask: impl FnMut() -> Result<()> + Send + 'static,
    ) -> Self {
        Self(Worker::start(move || {
            ask()?;
            thread::sleep(pause);
            Ok(1)
        }))
    }

    /// Ends the requests, and returns their number, all answered.
    pub(super) fn stop(self) -> Result<u64> {
        self.0.stop()
    }
}
