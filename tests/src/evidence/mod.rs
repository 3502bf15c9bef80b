//! Records of runs.
//!
//! With `ENFORCER_ATTACKS=FILE` a run adds a line to the file for each scenario and each attempt
//! of an attack ([`record`]), and tries each guard alone where the attack's data demand nothing of
//! the guard.

pub mod record;
