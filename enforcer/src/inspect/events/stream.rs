//! The only reader of the ring buffer.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use enforcer_ebpf::{
    Protocol, Reason, Verdict, destination,
    layout::{Event, EventHead},
    source, source_port,
};
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use super::record::{Record, ip};
use crate::{
    control::Instance,
    kernel::{
        events::{Events, ReaderLock},
        interface_names::InterfaceNames,
        maps::Maps,
        privileges::give_up_reserve,
    },
    threads::in_thread,
};

/// The shortest time between two epochs, which bounds the rate of events.
const EPOCH: Duration = Duration::from_millis(100);

/// The drops of a pin directory after the opening of the stream.
pub struct Stream {
    events: Events,
    maps: Maps,
    interfaces: InterfaceNames,
    /// The reported number of silent drops, by CPU.
    told: Vec<u64>,
    /// The start of the next epoch, if one is due.
    due: Option<Instant>,
    /// Whether an event came in this epoch.
    active: bool,
}

/// The failure to open the events.
#[derive(Debug)]
pub enum StreamError {
    /// Another process reads the events.
    Busy,
    /// The kernel's refusal.
    Failed(anyhow::Error),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str(
                "another `enforcer events` reads the drops of these pins: end it, or start \
                 `enforcer run`, which serves several followers",
            ),
            Self::Failed(error) if f.alternate() => write!(f, "{error:#}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {}

impl From<anyhow::Error> for StreamError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl Stream {
    /// Opens the pins' events.
    ///
    /// # Errors
    /// Another process reads the events, or the kernel's refusal.
    pub fn open(instance: &Instance) -> Result<Self, StreamError> {
        let lock = ReaderLock::take(instance.pins())?.ok_or(StreamError::Busy)?;
        Ok(Self::with(instance, lock)?)
    }

    /// Opens the pins' events once no other process reads them.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn wait(instance: &Instance) -> Result<Self> {
        let lock = match ReaderLock::take(instance.pins())? {
            Some(lock) => lock,
            // Nothing to poll: a thread sleeps until the lock is free.
            None => {
                let pins = instance.pins().clone();
                let wait = move || {
                    give_up_reserve();
                    ReaderLock::wait(&pins)
                };
                let waited = in_thread("events", wait).await;
                waited.context("failed to wait for the events")??
            }
        };
        Self::with(instance, lock)
    }

    fn with(instance: &Instance, lock: ReaderLock) -> Result<Self> {
        let maps = instance.maps()?.context("nothing is pinned")?;
        let events = Events::open(instance.pins(), lock)?;
        let told = events.suppressed()?;
        // Drops without a reader are in the counters alone.
        events.next_epoch();
        Ok(Self {
            events,
            maps,
            interfaces: InterfaceNames::open()?,
            told,
            due: None,
            active: false,
        })
    }

    /// Waits for drops. Cancellation loses none.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn next(&mut self) -> Result<Vec<Record>> {
        loop {
            let due = self.due;
            let is_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            let records = tokio::select! {
                ready = self.events.ready() => {
                    ready.context("failed to wait for the map EVENTS")?;
                    self.drain()
                }
                () = is_due => self.turn_epoch()?.into_iter().collect(),
            };
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    fn drain(&mut self) -> Vec<Record> {
        let mut found = Vec::new();
        self.events.drain(|event| found.push(event));
        if found.is_empty() {
            return Vec::new();
        }
        self.active = true;
        self.due.get_or_insert_with(|| Instant::now() + EPOCH);
        let boot = monotonic_zero();
        found.iter().map(|event| self.record(event, boot)).collect()
    }

    /// Begins an epoch. After an epoch without events, the rest of the flood is reported.
    fn turn_epoch(&mut self) -> Result<Option<Record>> {
        self.events.next_epoch();
        self.due = Some(Instant::now() + EPOCH);
        if std::mem::take(&mut self.active) {
            return Ok(None);
        }
        let silent = self.events.suppressed()?;
        let merged = silent.iter().zip(&self.told).map(|(now, told)| now - told);
        let merged = merged.sum();
        self.told = silent;
        if merged == 0 {
            // The next wake-up is a drop.
            self.due = None;
            return Ok(None);
        }
        Ok(Some(Record {
            time: Timestamp::now(),
            merged,
            ..Record::default()
        }))
    }

    fn record(&mut self, event: &Event, boot: Timestamp) -> Record {
        let (head, packet) = (&event.head, event.packet());
        let told = self.told.get_mut(head.cpu as usize);
        let merged = told.map_or(0, |told| newly_told(told, head.suppressed));
        let since = i64::try_from(head.time).unwrap_or(i64::MAX);
        let protocol = head.protocol();
        let port = (head.port != 0).then_some(head.port);
        let destination = destination(packet, 0);
        Record {
            time: boot
                .checked_add(SignedDuration::from_nanos(since))
                .unwrap_or(boot),
            guard: head.guard().map(|guard| guard.name().to_owned()),
            verdict: Some(Verdict::Drop.name().to_owned()),
            reason: head.reason().map(|reason| reason.name().to_owned()),
            audited: Some(head.audited != 0),
            interface: self.interfaces.of(head.ifindex).ok(),
            ifindex: Some(head.ifindex),
            source: source(packet, 0).as_ref().map(ip),
            source_port: source_port(packet, 0),
            destination: destination.as_ref().map(ip),
            port,
            protocol: protocol.map(|protocol| protocol.name().to_owned()),
            service: judged_port(head)
                .and_then(|port| self.maps.service_of(port, destination.as_ref())),
            merged,
        }
    }
}

/// Returns the protocol and the port that the drop is about. A drop of a container network is
/// about no port of this host (rule 4), as in the counters.
fn judged_port(head: &EventHead) -> Option<(Protocol, u16)> {
    let port = Some(head.port).filter(|port| *port != 0)?;
    let of_network = head.reason() == Some(Reason::ContainerNetwork);
    head.protocol()
        .filter(|_| !of_network)
        .map(|protocol| (protocol, port))
}

/// Returns the silent drops that an event tells of for the first time. An event may be older than
/// the last look at the count, which told of the same drops and of later ones.
fn newly_told(told: &mut u64, suppressed: u64) -> u64 {
    let new = suppressed.saturating_sub(*told);
    *told += new;
    new
}

/// Returns the wall-clock time of CLOCK_MONOTONIC's zero.
fn monotonic_zero() -> Timestamp {
    let clock = clock_gettime(ClockId::Monotonic);
    let nanoseconds = i32::try_from(clock.tv_nsec).unwrap_or_default();
    let now = Timestamp::now();
    now.checked_sub(SignedDuration::new(clock.tv_sec, nanoseconds))
        .unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_of_a_container_network_is_about_no_port() {
        let judged = |port, protocol, reason| {
            judged_port(&EventHead {
                port,
                protocol,
                reason: reason as u8,
                ..EventHead::default()
            })
        };
        let tcp = Protocol::Tcp as u8;
        let expected = Some((Protocol::Tcp, 9200));
        assert_eq!(judged(9200, tcp, Reason::UntrustedInterface), expected);
        assert_eq!(judged(9200, tcp, Reason::LoopbackAddress), expected);
        assert_eq!(judged(9200, tcp, Reason::ContainerNetwork), None);
        assert_eq!(judged(0, tcp, Reason::UnknownPeer), None);
        let none = EventHead::NO_PROTOCOL;
        assert_eq!(judged(9200, none, Reason::HeaderChain), None);
    }

    #[test]
    fn silent_drops_are_told_once_whatever_the_order() {
        // 7: the end of an epoch told of all drops up to there, while events were still in the ring.
        let mut told = 7;
        let events = [3, 5, 7, 9, 9, 12];
        let new = events.map(|suppressed| newly_told(&mut told, suppressed));
        assert_eq!(new, [0, 0, 0, 2, 0, 3]);
        assert_eq!(told, 12);
    }
}
