//! The machine of a guest: QEMU, the supervision of a run, and the reading of the console.

pub(super) mod accelerator;
pub(super) mod console;
pub(super) mod qemu;
pub(super) mod supervise;
