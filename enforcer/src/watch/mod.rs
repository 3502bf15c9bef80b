//! Watchers for `run`: each sleeps until a change that needs a new reconciliation.
//!
//! ```text
//! links       interfaces that come, go or change         rtnetlink, RTNLGRP_LINK; uevents
//! files       the registry's files                       inotify, on their directories
//! paths       pins, locks and sysctls                    inotify
//! mounts      the mount table                            poll(2) of /proc/PID/mountinfo
//! inotify     an instance, which reports events without details
//! pace        the budget of looks in a burst of changes
//! steady      looks in place of a watcher that fails
//! ```
//!
//! No watcher reports details: `run` reconciles the whole state on every event, so a lost or merged
//! event costs nothing.

mod files;
mod inotify;
mod links;
mod mounts;
mod pace;
mod paths;
mod steady;

pub use files::{FileWatcher, Watches};
pub use links::{Links, Modules};
pub use mounts::Mounts;
pub use paths::{Pins, Settings};
pub use steady::{Steady, Watch};
