//! The root file system of a guest: archives that the kernel unpacks one after the other.

pub(super) mod command;
pub(super) mod cpio;
mod file;
pub(super) mod lab;
mod modules;
pub(super) mod programs;

pub(super) use file::Initramfs;
