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
//! netlink      one small socket, and the questions that it asks
//! procfs       every file of /proc that is read
//! note         facts that an operator should know, as data
//! printable    foreign names, made safe for a terminal
//! threads      threads that the kernel may refuse
//! trust        files that root alone can change
//! failpoint    faults at each call, in builds for tests
//! ```

mod async_fd;
pub mod commands;
pub mod control;
pub mod daemon;
mod decisions;
mod failpoint;
pub mod host;
pub mod inspect;
pub mod interfaces;
pub mod kernel;
mod netlink;
pub mod note;
pub mod policy;
mod printable;
mod procfs;
pub mod registry;
mod threads;
mod trust;
pub mod watch;
pub mod wireguard;
