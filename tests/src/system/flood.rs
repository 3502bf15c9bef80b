//! Endless SYNs at a port, and a listener for every answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use etherparse::{SlicedPacket, TransportSlice};

use super::host::Host;
use crate::lab::Port;
use crate::lab::frames::Ends;
use crate::lab::topology::GHOST;
use crate::scenarios::raw_packet::Probe;

/// Pause between two SYNs: many a second, and yet no flood that loses packets before any guard.
const PACE: Duration = Duration::from_millis(5);

/// Limit of a flood that is not stopped.
const MOST: u64 = 60_000;

/// Result of a flood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    /// SYNs sent.
    pub(super) sent: u64,
    /// SYN-ACKs that came back.
    pub(super) accepted: u64,
}

/// A flood from the LAN.
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Tally>>>,
}

impl Flood {
    /// Starts the flood.
    pub(super) fn start(host: &Host, ends: Ends, port: Port<'static>) -> Result<Self> {
        let wire = host.wire()?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let mut accepted = 0;
            // The answers to an earlier flood are repeated for a minute.
            let mut ours = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) && count.load(Ordering::Relaxed) < MOST {
                let probe = Probe::between(ends, port);
                ours.insert(probe.source);
                wire.send(&probe.frame())?;
                count.fetch_add(1, Ordering::Relaxed);
                let until = Instant::now() + PACE;
                while let Some(to) = wire.expect(until, |frame| syn_ack(frame, port.1))? {
                    accepted += u64::from(ours.contains(&to));
                }
            }
            Ok(Tally {
                sent: count.load(Ordering::Relaxed),
                accepted,
            })
        });
        Ok(Self {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// SYNs sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends the flood.
    pub(super) fn stop(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("stopped twice"))?;
        thread.join().map_err(|_| anyhow!("the flood panicked"))?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// From the ghost to the host's LAN address.
pub(super) fn to_host() -> Ends {
    Ends::V4(GHOST, crate::lab::topology::HOST_LAN)
}

/// The destination port of a SYN-ACK from `port`.
fn syn_ack(frame: &[u8], port: u16) -> Option<u16> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
        return None;
    };
    let is_one = tcp.source_port() == port && tcp.syn() && tcp.ack();
    is_one.then_some(tcp.destination_port())
}
