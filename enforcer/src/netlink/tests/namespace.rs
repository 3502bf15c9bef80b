//! Network namespaces for tests.

use std::{process::Command, thread};

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs a test on a new thread in a new network namespace, which ends with the thread.
pub(crate) fn in_new_namespace(test: impl FnOnce() + Send + 'static) {
    let runs = thread::spawn(|| {
        // SAFETY: file descriptors are not unshared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
            .expect("this test makes a network namespace: run it as root, or skip `root_`");
        test();
    });
    if let Err(panic) = runs.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a program of iproute2, which must succeed, and returns its output.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("`{program}` of iproute2 is needed: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
