//! A single measurement of a case.

use anyhow::{Context, Result, ensure};
use aya::programs::Program;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::test_run::run::Arrival;

/// Runs of the shortest measurement, which takes setup and teardown alone. With a single run the
/// kernel takes another path, without a direct call to the program.
pub(super) const SETUP_RUNS: u32 = 2;

/// Result of a measurement, in nanoseconds for each run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// By the processor time of this thread, without setup and teardown: in fractions.
    pub(super) fine: f64,
    /// By the kernel's own measure: in whole nanoseconds, rounded down.
    pub(super) kernel: f64,
}

/// Pins the calling thread to its processor: processors differ, and have caches of their own.
pub(super) fn stay_on_this_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu());
    sched_setaffinity(None, &cpus).context("failed to stay on one processor")
}

/// Runs a program `repeat` times on a frame; each must return `expected`.
pub(super) fn sample(
    program: &Program,
    arrival: &Arrival<'_>,
    repeat: u32,
    expected: u32,
) -> Result<Sample> {
    let turn = |repeat| -> Result<(f64, f64)> {
        let before = processor_time();
        let result = arrival.run(program, repeat)?;
        let took = processor_time() - before;
        ensure!(
            result.return_value == expected,
            "the program returns {}, and not {expected}: another path than the one to be measured",
            result.return_value
        );
        Ok((took, result.duration.as_secs_f64() * 1e9))
    };
    let (setup, _) = turn(SETUP_RUNS)?;
    let (whole, kernel) = turn(repeat)?;
    Ok(Sample {
        fine: (whole - setup) / f64::from(repeat - SETUP_RUNS),
        kernel,
    })
}

/// The processor time of the calling thread, in nanoseconds: time that other processes take does
/// not count.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a run of seconds has far fewer nanoseconds than 2^53"
    )]
    let nanoseconds = (time.tv_sec * 1_000_000_000 + time.tv_nsec) as f64;
    nanoseconds
}
