//! A guest's machine: QEMU, started, supervised to its end, and its console read.

pub(super) mod accelerator;
pub(super) mod console;
pub(super) mod qemu;
pub(super) mod supervise;
