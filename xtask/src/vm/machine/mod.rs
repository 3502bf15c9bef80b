//! The machine of a guest: QEMU, its supervision, and the reading of its console.

pub(super) mod accelerator;
pub(super) mod console;
pub(super) mod qemu;
pub(super) mod supervise;
