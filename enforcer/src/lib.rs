//! The loader and the command line of enforcer.

pub mod commands;
pub mod control;
pub mod events;
mod failpoint;
pub mod interfaces;
pub mod kernel;
pub mod policy;
pub mod registry;
pub mod watch;
pub mod wireguard;
