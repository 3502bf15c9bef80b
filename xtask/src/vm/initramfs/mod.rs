//! The root file system of a guest: archives, unpacked by the kernel one after the other.

pub(super) mod command;
pub(super) mod cpio;
mod file;
pub(super) mod lab;
pub(super) mod modules;
pub(super) mod programs;

pub(super) use file::Initramfs;
