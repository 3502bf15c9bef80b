//! What makes `run` look again: each watcher sleeps until something has changed.
//!
//! ```text
//! links       interfaces that come, go or change         rtnetlink, RTNLGRP_LINK; uevents
//! files       the registry's files                       inotify, on their folders
//! paths       pins, locks and sysctls                    inotify
//! ```
//!
//! None of them says what changed: whoever is woken looks at the whole, so that an event that was
//! lost, merged or misread costs nothing.

mod files;
mod links;
mod paths;

pub use files::Files;
pub use links::{Links, Modules};
pub use paths::{Pins, Settings};
