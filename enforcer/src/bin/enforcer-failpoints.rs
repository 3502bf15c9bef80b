//! `enforcer`, built so that a test can let each of its calls fail, or end it after each: see
//! `failpoint.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    enforcer::commands::main()
}
