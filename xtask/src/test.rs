//! `cargo xtask test`: unit and property tests, then the lab.

use anyhow::{Result, bail};

use crate::{interrupt, lab::Lab, process, setup, summary::Summary, workspace::Workspace};

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only tests with this in their name
    filter: Option<String>,
    /// Run only the unit and property tests, without root
    #[arg(long, conflicts_with = "lab")]
    unit: bool,
    /// Run only the lab: live guards, real sockets
    #[arg(long)]
    lab: bool,
}

/// Runs the tests and closes with the counts of passed and failed tests. Fails unless at least one
/// test ran and all passed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let filter = args.filter.as_deref();
    let mut sum = Summary::default();
    let mut broken = false;
    if !args.lab {
        broken |= run_part(
            &mut sum,
            "unit and property tests",
            filter.is_some(),
            || unit(workspace, filter),
        );
    }
    if interrupt::seen() {
        bail!("interrupted");
    }
    // A compile error would only be repeated by the lab.
    let is_compile_error = broken && sum.passed == 0;
    if !args.unit && !is_compile_error {
        run_part(&mut sum, "lab", filter.is_some(), || lab(workspace, filter));
    }

    println!("\n{sum}");
    match (sum.failed, sum.passed, filter) {
        (0, 0, Some(filter)) => bail!("no test ran: no name contains `{filter}`"),
        (0, 0, None) => bail!("no test ran: is there a test target?"),
        (0, ..) => Ok(()),
        (failed, passed, _) => bail!("{failed} of {} tests failed", failed + passed),
    }
}

/// Runs one part of the tests and adds the results to `sum`. Returns whether the part was broken.
///
/// A broken part counts as one failure: the part cannot run, runs no test though not `filtered`, or
/// fails without naming a test.
fn run_part(
    sum: &mut Summary,
    name: &str,
    filtered: bool,
    run: impl FnOnce() -> Result<(String, bool)>,
) -> bool {
    println!("\n== {name}");
    let why = match run() {
        Ok((output, success)) => {
            let result = Summary::parse(&output);
            *sum += result;
            match (success, result) {
                // A filter may match no test of one part.
                (
                    true,
                    Summary {
                        passed: 0,
                        failed: 0,
                    },
                ) if !filtered => "the part ran no test".to_owned(),
                (false, Summary { failed: 0, .. }) => {
                    "the part ended with an error before its last test".to_owned()
                }
                _ => return false,
            }
        }
        Err(error) => format!("{error:#}"),
    };
    eprintln!("error: {name}: {why}");
    sum.failed += 1;
    true
}

fn unit(workspace: &Workspace, filter: Option<&str>) -> Result<(String, bool)> {
    // The enforcer's build script builds the guards.
    setup::provide_ebpf_tools(workspace)?;
    let mut cargo = workspace.cargo(["test", "--workspace", "--no-fail-fast"]);
    process::tee(cargo.args(filter))
}

fn lab(workspace: &Workspace, filter: Option<&str>) -> Result<(String, bool)> {
    let lab = Lab::build(workspace)?;
    let enforcer = lab.enforcer();
    let mut arguments = vec!["--enforcer", &enforcer];
    arguments.extend(filter);
    process::tee(&mut lab.command(&arguments)?)
}
