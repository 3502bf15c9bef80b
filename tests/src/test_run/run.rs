//! A run of a program, in the way of `explain --live`.

pub(crate) use enforcer::kernel::test_run::{Arrival, Hook, passes};
