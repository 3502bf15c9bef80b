//! Events: what a guard says about a drop, and how often it may.

use crate::words::{Guard, Protocol, Reason};

/// Bytes of the ring buffer `EVENTS`: a power of two and whole pages, as the kernel wants it.
/// Records take 168 bytes with their header, so it holds over 1,500.
pub const EVENT_BYTES: u32 = 256 << 10;

/// The events that one CPU may make under one epoch; what it drops beyond is only counted.
///
/// The one consumer moves the epoch on, at most ten times a second while there is something to
/// read, and not at all otherwise. So the rate has a bound without a look at any clock, and with
/// nobody to read it, a drop costs two look-ups in arrays.
pub const EVENTS_PER_EPOCH: u32 = 32;

/// `EPOCH[0]`: the epoch, written by the consumer of `EVENTS`.
pub type Epoch = [u32; 2];

/// `BUDGET[0]`, per CPU: what is left of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Budget {
    /// The epoch that `left` belongs to.
    pub epoch: u32,
    /// How many events may still be made.
    pub left: u32,
    /// The drops on this CPU that made no event, since the maps were made.
    pub suppressed: u64,
    /// Where the next event is put together: the stack has no room, and before Linux 6.2 the
    /// verifier could not prune while a program held a reserved record (`refsafe`).
    pub event: Event,
}

/// The bytes of a packet that come with an event: IPv6, two extension headers of eight bytes and
/// the ports, and more than IPv4 with every option.
pub const EVENT_PACKET: usize = 128;

/// A record of `EVENTS`: a drop, or what would have been one under `audit`.
///
/// It brings the packet's first bytes as they are: who reads it has more time to take them apart
/// than the guard, and the verifier has less to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// What the guard knows.
    pub head: EventHead,
    /// The packet from its IP header on; [`EventHead::length`] bytes of it count.
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
    /// The ifindex of the interface that the packet arrived on.
    pub ifindex: u32,
    /// The CPU.
    pub cpu: u32,
    /// The destination port in host byte order, 0 where none was found.
    pub port: u16,
    /// How many bytes of the packet there are; 0 where no IP header was found.
    pub length: u16,
    /// The discriminant of [`Protocol`], [`EventHead::NO_PROTOCOL`] where there is none.
    pub protocol: u8,
    /// The discriminant of [`Guard`].
    pub guard: u8,
    /// The discriminant of [`Reason`].
    pub reason: u8,
    /// 1 where the drop was only audited.
    pub audited: u8,
}

impl EventHead {
    /// Stands for no protocol.
    pub const NO_PROTOCOL: u8 = u8::MAX;

    /// The guard, if the number is one.
    pub fn guard(&self) -> Option<Guard> {
        Guard::ALL.into_iter().find(|it| *it as u8 == self.guard)
    }

    /// The reason, if the number is one.
    pub fn reason(&self) -> Option<Reason> {
        Reason::ALL.into_iter().find(|it| *it as u8 == self.reason)
    }

    /// The protocol, if there is one.
    pub const fn protocol(&self) -> Option<Protocol> {
        Protocol::from_code(self.protocol)
    }
}

impl Event {
    /// The packet, as much of it as there is.
    pub fn packet(&self) -> &[u8] {
        let length = usize::from(self.head.length).min(EVENT_PACKET);
        &self.packet[..length]
    }
}
