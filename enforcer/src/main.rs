//! `enforcer`: the privileged loader and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    enforcer::commands::main()
}
