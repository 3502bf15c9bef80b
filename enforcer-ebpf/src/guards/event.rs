//! Events: a drop tells the consumer of the ring buffer, as long as the epoch's budget lasts.

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use enforcer_ebpf::{
    Guard, Packet,
    layout::{EVENT_PACKET, EVENTS_PER_EPOCH, Event, EventHead},
};

use super::maps::{BUDGET, EPOCH, EVENTS};

/// What an event has to know beside the packet: few bytes, for a function of its own.
#[derive(Clone, Copy)]
pub(super) struct Told {
    /// The interface that the packet arrived on.
    pub(super) ifindex: u32,
    /// The discriminant of the reason.
    pub(super) reason: u8,
    /// Whether the drop is only audited.
    pub(super) audited: bool,
    /// Whether there is an IP header at the packet's offset.
    pub(super) has_header: bool,
}

/// Whether the epoch's budget lets a drop make an event; if not, the drop is counted as suppressed.
///
/// Apart from [`tell`], so that a drop of a flood calls no function.
#[inline(always)]
pub(super) fn is_due() -> bool {
    let Some(budget) = BUDGET.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: the value is this CPU's own; a softirq over a process context may cost or give an
    // event, or mix two of them, no more.
    let budget = unsafe { &mut *budget };
    let epoch = EPOCH.get(0).map_or(0, |epoch| epoch[0]);
    if budget.epoch != epoch {
        budget.epoch = epoch;
        budget.left = EVENTS_PER_EPOCH;
    }
    if budget.left == 0 {
        budget.suppressed += 1;
        return false;
    }
    budget.left -= 1;
    true
}

/// Makes an event of a drop for which one [is due](is_due). `copy` writes the packet from its IP
/// header on, at most [`EVENT_PACKET`] bytes, and says how many.
#[inline(always)]
pub(super) fn tell(guard: Guard, packet: &Packet, what: Told, copy: impl FnOnce(*mut u8) -> u16) {
    let Some(budget) = BUDGET.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as in `is_due`.
    let budget = unsafe { &mut *budget };
    // SAFETY: the helper takes nothing and only answers.
    let time = unsafe { bpf_ktime_get_ns() };
    // SAFETY: as above.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    budget.event.head = EventHead {
        time,
        suppressed: budget.suppressed,
        ifindex: what.ifindex,
        cpu,
        port: packet.transport.port,
        length: copy(budget.event.packet.as_mut_ptr()),
        protocol: match packet.transport.protocol() {
            Ok(protocol) => protocol as u8,
            Err(_) => EventHead::NO_PROTOCOL,
        },
        guard: guard as u8,
        reason: what.reason,
        audited: u8::from(what.audited),
    };
    if EVENTS.output::<Event>(&budget.event, 0).is_err() {
        // Nobody reads fast enough.
        budget.suppressed += 1;
    }
}

/// How many bytes to copy of the `rest` of a packet: at least one and at most [`EVENT_PACKET`], by
/// a mask that the verifier understands.
#[inline(always)]
pub(super) fn bounded(rest: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "128")]
    const MASK: u32 = EVENT_PACKET as u32 - 1;
    const { assert!(EVENT_PACKET.is_power_of_two()) };
    let last = if rest > MASK {
        MASK
    } else {
        rest.wrapping_sub(1)
    };
    (last & MASK) + 1
}
