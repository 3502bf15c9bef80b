//! `enforcer` with failpoints, for tests: see `failpoint.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    enforcer::commands::main()
}
