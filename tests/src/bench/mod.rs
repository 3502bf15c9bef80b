//! Costs of the guards per packet, by BPF_PROG_TEST_RUN on the running kernel.
//!
//! The same frame is judged millions of times, so everything is in the caches: the numbers compare
//! paths through the programs, and promise nothing about a network card. All cases take turns,
//! round after round, so that a busy moment of the machine falls on all of them; the output shows
//! medians, and ratios are medians of the ratios within a round. The empty program is measured
//! twice: the distance of that ratio from 1 tells how far to trust the others.

mod args;
mod cases;
mod interfaces;
mod measure;
mod policies;
mod report;

use std::process::ExitCode;

use anyhow::{Result, ensure};

pub use args::Args;
pub use interfaces::{InterfacesArgs, run as run_interfaces};

use crate::test_run::network;
use cases::{CASES, Prepared};
use measure::Sample;

/// Measures and prints. A ratio out of bounds is reported, and is no error.
///
/// # Errors
/// The measurement fails.
pub fn run(args: &Args) -> Result<ExitCode> {
    ensure!(
        args.rounds > 0 && args.repeat > measure::SETUP_RUNS,
        "too few rounds or repetitions to measure anything"
    );
    let network = network::build()?;
    let samples = network.run(|| {
        measure::stay_on_this_cpu()?;
        sample_all(&Prepared::new()?, args)
    })??;
    report::print(&report::rows(&samples), args)?;
    Ok(ExitCode::SUCCESS)
}

/// The samples of each case, by round.
fn sample_all(prepared: &Prepared, args: &Args) -> Result<Vec<Vec<Sample>>> {
    let mut samples = vec![Vec::with_capacity(args.rounds); CASES.len()];
    // The first round warms up, and is thrown away.
    for round in 0..=args.rounds {
        for (case, samples) in CASES.iter().zip(&mut samples) {
            let sample = prepared.sample(case, args.repeat)?;
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}
