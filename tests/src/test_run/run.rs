//! A run of a program, as `explain --live` makes it.

pub(crate) use enforcer::kernel::test_run::{Arrival, Hook, passes};
