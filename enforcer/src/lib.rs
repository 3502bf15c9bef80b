//! The loader and the command line of enforcer.
//!
//! The rooms, from the top floor down; no import runs up:
//!
//! ```text
//! commands     the command line in; words, JSON and exit codes out
//! daemon       `run`: a state machine without I/O, and its driver
//! inspect      the readers: status, explain, dry run, events
//! control      the writers: up, reload, follow, confirm, down
//! watch        watchers: interfaces, modules, registry files, pins, settings
//! kernel       the pinned state, bpf(2), and the few OS calls
//! decisions    pure functions: candidate, reconcile, pending policy, lock-out check
//! host         the host at one moment: interfaces, WireGuard, sessions
//! policy       what a registry means on a host: compile, diff, cite
//! wireguard    the keys and AllowedIPs of WireGuard devices
//! interfaces   which interfaces want a wire guard, and by which hooks
//! registry     the registry's files: parse, merge, diagnose
//! note         facts that an operator should know, as data
//! ```

pub mod commands;
pub mod control;
pub mod daemon;
mod decisions;
pub mod host;
pub mod inspect;
pub mod interfaces;
pub mod kernel;
pub mod note;
pub mod policy;
pub mod registry;
pub mod watch;
pub mod wireguard;
