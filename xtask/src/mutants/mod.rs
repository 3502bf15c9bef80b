//! `cargo xtask mutants`: the share of faults in the pure rooms found by the unit tests.
//!
//! cargo-mutants changes one expression at a time and runs the unit tests of the changed crate. A
//! mutant is killed by a failed test, survives if all tests pass, and is unviable if the compiler
//! refuses the change. A mutant under which a test hangs counts as found too.

mod rooms;
mod sample;
mod score;
mod scratch;
mod tool;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use self::{score::Score, scratch::Scratch, tool::Tool};
use crate::{setup, workspace::Workspace};

/// Arguments of `cargo xtask mutants`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Test mutants of these files or folders, relative to the root of the tree, instead of the
    /// pure rooms
    files: Vec<String>,
    /// Test so many mutants; 0 means all
    #[arg(long, value_name = "N", default_value_t = 300)]
    sample: usize,
    /// Choose the mutants by this number, printed by an earlier run; otherwise each run differs
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

/// Tests a sample of mutants, lists the survivors, and fails if too many survived.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let start = Instant::now();
    let selections = rooms::select(workspace, &args.files)?;
    setup::provide_ebpf_tools(workspace)?;
    let program = setup::provide_cargo_mutants(workspace)?;
    let scratch = Scratch::refresh(workspace)?;
    let tool = Tool::new(program, &scratch);

    let mutants = selections
        .iter()
        .map(|selection| tool.list(selection))
        .collect::<Result<Vec<_>>>()?;
    let total = mutants.iter().map(Vec::len).sum();
    let seed = args.seed.unwrap_or_else(clock);
    let size = match args.sample {
        0 => total,
        size => size,
    };
    let chosen = sample::choose(total, size, seed);
    println!("{} of {total} mutants, seed {seed}", chosen.len());

    let mut score = Score::default();
    let mut first = 0;
    for (selection, mutants) in selections.iter().zip(&mutants) {
        let (wanted, others): (Vec<_>, Vec<_>) = mutants
            .iter()
            .enumerate()
            .partition(|(at, _)| chosen.binary_search(&(first + at)).is_ok());
        first += mutants.len();
        if !wanted.is_empty() {
            let others: Vec<_> = others.iter().map(|(_, other)| other.as_str()).collect();
            score += tool.test(selection, wanted.len(), &others)?;
        }
    }
    for line in score.lines() {
        println!("{line}");
    }
    println!("\n{score}, in {:.0} s", start.elapsed().as_secs_f32());
    match score.fault() {
        Some(why) => bail!("{why}"),
        None => Ok(()),
    }
}

/// Returns a seed that differs from run to run.
fn clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
