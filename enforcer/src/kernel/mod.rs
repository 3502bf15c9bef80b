//! The doors to the kernel: maps, programs, links, pins and mounts.
//!
//! All `unsafe` code of the loader is in here, behind types; `async_fd.rs` has the one exception.

mod array;
mod bank;
mod batch;
pub(crate) mod bpf;
mod btf;
mod copy;
pub(crate) mod events;
pub(crate) mod grants;
pub(crate) mod links;
pub mod load;
pub(crate) mod maps;
pub(crate) mod mounts;
mod object;
pub(crate) mod pending;
pub(crate) mod pins;
mod reserved_map;
pub mod sandbox;
pub(crate) mod sys;
pub mod test_run;
