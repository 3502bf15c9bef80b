//! Events: records of drops in the ring buffer, as long as the epoch's budget lasts.

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use enforcer_ebpf::{
    Guard, Packet,
    layout::{EVENTS_PER_EPOCH, Event, EventHead},
};

use super::maps::{BUDGET, EPOCH, EVENTS};

/// The facts of a drop beside the packet: eight bytes, which fit a register of a call.
#[derive(Clone, Copy)]
pub(super) struct DropInfo {
    /// The ifindex of the arriving interface.
    pub(super) ifindex: u32,
    /// The discriminant of the reason.
    pub(super) reason: u8,
    /// Whether the drop is only audited.
    pub(super) audited: bool,
    /// Whether an IP header stands at the packet's offset.
    pub(super) has_ip_header: bool,
}

/// Takes one event from this CPU's budget of the epoch. Returns whether there was one; if not, the
/// drop is counted as suppressed.
///
/// Apart from [`emit`], so that a drop of a flood calls no function.
#[inline(always)]
pub(super) fn take_budget() -> bool {
    let Some(budget) = BUDGET.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: the value is this CPU's own; a softirq over a process context may add or lose an
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

/// Emits the event of a drop that [has a budget](take_budget).
///
/// `copy` writes the packet from the IP header on, at most
/// [`EVENT_PACKET`](enforcer_ebpf::layout::EVENT_PACKET) bytes, and returns their number.
#[inline(always)]
pub(super) fn emit(
    guard: Guard,
    packet: &Packet,
    info: DropInfo,
    copy: impl FnOnce(*mut u8) -> u16,
) {
    let Some(budget) = BUDGET.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as in `take_budget`.
    let budget = unsafe { &mut *budget };
    // SAFETY: the helper has no arguments and no effects.
    let time = unsafe { bpf_ktime_get_ns() };
    // SAFETY: as above.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    budget.event.head = EventHead {
        time,
        suppressed: budget.suppressed,
        ifindex: info.ifindex,
        cpu,
        port: packet.transport.port,
        length: copy(budget.event.packet.as_mut_ptr()),
        protocol: match packet.transport.protocol() {
            Ok(protocol) => protocol as u8,
            Err(_) => EventHead::NO_PROTOCOL,
        },
        guard: guard as u8,
        reason: info.reason,
        audited: u8::from(info.audited),
    };
    if EVENTS.output::<Event>(&budget.event, 0).is_err() {
        // The buffer is full: the consumer reads too slowly.
        budget.suppressed += 1;
    }
}
