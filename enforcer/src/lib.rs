//! The loader and the command line of enforcer.

mod async_fd;
pub mod commands;
pub mod control;
pub mod events;
mod failpoint;
pub mod interfaces;
pub mod kernel;
mod netlink;
pub mod policy;
mod procfs;
pub mod registry;
pub mod watch;
pub mod wireguard;
