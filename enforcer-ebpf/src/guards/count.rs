//! The counters: per CPU, in the slot of the port.

use enforcer_ebpf::{
    Decision, Guard,
    layout::{CELLS, Cell},
};

use super::maps::COUNTERS;

/// Counts one packet of `bytes` bytes.
#[inline(always)]
pub(super) fn count(guard: Guard, decision: &Decision, bytes: u64) {
    let cell = Cell {
        guard,
        reason: decision.reason,
        audited: decision.audited,
    };
    let Some(index) = cell.index() else {
        return;
    };
    let Some(cells) = COUNTERS.get_ptr_mut(u32::from(decision.slot)) else {
        return;
    };
    if index >= CELLS {
        return;
    }
    // SAFETY: the value is this CPU's own. Only a softirq over a process context can run a
    // second guard in between, at the cost of an increment.
    let cells = unsafe { &mut *cells };
    cells[index].packets += 1;
    cells[index].bytes += bytes;
}
