//! The root file system of a guest, as the archives from which the kernel unpacks it.

pub(super) mod command;
pub(super) mod cpio;
mod file;
pub(super) mod lab;
mod modules;
pub(super) mod programs;

pub(super) use file::Initramfs;
