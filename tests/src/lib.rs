//! The lab and the scenarios: what must be blocked, what must go on working, on a live kernel.
//!
//! Everything here treats the enforcer as a black box: a binary, its command line, its JSON and
//! its exit codes, as the design states them.

pub mod demo;
pub mod lab;
pub mod scenarios;
