//! Events: records of drops, and the budget that limits their rate.

use crate::words::{Guard, Protocol, Reason};

/// Bytes of the ring buffer `EVENTS`: a power of two and whole pages, as the kernel demands.
/// Records take 168 bytes with their header, so that over 1,500 fit.
pub const EVENT_BYTES: u32 = 256 << 10;

/// The maximum number of events on a CPU in an epoch; further drops are only counted.
///
/// The consumer advances the epoch, at most ten times a second while there are events to read, and
/// not at all otherwise. So the rate has a bound without a look at any clock, and without a
/// consumer a drop costs two look-ups in arrays.
pub const EVENTS_PER_EPOCH: u32 = 32;

/// `EPOCH[0]`: the epoch, written by the consumer of `EVENTS`.
pub type Epoch = [u32; 2];

/// `BUDGET[0]`, per CPU: the events left in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Budget {
    /// The epoch of `left`.
    pub epoch: u32,
    /// The number of events left.
    pub left: u32,
    /// Drops on this CPU without an event, since the creation of the maps.
    pub suppressed: u64,
    /// Scratch space for the next event: the stack has no room, and before Linux 6.2 the verifier
    /// could not prune while a program held a reserved record (`refsafe`).
    pub event: Event,
}

/// The bytes of a packet in an event: enough for IPv6, two extension headers of eight bytes and the
/// ports, and for IPv4 with every option.
pub const EVENT_PACKET: usize = 128;

/// A record of `EVENTS`: a drop, enforced or audited.
///
/// The packet's first bytes come unparsed: the consumer has more time to parse them than the guard,
/// and the verifier has less code to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// The guard's findings.
    pub head: EventHead,
    /// The packet from the IP header on; only [`EventHead::length`] bytes count.
    pub packet: [u8; EVENT_PACKET],
}

/// The fields of an [`Event`] beside the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EventHead {
    /// Nanoseconds of CLOCK_MONOTONIC (bpf_ktime_get_ns).
    pub time: u64,
    /// [`Budget::suppressed`] of this CPU at that time.
    pub suppressed: u64,
    /// The ifindex of the arriving interface.
    pub ifindex: u32,
    /// The CPU.
    pub cpu: u32,
    /// The destination port in host byte order, 0 without a port.
    pub port: u16,
    /// The number of bytes of the packet; 0 without an IP header.
    pub length: u16,
    /// The discriminant of [`Protocol`], else [`EventHead::NO_PROTOCOL`].
    pub protocol: u8,
    /// The discriminant of [`Guard`].
    pub guard: u8,
    /// The discriminant of [`Reason`].
    pub reason: u8,
    /// 1 for an audited drop.
    pub audited: u8,
}

impl EventHead {
    /// The value of `protocol` without a protocol.
    pub const NO_PROTOCOL: u8 = u8::MAX;

    /// The guard, `None` for an unknown number.
    pub fn guard(&self) -> Option<Guard> {
        Guard::ALL
            .into_iter()
            .find(|guard| *guard as u8 == self.guard)
    }

    /// The reason, `None` for an unknown number.
    pub fn reason(&self) -> Option<Reason> {
        Reason::ALL
            .into_iter()
            .find(|reason| *reason as u8 == self.reason)
    }

    /// The protocol, `None` without one.
    pub const fn protocol(&self) -> Option<Protocol> {
        Protocol::from_code(self.protocol)
    }
}

impl Event {
    /// The bytes of the packet.
    pub fn packet(&self) -> &[u8] {
        let length = usize::from(self.head.length).min(EVENT_PACKET);
        &self.packet[..length]
    }
}
