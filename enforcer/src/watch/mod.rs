//! Watchers for `run`: each sleeps until a change that needs a new reconciliation.
//!
//! ```text
//! links       interfaces that come, go or change         rtnetlink, RTNLGRP_LINK; uevents
//! files       the registry's files                       inotify, on their directories
//! paths       pins, locks and sysctls                    inotify
//! inotify     one instance; a slower look without one
//! ```
//!
//! No watcher reports details: `run` reconciles the whole state on every event, so a lost or merged
//! event costs nothing.

mod files;
mod inotify;
mod links;
mod paths;

pub use files::{FileWatcher, Watches};
pub use links::{Links, Modules};
pub use paths::{Pins, Settings};
